/* hwpoison/anon-rw/middle */
#include <signal.h>

static void outlive(int signal_number)
{
	(void)signal_number; /* the kernel warns at once */
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);

	seal(window, 3 * page);
	signal(SIGBUS, outlive);
	/* The machine loses a page by it until it is started anew. Nothing is promised. */
	tell("madvise", need(syscall(SYS_madvise, window + page, page, 100 /* MADV_HWPOISON */), "MADV_HWPOISON"));
	stays_sealed(window, page);
	return broken;
}
