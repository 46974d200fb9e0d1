/* vfork-mseal/anon-rw/plain */
#include <sys/types.h>

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	const pid_t child = vfork();
	long got;

	if (child == 0) {
		syscall(SYS_mseal, window, 3 * page, 0);
		_exit(0);
	}
	need(child, "vfork");
	wait(NULL);
	errno = 0;
	got = tell("munmap", syscall(SYS_munmap, window, 3 * page));
	demand(got == -1 && errno == EPERM, "what the child has sealed is sealed for its parent");
	stays_sealed(window, page);
	return broken;
}
