/* swap-out/anon-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);

	seal(window, 3 * page);
	errno = 0;
	/* Without swap the call succeeds, too, and nothing goes out. */
	demand(tell("madvise", syscall(SYS_madvise, window, 3 * page, 21 /* MADV_PAGEOUT */)) == 0, "madvise succeeds");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
