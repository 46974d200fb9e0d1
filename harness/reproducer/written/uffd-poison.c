/* uffd-poison/anon-untouched-rw/exact */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFDIO_POISON
#define UFFDIO_POISON _IOWR(UFFDIO, 8, struct uffdio_poison)
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#endif

static int open_uffd(unsigned long features, char *at, size_t length, unsigned long mode)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	struct uffdio_register wanted = {.range = {(unsigned long)at, length}, .mode = mode};
	const int fd = (int)need(syscall(SYS_userfaultfd, 0), "userfaultfd");

	need(ioctl(fd, UFFDIO_API, &api), "UFFDIO_API");
	need(ioctl(fd, UFFDIO_REGISTER, &wanted), "UFFDIO_REGISTER");
	return fd;
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	struct uffdio_poison poison = {.range = {(unsigned long)window, 3 * page}};
	int fd;

	need(syscall(SYS_madvise, window, 3 * page, 4 /* MADV_DONTNEED */), "madvise");
	fd = open_uffd(1 << 14 /* UFFD_FEATURE_POISON */, window, 3 * page, UFFDIO_REGISTER_MODE_MISSING);
	seal(window, 3 * page);
	tell("UFFDIO_POISON", ioctl(fd, UFFDIO_POISON, &poison)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
