/* page-zero-munmap/anon-rw/exact */
#include <sys/personality.h>

int main(int argc, char **argv)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char there;
	long got;

	(void)argv;
	if (argc == 1) {
		need(personality(0x0100000 /* MMAP_PAGE_ZERO */), "personality");
		execl("/proc/self/exe", "repro", "again", (char *)NULL);
		need(-1, "execve");
	}
	need(syscall(SYS_mincore, 0, page, &there), "a page at address zero");
	errno = 0;
	got = tell("munmap", syscall(SYS_munmap, 0, page));
	demand(got == -1 && errno == EPERM, "the page at address zero is sealed");
	return broken;
}
