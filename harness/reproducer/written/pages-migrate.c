/* mbind-migrate/anon-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	unsigned long nodes = 2; /* the second node */

	need(access("/sys/devices/system/node/node1", F_OK), "a second node");
	seal(window, 3 * page);
	errno = 0;
	demand(tell("mbind", syscall(SYS_mbind, window, 3 * page, 2 /* MPOL_BIND */, &nodes, 64, 2 /* MPOL_MF_MOVE */)) == 0,
	       "the pages can be moved to another node");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
