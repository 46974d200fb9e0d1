/* stack-grow/stack-growing-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int status = -1;
	char *const window = (char *)0xa00000000;

	need(mmap(window, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) ==
		     window ? 0 : -1, "mmap");
	memset(window, 0xa0, 3 * page);
	seal(window, 3 * page);
	if (need(fork(), "fork") == 0) {
		*(volatile char *)(window - page) = 1; /* a fault, which has the stack grow, or ends the child */
		_exit(0);
	}
	wait(&status);
	demand(status == 0, "the stack grows when the page below it is touched");
	stays_sealed(window, page);
	return broken;
}
