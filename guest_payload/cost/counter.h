/* SPDX-License-Identifier: MIT */
/*
 * The processor's own clock, read without a system call. A guest whose clock counts instructions (QEMU's -icount
 * shift=0) makes it a count; counter_frequency() says how many instructions lie between two of its values.
 *
 * MARK_BEGIN and MARK_END are instructions that do nothing and that no compiler emits. Whoever counts from outside
 * (harness/cost/plugin) finds the measured stretch by them.
 */
#ifndef SEALMATRIX_COUNTER_H
#define SEALMATRIX_COUNTER_H

#include <stdint.h>

#if defined(__x86_64__)
#define MARK_BEGIN "xchg %%bx, %%bx"
#define MARK_END "xchg %%cx, %%cx"
static inline uint64_t counter(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}
#elif defined(__aarch64__)
#define MARK_BEGIN "hint #100"
#define MARK_END "hint #101"
static inline uint64_t counter(void)
{
	uint64_t now;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(now) : : "memory");
	return now;
}
#elif defined(__riscv) && __riscv_xlen == 64
#define MARK_BEGIN "slti zero, zero, 0x701"
#define MARK_END "slti zero, zero, 0x702"
static inline uint64_t counter(void)
{
	uint64_t now;

	__asm__ volatile("fence\n\trdtime %0" : "=r"(now) : : "memory");
	return now;
}
#else
#error "no counter for this architecture"
#endif

/* Values of the counter in a second of the guest's time, which is 10^9 instructions. */
static inline uint64_t counter_frequency(void)
{
#if defined(__x86_64__)
	return 1000000000; /* QEMU: the time stamp counter is the count itself */
#elif defined(__aarch64__)
	uint64_t frequency;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
	return frequency;
#else
	return 10000000; /* QEMU's virt machine: RISCV_ACLINT_DEFAULT_TIMEBASE_FREQ */
#endif
}

#endif
