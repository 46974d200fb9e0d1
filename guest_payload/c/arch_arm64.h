/* SPDX-License-Identifier: MIT */
/* See arch.h. Tags: Documentation/arch/arm64/tagged-pointers.rst. */
#ifndef SEALMATRIX_ARCH_ARM64_H
#define SEALMATRIX_ARCH_ARM64_H

#include <errno.h>

#define ARCH_POINTER_TAG (0xabul << 56)
enum { ARCH_HAS_KEY_RIGHTS = 0, ARCH_HAS_CALL32 = 0, ARCH_TEXT_PAGE = 16384 };
#define ARCH_MEMORY_TOP (1ul << 48)
#define ARCH_TEXT_PAGE_TEXT "16384"
#define ARCH_VDSO_CLOCK "__kernel_clock_gettime"
#define ARCH_RETURN 0xc0, 0x03, 0x5f, 0xd6 /* a function that only returns */
#define ARCH_HWCAP2_BTI (1ul << 17)
#define ARCH_HWCAP2_MTE (1ul << 18)
#define ARCH_STEPPED "add x0, x0, #1\n\tret\n"

static inline long arch_fork_calling(char *stack, void (*run)(void *argument), void *argument)
{
	register long number __asm__("x8") = SYS_clone, result __asm__("x0") = SIGCHLD;
	register char *sp __asm__("x1") = stack;
	register long tid __asm__("x2") = 0, tls __asm__("x3") = 0, child_tid __asm__("x4") = 0;

	__asm__ volatile("svc 0\n\tcbnz x0, 1f\n\tmov x0, %[argument]\n\tblr %[run]\n\tbrk 1\n1:"
			 : "+&r"(result)
			 : "r"(number), "r"(sp), "r"(tid), "r"(tls), "r"(child_tid), [run] "r"(run),
			   [argument] "r"(argument)
			 : "memory");
	return result;
}

static inline long arch_wait_for_any(void)
{
	register long number __asm__("x8") = SYS_wait4, result __asm__("x0") = -1, status __asm__("x1") = 0;
	register long options __asm__("x2") = WNOHANG, usage __asm__("x3") = 0;

	__asm__ volatile("svc 0" : "+&r"(result) : "r"(number), "r"(status), "r"(options), "r"(usage) : "memory");
	return result;
}

static inline unsigned arch_key_rights(void)
{
	return 0;
}

static inline void arch_set_key_rights(unsigned rights)
{
	(void)rights;
}

static inline int arch_call32(long number, long a, long b, long c)
{
	(void)number, (void)a, (void)b, (void)c;
	return -ENOSYS;
}

#endif
