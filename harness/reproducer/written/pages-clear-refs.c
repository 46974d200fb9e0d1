/* clear-refs-all/anon-rw/exact */
#include <fcntl.h>

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	const int refs = (int)need(open("/proc/self/clear_refs", O_WRONLY), "/proc/self/clear_refs");

	seal(window, 3 * page);
	errno = 0;
	demand(tell("write", write(refs, "1", 1)) == 1, "writing to clear_refs works");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
