/* uffd-register-missing/anon-rw/exact */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

static int open_uffd(unsigned long features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	const int fd = (int)need(syscall(SYS_userfaultfd, 0), "userfaultfd");

	need(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
	return fd;
}

static long watch(int fd, char *at, size_t length, unsigned long mode)
{
	struct uffdio_register wanted = {.range = {(unsigned long)at, length}, .mode = mode};

	return ioctl(fd, UFFDIO_REGISTER, &wanted);
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	const int fd = open_uffd(0);

	seal(window, 3 * page);
	tell("UFFDIO_REGISTER", watch(fd, window, 3 * page, UFFDIO_REGISTER_MODE_MISSING)); /* nothing is promised */
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
