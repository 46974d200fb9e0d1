/* mbind-preferred/anon-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	unsigned long nodes = 1;

	seal(window, 3 * page);
	errno = 0;
	demand(tell("mbind", syscall(SYS_mbind, window, 3 * page, 1 /* MPOL_PREFERRED */, &nodes, 64, 2)) == 0, "mbind succeeds");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
