/* uffd-copy/anon-untouched-r/exact */
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
	char *const window = (char *)WINDOW;
	char *const source = three_pages(page, PROT_READ | PROT_WRITE) + 16 * page;
	const int fd = open_uffd(0);
	struct uffdio_copy copy = {(unsigned long)window, (unsigned long)source, 3 * page, 0, 0};

	need(mremap(window, 3 * page, 3 * page, MREMAP_MAYMOVE | MREMAP_FIXED, source) == source ? 0 : -1, "mremap");
	need(mmap(window, 3 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == window ? 0 : -1, "mmap");
	need(watch(fd, window, 3 * page, UFFDIO_REGISTER_MODE_MISSING), "UFFDIO_REGISTER");
	seal(window, 3 * page);
	tell("UFFDIO_COPY", ioctl(fd, UFFDIO_COPY, &copy)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
