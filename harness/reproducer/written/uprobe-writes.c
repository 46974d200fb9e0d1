/* uprobe/file-private-clean-r/exact */
#include <fcntl.h>
#include <linux/perf_event.h>

/* Of the events of uprobes, as the kernel numbers them. */
static int type_of_uprobes(void)
{
	int type = 0;
	FILE *file = fopen("/sys/bus/event_source/devices/uprobe/type", "r");

	need(file && fscanf(file, "%d", &type) == 1 ? 0 : -1, "uprobes");
	fclose(file);
	return type;
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char path[64], *window;
	struct perf_event_attr event = {.size = sizeof(event)};
	const int fd = (int)need(open(".", O_TMPFILE | O_RDWR, 0600), "open of a file without a name");

	for (size_t i = 0; i < 3 * page; i++)
		need(write(fd, "P", 1), "write"); /* on x86 a push */
	window = mmap(NULL, 3 * page, PROT_READ, MAP_PRIVATE, fd, 0);
	need(window == MAP_FAILED ? -1 : 0, "mmap");
	seal(window, 3 * page);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	event.type = (unsigned)type_of_uprobes();
	event.config1 = (unsigned long)path;
	tell("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0)); /* nothing is promised */
	printf("the page begins with %02x, which was 50\n", (unsigned char)window[0]);
	stays_sealed(window, page);
	return broken;
}
