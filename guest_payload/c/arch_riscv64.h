/* SPDX-License-Identifier: MIT */
/* See arch.h. */
#ifndef SEALMATRIX_ARCH_RISCV64_H
#define SEALMATRIX_ARCH_RISCV64_H

#include <errno.h>

enum { ARCH_POINTER_TAG = 0, ARCH_HAS_KEY_RIGHTS = 0, ARCH_HAS_CALL32 = 0, ARCH_TEXT_PAGE = 4096 };
#define ARCH_MEMORY_TOP (1ul << 38) /* of Sv39; there is more with larger tables */
#define ARCH_TEXT_PAGE_TEXT "4096"
#define ARCH_VDSO_CLOCK "__vdso_clock_gettime"
#define ARCH_RETURN 0x82, 0x80 /* a function that only returns */
#define ARCH_HWCAP2_BTI 0ul
#define ARCH_HWCAP2_MTE 0ul
#define ARCH_STEPPED "addi a0, a0, 1\n\tret\n"

static inline long arch_fork_calling(char *stack, void (*run)(void *argument), void *argument)
{
	register long number __asm__("a7") = SYS_clone, result __asm__("a0") = SIGCHLD;
	register char *sp __asm__("a1") = stack;
	register long tid __asm__("a2") = 0, tls __asm__("a3") = 0, child_tid __asm__("a4") = 0;

	__asm__ volatile("ecall\n\tbnez a0, 1f\n\tmv a0, %[argument]\n\tjalr %[run]\n\tebreak\n1:"
			 : "+&r"(result)
			 : "r"(number), "r"(sp), "r"(tid), "r"(tls), "r"(child_tid), [run] "r"(run),
			   [argument] "r"(argument)
			 : "memory");
	return result;
}

static inline long arch_wait_for_any(void)
{
	register long number __asm__("a7") = SYS_wait4, result __asm__("a0") = -1, status __asm__("a1") = 0;
	register long options __asm__("a2") = WNOHANG, usage __asm__("a3") = 0;

	__asm__ volatile("ecall" : "+&r"(result) : "r"(number), "r"(status), "r"(options), "r"(usage) : "memory");
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
