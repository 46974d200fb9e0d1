/* mseal-page/anon-huge-r/beside */
/* Two huge pages' worth of memory, aligned so that the first one can be huge. */
static char *huge_page(size_t *size)
{
	FILE *told = fopen("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "r");
	char *at;

	if (!told || fscanf(told, "%zu", size) != 1) {
		puts("this kernel has no transparent huge pages");
		_exit(2);
	}
	fclose(told);
	at = (char *)0x200000000;
	need(mmap(at, 2 * *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at ? 0 : -1,
	     "mmap");
	return at;
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size;
	char *const window = huge_page(&size);

	need(madvise(window, 2 * size, 14 /* MADV_HUGEPAGE */), "MADV_HUGEPAGE");
	memset(window, 0xa0, size);
	need(mprotect(window, 2 * size, PROT_READ), "mprotect");
	errno = 0;
	demand(tell("mseal", syscall(SYS_mseal, window + page, page, 0)) == 0, "mseal of one page succeeds");
	demand(holds(window + page, 0xa0), "the page holds what it held");
	demand(syscall(SYS_munmap, window + page, page) == -1 && errno == EPERM, "the page is sealed");
	demand(syscall(SYS_munmap, window, page) == 0, "the page before it is not");
	demand(syscall(SYS_munmap, window + 2 * page, page) == 0, "the page behind it is not");
	return broken;
}
