/* SPDX-License-Identifier: MIT */
/*
 * What depends on the processor's architecture, one header for each. A header has:
 *
 *	arch_fork_calling()	fork(2) whose child calls a function on another stack, with what is in the registers
 *	arch_wait_for_any()	waitpid(-1, NULL, WNOHANG)
 *	arch_key_rights()	the thread's rights of protection keys, where ARCH_HAS_KEY_RIGHTS; and
 *	arch_set_key_rights()	to set them
 *	arch_call32()		a system call as 32-bit programs make it, where ARCH_HAS_CALL32; as the kernel answers
 *	ARCH_POINTER_TAG	what may be in an address and is ignored, or 0
 *	ARCH_HWCAP2_BTI, ARCH_HWCAP2_MTE  the bits of AT_HWCAP2 by which a kernel offers these to programs, or 0
 *	ARCH_STEPPED		the code of a function whose first instruction has to be executed elsewhere when a
 *				uprobe took its place, as text for the assembler
 *	ARCH_MEMORY_TOP		where the addresses of a process end
 *	ARCH_RETURN		the bytes of a function that only returns
 *	ARCH_VDSO_CLOCK		what clock_gettime() is called in the vdso
 *	ARCH_TEXT_PAGE		the largest page, as a number and as text for the assembler
 */
#ifndef SEALMATRIX_ARCH_H
#define SEALMATRIX_ARCH_H

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#if defined(__x86_64__)
#include "arch_x86_64.h"
#elif defined(__aarch64__)
#include "arch_arm64.h"
#elif defined(__riscv) && __riscv_xlen == 64
#include "arch_riscv64.h"
#else
#error "no header for this architecture: write arch_NAME.h and name it here"
#endif

#endif
