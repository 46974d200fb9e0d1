/* process-vm-write/anon-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE);
	char text[8] = "sealed?";
	struct iovec from = {text, sizeof(text)}, to = {window, sizeof(text)};
	long got;

	seal(window, 3 * page);
	errno = 0;
	got = tell("process_vm_writev", syscall(SYS_process_vm_writev, getpid(), &from, 1, &to, 1, 0));
	demand(got == 8, "process_vm_writev works, as any store does");
	stays_sealed(window, page);
	return broken;
}
