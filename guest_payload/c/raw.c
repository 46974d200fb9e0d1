/* SPDX-License-Identifier: MIT */
/*
 * Two system calls as no C library makes them: without a word written to memory that a forked process has as well. Each
 * such page would be copied, once for every half there is (engine.c).
 */
#include <errno.h>

#include "arch.h"
#include "payload.h"

long fork_onto(char *stack, void (*run)(void *argument), void *argument)
{
	long pid = arch_fork_calling(stack, run, argument);

	if (pid >= 0)
		return pid;
	errno = (int)-pid;
	return -1;
}

/* Reaps one that has ended, if there is one. */
bool no_children(void)
{
	return arch_wait_for_any() < 0;
}
