/* uffd-writeprotect/anon-rw/exact */
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
	struct uffdio_writeprotect wanted = {.range = {(unsigned long)window, 3 * page}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};

	need(watch(fd, window, 3 * page, UFFDIO_REGISTER_MODE_WP), "UFFDIO_REGISTER");
	seal(window, 3 * page);
	tell("UFFDIO_WRITEPROTECT", ioctl(fd, UFFDIO_WRITEPROTECT, &wanted)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
