/* SPDX-License-Identifier: MIT */
/* See arch.h. */
#ifndef SEALMATRIX_ARCH_X86_64_H
#define SEALMATRIX_ARCH_X86_64_H

enum { ARCH_POINTER_TAG = 0, ARCH_HAS_KEY_RIGHTS = 1, ARCH_HAS_CALL32 = 1, ARCH_TEXT_PAGE = 4096 };
#define ARCH_MEMORY_TOP ((1ul << 47) - 4096) /* the kernel keeps the last page for itself */
#define ARCH_TEXT_PAGE_TEXT "4096"
#define ARCH_VDSO_CLOCK "__vdso_clock_gettime"
#define ARCH_RETURN 0xc3 /* a function that only returns */
#define ARCH_HWCAP2_BTI 0ul
#define ARCH_HWCAP2_MTE 0ul
#define ARCH_STEPPED "leaq 1(%rdi), %rax\n\tret\n"

static inline long arch_fork_calling(char *stack, void (*run)(void *argument), void *argument)
{
	register long child_tid __asm__("r10") = 0, tls __asm__("r8") = 0;
	long result;

	__asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tmov %[argument], %%rdi\n\tcall *%[run]\n\thlt\n1:"
			 : "=&a"(result)
			 : "0"((long)SYS_clone), "D"((long)SIGCHLD), "S"(stack), "d"(0l), "r"(child_tid), "r"(tls),
			   [run] "r"(run), [argument] "r"(argument)
			 : "rcx", "r11", "memory");
	return result;
}

static inline long arch_wait_for_any(void)
{
	register long usage __asm__("r10") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=&a"(result)
			 : "0"((long)SYS_wait4), "D"(-1l), "S"(0l), "d"((long)WNOHANG), "r"(usage)
			 : "rcx", "r11", "memory");
	return result;
}

static inline unsigned arch_key_rights(void)
{
	unsigned rights;

	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(rights) : "c"(0) : "rdx"); /* rdpkru */
	return rights;
}

static inline void arch_set_key_rights(unsigned rights)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(rights), "c"(0), "d"(0)); /* wrpkru */
}

/*
 * The gate by which 32-bit programs call the kernel is open to 64-bit ones, and what comes in by it is a 32-bit call:
 * other numbers, arguments cut to 32 bits. The kernel kills whoever tries it where there is no CONFIG_IA32_EMULATION
 * or that was turned off at boot (ia32_emulation=0).
 */
static inline int arch_call32(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(number), "b"(a), "c"(b), "d"(c)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

#endif
