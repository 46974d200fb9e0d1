/* uffd-move-into/anon-untouched-rw/exact */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE _IOWR(UFFDIO, 5, struct uffdio_move)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
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
	char *const from = window + 16 * page;
	struct uffdio_move move = {(unsigned long)window, (unsigned long)from, 3 * page, 0, 0};
	int fd;

	need(syscall(SYS_madvise, window, 3 * page, 4 /* MADV_DONTNEED */), "madvise");
	need(mmap(from, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == from ? 0 : -1,
	     "mmap");
	memset(from, 0xc0, 3 * page);
	fd = open_uffd(1 << 16 /* UFFD_FEATURE_MOVE */, window, 3 * page, UFFDIO_REGISTER_MODE_MISSING);
	seal(window, 3 * page);
	tell("UFFDIO_MOVE", ioctl(fd, UFFDIO_MOVE, &move)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
