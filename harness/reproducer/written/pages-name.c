/* prctl-name/anon-rw/exact */
#include <sys/prctl.h>

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	const char *const name = "sealmatrix";

	/* Where the kernel has no names (CONFIG_ANON_VMA_NAME), nothing can be tried. */
	need(prctl(0x53564d41 /* PR_SET_VMA */, 0, window, page, name), "PR_SET_VMA");
	seal(window, 3 * page);
	errno = 0;
	demand(tell("prctl", prctl(0x53564d41, 0, window, 3 * page, name)) == 0, "sealed memory can be given a name");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");

	stays_sealed(window, page);
	return broken;
}
