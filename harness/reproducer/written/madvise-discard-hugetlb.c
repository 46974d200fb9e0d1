/* madvise-dontneed/hugetlb-private-r/exact */
/* One page of the usual huge size. */
static char *hugetlb_page(size_t *size)
{
	FILE *told = fopen("/proc/meminfo", "r");
	char line[128];
	void *at;

	*size = 0;
	need(told ? 0 : -1, "/proc/meminfo");
	while (fgets(line, sizeof(line), told))
		sscanf(line, "Hugepagesize: %zu", size);
	fclose(told);
	*size <<= 10;
	at = mmap(NULL, *size ? *size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | 0x40000 /* MAP_HUGETLB */,
		  -1, 0);
	need(at == MAP_FAILED ? -1 : 0, "mmap of a huge page (vm.nr_hugepages)");
	memset(at, 0xa0, *size);
	return at;
}

int main(void)
{
	size_t size;
	char *const window = hugetlb_page(&size);

	need(mprotect(window, size, PROT_READ), "mprotect");
	seal(window, size);
	tell("madvise", syscall(SYS_madvise, window, size, 4 /* MADV_DONTNEED */)); /* nothing is promised */
	demand(syscall(SYS_munmap, window, size) == -1 && errno == EPERM, "the page is sealed");
	return broken;
}
