/* brk-grow/heap-rw/after */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *heap = (char *)syscall(SYS_brk, 0), *end;

	heap += (page - (size_t)heap % page) % page;
	end = heap + 3 * page;
	/* By the system call: malloc must not have its own idea of the heap, so nothing is buffered. */
	setvbuf(stdout, NULL, _IONBF, 0);
	need((char *)syscall(SYS_brk, end) == end ? 0 : -1, "brk");
	for (int i = 0; i < 3; i++)
		memset(heap + i * page, 0xa0 + i, page);
	seal(heap, page);
	demand((char *)syscall(SYS_brk, end + page) == end + page, "the heap grows behind a sealed page");
	demand((char *)syscall(SYS_brk, heap + page) == heap + page, "plain memory above it can be given back");
	demand(holds(heap, 0xa0), "the page holds what it held");
	demand(syscall(SYS_munmap, heap, page) == -1 && errno == EPERM, "the page is sealed");
	return broken;
}
