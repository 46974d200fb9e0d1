/* mseal-map-limit/anon-rw/into */
#include <fcntl.h>
#include <stdlib.h>

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	const int limit = (int)need(open("/proc/sys/vm/max_map_count", O_RDWR), "vm.max_map_count");
	char usual[24] = "", less[24], c;
	FILE *maps;
	long got;
	int lines = 0, error;

	need(read(limit, usual, sizeof(usual) - 1), "vm.max_map_count");
	seal(window, page);
	maps = fopen("/proc/self/maps", "r");
	need(maps ? 0 : -1, "/proc/self/maps");
	while (fread(&c, 1, 1, maps))
		lines += c == '\n';
	fclose(maps);
	/* One page in the middle of a mapping: it would have to be split, and there may be no more mappings. */
	snprintf(less, sizeof(less), "%d\n", lines);
	need(pwrite(limit, less, strlen(less), 0), "vm.max_map_count");
	errno = 0;
	got = syscall(SYS_mseal, window + page, page, 0);
	error = errno;
	need(pwrite(limit, usual, strlen(usual), 0), "vm.max_map_count");
	errno = error;
	tell("mseal", got);
	demand(got == 0 || errno == ENOMEM, "mseal succeeds or is refused with ENOMEM");
	demand(syscall(SYS_munmap, window, page) == -1 && errno == EPERM, "what was sealed before stays sealed");
	return broken;
}
