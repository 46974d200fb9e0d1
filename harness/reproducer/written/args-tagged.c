/* mseal-tagged/anon-rw/exact */
#include <stdint.h>

/* Only arm64 ignores the top byte of an address. */
#ifdef __aarch64__
#define TAG ((uintptr_t)0x5a << 56)
#else
#define TAG ((uintptr_t)0)
#endif

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);

	if (!TAG) {
		puts("only arm64 has tagged addresses");
		return 2;
	}
	errno = 0;
	demand(tell("mseal", syscall(SYS_mseal, (uintptr_t)window | TAG, 3 * page, 0)) == 0,
	       "mseal of a tagged address succeeds");
	stays_sealed(window, page);
	return broken;
}
