/* program32-munmap/anon-r/exact */
/* To be compiled as a 32-bit program (cc -m32, or arm-linux-gnueabihf-gcc); a 64-bit one it tells the same of itself. */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = mmap(NULL, 3 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(window == MAP_FAILED ? -1 : 0, "mmap");
	printf("a program of %zu bits\n", 8 * sizeof(void *));
	if (syscall(SYS_mseal, window, 3 * page, 0) == -1) {
		perror("mseal");
		return 0; /* nobody promised that a 32-bit program can seal */
	}
	errno = 0;
	demand(tell("munmap", syscall(SYS_munmap, window, 3 * page)) == -1 && errno == EPERM, "munmap is refused with EPERM");
	return broken;
}
