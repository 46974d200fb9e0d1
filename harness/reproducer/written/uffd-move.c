/* uffd-move/anon-rw/exact */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE _IOWR(UFFDIO, 5, struct uffdio_move)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#endif

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
	char *const free_place = window + 16 * page;
	const int fd = open_uffd(1 << 16 /* UFFD_FEATURE_MOVE */);
	struct uffdio_move move = {(unsigned long)free_place, (unsigned long)window, 3 * page, 0, 0};

	need(mmap(free_place, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == free_place
		     ? 0 : -1, "mmap");
	need(watch(fd, free_place, 3 * page, UFFDIO_REGISTER_MODE_MISSING), "UFFDIO_REGISTER");
	seal(window, 3 * page);
	tell("UFFDIO_MOVE", ioctl(fd, UFFDIO_MOVE, &move)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
