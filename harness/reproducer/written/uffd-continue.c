/* uffd-continue/shared-anon-rw/exact */
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef UFFDIO_CONTINUE
#define UFFDIO_CONTINUE _IOWR(UFFDIO, 7, struct uffdio_continue)
struct uffdio_continue {
	struct uffdio_range range;
	__u64 mode;
	__s64 mapped;
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
	char *const window = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct uffdio_continue go_on = {.range = {(unsigned long)window, 3 * page}};
	int fd;

	need(window == MAP_FAILED ? -1 : 0, "mmap");
	memset(window, 0xa0, 3 * page);
	need(syscall(SYS_madvise, window, 3 * page, 4 /* MADV_DONTNEED */), "madvise");
	fd = open_uffd(1 << 10 /* UFFD_FEATURE_MINOR_SHMEM */, window, 3 * page, 4 /* UFFDIO_REGISTER_MODE_MINOR */);
	seal(window, 3 * page);
	tell("UFFDIO_CONTINUE", ioctl(fd, UFFDIO_CONTINUE, &go_on)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
