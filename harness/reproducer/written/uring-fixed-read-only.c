/* uring-read-fixed/anon-r/exact */
#include <linux/io_uring.h>
#include <sys/uio.h>

static struct io_uring_params parameters;
static char *rings;
static struct io_uring_sqe *entries;

static int open_uring(void)
{
	const int fd = (int)need(syscall(SYS_io_uring_setup, 4, &parameters), "io_uring_setup");

	rings = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	if (rings == MAP_FAILED)
		rings = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	entries = mmap(NULL, 4 * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	need(rings == MAP_FAILED || entries == MAP_FAILED ? -1 : 0, "mmap of the rings");
	return fd;
}

/* Three pages of c0 are read to an address; as the kernel answered, or minus the error. */
static int read_by_uring(int fd, unsigned char how, char *to, size_t length)
{
	const int file = (int)need(syscall(SYS_memfd_create, "c0", 0), "memfd_create");
	struct io_uring_cqe *done = (struct io_uring_cqe *)(void *)(rings + parameters.cq_off.cqes);

	for (size_t i = 0; i < length; i++)
		need(write(file, "\xc0", 1), "write");
	entries[0] = (struct io_uring_sqe){
		.opcode = how, .fd = file, .addr = (unsigned long)to, .len = (unsigned)length,
	};
	*(unsigned *)(void *)(rings + parameters.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(void *)(rings + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), "io_uring_enter");
	printf("io_uring answered %d\n", done[0].res);
	return done[0].res;
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	struct iovec buffer = {window, 3 * page};
	const int fd = open_uring();

	need(syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &buffer, 1), "IORING_REGISTER_BUFFERS");
	need(mprotect(window, 3 * page, PROT_READ), "mprotect");
	seal(window, 3 * page);
	read_by_uring(fd, IORING_OP_READ_FIXED, window, 3 * page); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
