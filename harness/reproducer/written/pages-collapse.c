/* collapse/anon-huge-scattered-rw/exact */
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

	need(madvise(window, 2 * size, 15 /* MADV_NOHUGEPAGE */), "MADV_NOHUGEPAGE");
	memset(window, 0xa0, size);
	need(madvise(window, 2 * size, 14 /* MADV_HUGEPAGE */), "MADV_HUGEPAGE");
	seal(window, size);
	errno = 0;
	demand(tell("madvise", syscall(SYS_madvise, window, size, 25 /* MADV_COLLAPSE */)) == 0, "the pages can be made one");
	demand(holds(window, 0xa0) && holds(window + size - 1, 0xa0), "they hold what they held");
	demand(syscall(SYS_munmap, window + page, page) == -1 && errno == EPERM, "they are sealed");
	return broken;
}
