/* mseal-page/hugetlb-private-rw/beside */
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
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t size;
	char *const window = hugetlb_page(&size);

	/* Nothing is promised but that it is no mapping of its own: the answer is what there is to see. */
	tell("mseal of a part", syscall(SYS_mseal, window, page, 0));
	demand(holds(window, 0xa0), "the page holds what it held");
	return broken;
}
