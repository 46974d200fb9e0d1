/* program32-mseal-object/memfd-shared-rw/plain */
#include <stdlib.h>

/*
 * To be compiled twice, as a 64-bit program and as a 32-bit one (cc -m32), and run with the path of the second:
 * ./program ./program32. Without it, the program executes itself.
 */
int main(int argc, char **argv)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const char *const given = getenv("OBJECT");
	const int object = given ? atoi(given) : (int)need(memfd_create("object", 0), "memfd_create");
	void *at;
	int status;

	need(ftruncate(object, (long)page), "ftruncate");
	at = mmap(NULL, page, PROT_READ, MAP_SHARED, object, 0);
	need(at == MAP_FAILED ? -1 : 0, "mmap");
	if (given) {
		if (tell("mseal", syscall(SYS_mseal, at, page, 0)) != -1)
			demand(munmap(at, page) == -1 && errno == EPERM, "its own mapping is sealed");
		return broken;
	}
	if (need(fork(), "fork") == 0) {
		char text[24];

		snprintf(text, sizeof(text), "%d", object);
		setenv("OBJECT", text, 1);
		execl(argc > 1 ? argv[1] : "/proc/self/exe", "program", (char *)NULL);
		_exit(2);
	}
	need(wait(&status), "wait");
	demand(syscall(SYS_munmap, at, page) == 0, "the mapping of this program was not sealed with it");
	return broken || status;
}
