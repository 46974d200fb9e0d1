/* process-vm-write/anon-r/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ);
	char text[8] = "sealed?";
	struct iovec from = {text, sizeof(text)}, to = {window, sizeof(text)};
	long got;

	seal(window, 3 * page);
	errno = 0;
	got = tell("process_vm_writev", syscall(SYS_process_vm_writev, getpid(), &from, 1, &to, 1, 0));
	demand(got == -1 && errno == EFAULT, "process_vm_writev is refused with EFAULT");
	for (int i = 0; i < 3; i++)
		demand(holds(window + i * page, 0xa0 + i), "the page holds what it held");
	stays_sealed(window, page);
	return broken;
}
