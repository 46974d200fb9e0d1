/* brk-shrink/heap-rw/exact */
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
	seal(heap, 3 * page);
	demand((char *)syscall(SYS_brk, heap) == end, "the break stays where it is");
	for (int i = 0; i < 3; i++)
		demand(holds(heap + i * page, 0xa0 + i), "the page holds what it held");
	stays_sealed(heap, page);
	return broken;
}
