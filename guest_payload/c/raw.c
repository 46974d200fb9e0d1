/* SPDX-License-Identifier: MIT */
/*
 * Two system calls as no C library makes them: without a word written to memory that a forked process has as well. Each
 * such page would be copied, once for every half there is (engine.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "payload.h"
#include "sys.h"

#ifdef __aarch64__

/* fork(2) whose child calls a function on another stack, with what is in the registers. */
static long fork_calling(char *stack, void (*run)(void *argument), void *argument)
{
	register long number __asm__("x8") = SYS_clone, result __asm__("x0") = SIGCHLD;
	register char *sp __asm__("x1") = stack;
	register long tid __asm__("x2") = 0, tls __asm__("x3") = 0, child_tid __asm__("x4") = 0;

	__asm__ volatile("svc 0\n\tcbnz x0, 1f\n\tmov x0, %[argument]\n\tblr %[run]\n\tbrk 1\n1:"
			 : "+&r"(result)
			 : "r"(number), "r"(sp), "r"(tid), "r"(tls), "r"(child_tid), [run] "r"(run), [argument] "r"(argument)
			 : "memory");
	return result;
}

static long wait_for_any(void)
{
	register long number __asm__("x8") = SYS_wait4, result __asm__("x0") = -1, status __asm__("x1") = 0;
	register long options __asm__("x2") = WNOHANG, usage __asm__("x3") = 0;

	__asm__ volatile("svc 0" : "+&r"(result) : "r"(number), "r"(status), "r"(options), "r"(usage) : "memory");
	return result;
}

#else

static long fork_calling(char *stack, void (*run)(void *argument), void *argument)
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

static long wait_for_any(void)
{
	register long usage __asm__("r10") = 0;
	long result;

	__asm__ volatile("syscall"
			 : "=&a"(result)
			 : "0"((long)SYS_wait4), "D"(-1l), "S"(0l), "d"((long)WNOHANG), "r"(usage)
			 : "rcx", "r11", "memory");
	return result;
}

#endif

long fork_onto(char *stack, void (*run)(void *argument), void *argument)
{
	long pid = fork_calling(stack, run, argument);

	if (pid >= 0)
		return pid;
	errno = (int)-pid;
	return -1;
}

/* Reaps one that has ended, if there is one. */
bool no_children(void)
{
	return wait_for_any() < 0;
}
