/* fork-look/anon-r/exact */
/* What a child finds at an address: a byte, or 256 where nothing is mapped. */
static int child_finds(const char *at)
{
	unsigned char byte = 0;
	struct iovec into = {&byte, 1}, from = {(void *)at, 1};
	int status;

	if (need(fork(), "fork") == 0)
		_exit(process_vm_readv(getpid(), &into, 1, &from, 1, 0) == 1 ? byte : 255);
	wait(&status);
	return WEXITSTATUS(status) == 255 ? 256 : WEXITSTATUS(status);
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ);

	seal(window, 3 * page);
	for (int i = 0; i < 3; i++)
		demand(child_finds(window + i * page) == 0xa0 + i, "a child sees what the page holds");
	stays_sealed(window, page);
	return broken;
}
