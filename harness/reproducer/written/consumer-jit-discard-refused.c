/* consumer-jit-discard/jit-key-closed-rwx/exact */
int main(void)
{
	const int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, prot);
	const long key = need(syscall(SYS_pkey_alloc, 0, 2 /* PKEY_DISABLE_WRITE */), "pkey_alloc");
	long got;

	need(syscall(SYS_pkey_mprotect, window, 3 * page, prot, key), "pkey_mprotect");
	seal(window, 3 * page);
	errno = 0;
	got = tell("madvise", syscall(SYS_madvise, window, 3 * page, 4 /* MADV_DONTNEED */));
	demand(got == -1 && errno == EPERM, "madvise is refused with EPERM while the key does not let write");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");
	stays_sealed(window, page);
	return broken;
}
