/* fork-exec/anon-rw/exact */
/* The new image: nothing may be left at the place of the old one. */
static int after(char *window, size_t page)
{
	void *at = mmap(window, 3 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000 /* MAP_FIXED_NOREPLACE */, -1, 0);

	return at == (void *)window && munmap(window, 3 * page) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *window = (char *)WINDOW;
	int status = -1;

	(void)argv;
	if (argc > 1)
		return after(window, page);
	window = three_pages(page, PROT_READ | PROT_WRITE);
	seal(window, 3 * page);
	if (need(fork(), "fork") == 0) {
		execl("/proc/self/exe", "repro", "again", (char *)NULL);
		_exit(127);
	}
	wait(&status);
	tell("the new image", WEXITSTATUS(status));
	demand(status == 0, "execve leaves no seal behind");
	stays_sealed(window, page);
	return broken;
}
