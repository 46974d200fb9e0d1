/* proc-mem-write/anon-r/exact */
#include <fcntl.h>

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ);
	const int mem = (int)need(open("/proc/self/mem", O_RDWR), "/proc/self/mem");

	seal(window, 3 * page);
	tell("pwrite", pwrite(mem, "sealed?", 8, (long)window)); /* nothing is promised */
	stays_sealed(window, page);
	return broken;
}
