/* program32-mseal-beyond/anon-r/exact */
/* To be compiled as a 32-bit program (cc -m32, or arm-linux-gnueabihf-gcc). */
int main(void)
{
	const size_t page = (size_t)need(sysconf(_SC_PAGESIZE), "sysconf");

	errno = 0;
	demand(tell("mseal", syscall(SYS_mseal, -page, 2 * page, 0)) == -1 &&
		       (errno == ENOMEM || errno == EINVAL || errno == ENOSYS),
	       "mseal of a range that ends beyond all a program can name is refused");
	return broken;
}
