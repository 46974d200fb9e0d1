/* program32-exec/anon-rw/exact */
#include <stdlib.h>

/*
 * To be compiled twice, as a 64-bit program and as a 32-bit one (cc -m32), and run with the path of the second:
 * ./program ./program32. Without it, the program executes itself.
 */
#define PLACE ((void *)0x4000000)

int main(int argc, char **argv)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *const at = mmap(PLACE, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	printf("a program of %zu bits\n", 8 * sizeof(void *));
	fflush(stdout);
	demand(at == PLACE, "nothing is at the place of the mapping that was sealed");
	if (getenv("EXECUTED")) {
		demand(munmap(PLACE, page) == 0, "what is mapped there can be unmapped");
		return broken;
	}
	need(syscall(SYS_mseal, PLACE, page, 0), "mseal");
	demand(munmap(PLACE, page) == -1 && errno == EPERM, "the mapping is sealed");
	if (broken)
		return broken;
	setenv("EXECUTED", "1", 1);
	execl(argc > 1 ? argv[1] : "/proc/self/exe", "program", (char *)NULL);
	perror("exec");
	return 2;
}
