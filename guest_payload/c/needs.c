/* SPDX-License-Identifier: MIT */
/*
 * What a probe may need of the machine. Tables say which; here is how it is found out, in the half, before it is
 * sealed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "sys.h"

static bool two_cpus(void)
{
	int cpus[2];

	return first_two_cpus(cpus);
}

static bool two_nodes(void)
{
	return sys(SYS_faccessat, AT_FDCWD, "/sys/devices/system/node/node1", 0) == 0;
}

static bool swap(void)
{
	return number_in("/proc/meminfo", "SwapTotal:");
}

static bool tags(void)
{
	return ARCH_POINTER_TAG != 0;
}

/* A trace is of calls that are the same everywhere. */
static bool bti(void)
{
	return tracing() || ARCH_HWCAP2_BTI & getauxval(AT_HWCAP2);
}

static bool mte(void)
{
	return tracing() || ARCH_HWCAP2_MTE & getauxval(AT_HWCAP2);
}

/* Where there are, executing what needs this crashes the kernel: docs/reference/findings.md. */
static bool no_mte(void)
{
	return tracing() || !mte();
}

static bool machine(void)
{
	return started_by == 1;
}

const char *const need_names[NEEDS] = {
	[TWO_CPUS] = "two-cpus",
	[TWO_NODES] = "two-nodes",
	[SWAP] = "swap",
	[HUGE_PAGES] = "hugepages",
	[KEYS] = "protection-keys",
	[TAGS] = "tagged-pointers",
	[CALL32] = "32-bit-calls",
	[PROGRAM32_RUNS] = "32-bit-programs",
	[NO_MTE] = "no-memory-tags",
	[BTI] = "branch-targets",
	[MTE] = "memory-tags",
	[MACHINE] = "own-machine",
};

/* What is not here, the operation or the region finds out by using it. */
static const struct {
	bool (*there)(void);
	const char *what; /* for people */
	int error;
} checks[NEEDS] = {
	[TWO_CPUS] = {.there = two_cpus, .what = "two CPUs", .error = EOPNOTSUPP},
	[TWO_NODES] = {.there = two_nodes, .what = "a second NUMA node", .error = EOPNOTSUPP},
	[SWAP] = {.there = swap, .what = "swap", .error = EOPNOTSUPP},
	[TAGS] = {.there = tags, .what = "tagged pointers", .error = EOPNOTSUPP},
	[CALL32] = {.there = call32_works, .what = "32-bit system calls", .error = EOPNOTSUPP},
	[PROGRAM32_RUNS] = {.there = program32_works, .what = "32-bit programs", .error = EOPNOTSUPP},
	[NO_MTE] = {.there = no_mte, .what = "a processor without memory tags", .error = EOPNOTSUPP},
	[BTI] = {.there = bti, .what = "branch target identification", .error = EOPNOTSUPP},
	[MTE] = {.there = mte, .what = "memory tagging", .error = EOPNOTSUPP},
	[MACHINE] = {.there = machine, .what = "a machine of our own", .error = EPERM},
};

void meet_needs(struct window *w, unsigned needs)
{
	for (int i = 0; i < NEEDS; i++)
		if (needs >> i & 1 && checks[i].there && !checks[i].there())
			fail_step(w, checks[i].what, checks[i].error);
}
