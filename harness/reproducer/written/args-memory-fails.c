/* mseal-failing-1/anon-rw/plain */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>

/* Requests that may wait for memory fail only where a kernel with fault injection is told so. */
static void may_fail(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, value, 1) != 1) {
		perror(path);
		_exit(2);
	}
	close(fd);
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	may_fail("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	may_fail("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	may_fail("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	/* The first of the requests that sealing makes fails, then the second, and so on: each time in a new process. */
	for (int nth = 1; nth <= 20; nth++) {
		int status;

		if (need(fork(), "fork") == 0) {
			char *const window = three_pages(page, PROT_READ | PROT_WRITE);
			int fail = (int)need(open("/proc/thread-self/fail-nth", O_RDWR), "fail-nth"), error;
			long got;

			dprintf(fail, "%d", nth);
			errno = 0;
			got = syscall(SYS_mseal, window + page, page, 0);
			error = errno;
			need(pwrite(fail, "0", 1, 0), "fail-nth");
			errno = error;
			tell("mseal", got);
			demand(got == 0 || error == ENOMEM, "mseal succeeds or is refused with ENOMEM");
			demand(got || (syscall(SYS_munmap, window + page, page) == -1 && errno == EPERM),
			       "what answered 0 is sealed");
			demand(syscall(SYS_munmap, window, page) == 0 && syscall(SYS_munmap, window + 2 * page, page) == 0,
			       "nothing else is sealed");
			_exit(broken);
		}
		need(wait(&status), "wait");
		broken |= status != 0;
	}
	return broken;
}
