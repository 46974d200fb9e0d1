/* stack-grow-munmap/stack-growing-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = (char *)0xa00000000;

	need(mmap(window, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) ==
		     window ? 0 : -1, "mmap");
	memset(window, 0xa0, 3 * page);
	seal(window, 3 * page);
	*(volatile char *)(window - page) = 1;
	tell("munmap of what it grew by", syscall(SYS_munmap, window - page, page)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
