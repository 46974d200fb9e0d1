/* after-mbind-munmap/anon-r/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ);
	unsigned long nodes = 1;
	long got;

	seal(window, 3 * page);
	need(syscall(SYS_mbind, window, 3 * page, 2 /* MPOL_BIND */, &nodes, 64, 2), "mbind");
	errno = 0;
	got = tell("munmap", syscall(SYS_munmap, window, 3 * page));
	demand(got == -1 && errno == EPERM, "munmap is refused with EPERM");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
