/* soft-offline/anon-rw/middle */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);

	seal(window, 3 * page);
	/* The machine does without the page until it is started anew. */
	tell("madvise", need(syscall(SYS_madvise, window + page, page, 101 /* MADV_SOFT_OFFLINE */), "MADV_SOFT_OFFLINE"));
	demand(holds(window + page, 0xa1), "the page holds what it held");
	stays_sealed(window, page);
	return broken;
}
