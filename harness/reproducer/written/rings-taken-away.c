/* io-destroy/aio-ring-shared-rw/exact */
int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned long context = 0; /* which is where the ring is */

	need(syscall(SYS_io_setup, 2048, &context), "io_setup");
	seal((char *)context, 3 * page);
	tell("io_destroy", syscall(SYS_io_destroy, context)); /* nothing is promised */
	stays_sealed((char *)context, page);
	return broken;
}
