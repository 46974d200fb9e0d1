/* shadow-stack-munmap/shadow-stack-rw/exact */
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const at = (char *)0x600000000, *const stack = (char *)syscall(SYS_map_shadow_stack, at, 3 * page, 0);

	if (stack == MAP_FAILED) {
		perror("map_shadow_stack: this kernel or processor has no shadow stacks");
		return 2;
	}
	need(syscall(SYS_mseal, stack, 3 * page, 0), "mseal");
	errno = 0;
	demand(tell("munmap", syscall(SYS_munmap, stack, 3 * page)) == -1 && errno == EPERM, "munmap is refused with EPERM");
	errno = 0;
	demand(tell("mprotect", syscall(SYS_mprotect, stack, page, PROT_NONE)) == -1 && errno == EPERM,
	       "mprotect is refused with EPERM");
	return broken;
}
