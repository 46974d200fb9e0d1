/* after-pkey-free-madvise-dontneed/pkey-no-write-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	const long key = need(syscall(SYS_pkey_alloc, 0, 2 /* PKEY_DISABLE_WRITE */), "pkey_alloc");
	long got;

	need(syscall(SYS_pkey_mprotect, window, 3 * page, PROT_READ | PROT_WRITE, key), "pkey_mprotect");
	seal(window, 3 * page);
	need(syscall(SYS_pkey_free, key), "pkey_free");
	errno = 0;
	got = tell("madvise", syscall(SYS_madvise, window, 3 * page, 4 /* MADV_DONTNEED */));
	demand(got == -1 && errno == EPERM, "madvise is refused with EPERM");
	stays_sealed(window, page);
	return broken;
}
