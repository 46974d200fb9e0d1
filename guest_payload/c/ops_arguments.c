/* SPDX-License-Identifier: MIT */
/* mseal(2) and its arguments. There is nothing to be blocked: these operations do the sealing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "sys.h"

char *tagged(char *address)
{
	return (char *)((uintptr_t)address | ARCH_POINTER_TAG);
}

size_t short_length(const struct window *w)
{
	return w->length - (size_t)sysconf(_SC_PAGESIZE) + 1;
}

/* a: flags */
static long seal_range(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start, w->length, op->a);
}

/* a: flags, b: length */
static long seal_length(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start, op->b, op->a);
}

/* a: flags; one byte less than the range, or one more than all but its last page: both round up to the range */
static long seal_less_one(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start, w->length - 1, op->a);
}

static long seal_one_more(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start, short_length(w), op->a);
}

/* a: flags, b: how far off a page boundary */
static long seal_unaligned(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start + op->b, w->length, op->a);
}

static long seal_unaligned_empty(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start + op->b, 0, op->a);
}

/* A page of the range's first unit: all of it, unless the unit is a huge page. */
static long seal_a_page(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start, (size_t)sysconf(_SC_PAGESIZE), 0);
}

#define MAP_LIMIT "/proc/sys/vm/max_map_count"

/* The limit is the machine's, so it is touched in one of our own only, and for no longer than the call takes. */
static long set_map_limit(long limit)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%ld\n", limit);
	int fd = (int)sys(SYS_openat, AT_FDCWD, MAP_LIMIT, O_WRONLY | O_CLOEXEC);
	long wrote = sys(SYS_write, fd, text, length);

	sys(SYS_close, fd);
	return wrote == length ? 0 : -1;
}

static long count_mappings(void)
{
	char text[4096];
	long lines = 0;
	ssize_t got;
	int fd = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);

	while ((got = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < got; i++)
			lines += text[i] == '\n';
	sys(SYS_close, fd);
	return lines;
}

/* a: how many mappings there may be beyond those there are: sealing the middle of one would take two more */
static long seal_at_the_limit(struct window *w, const struct operation *op)
{
	long usual = (long)number_in(MAP_LIMIT, ""), sealed;
	int error;

	if (!usual || set_map_limit(count_mappings() + (long)op->a))
		fail_step(w, MAP_LIMIT, errno);
	sealed = sys_mseal(w->start, w->length, 0);
	error = errno;
	if (set_map_limit(usual))
		fail_step(w, MAP_LIMIT, errno);
	errno = error;
	return sealed;
}

/* ------------------------------------------------------------------ memory that the kernel does not get */

#define DEBUG "/sys/kernel/debug"

/*
 * Requests that may wait for memory never fail by themselves, and a kernel with fault injection leaves them alone
 * unless it is told. It fails none by that: only those of a thread that asks (fail-nth).
 */
static bool may_fail(void)
{
	static const struct {
		const char *path, *value;
	} settings[] = {
		{DEBUG "/failslab/ignore-gfp-wait", "N"},
		{DEBUG "/failslab/verbose", "0"},
		{DEBUG "/fail_page_alloc/ignore-gfp-wait", "N"},
		{DEBUG "/fail_page_alloc/min-order", "0"},
		{DEBUG "/fail_page_alloc/verbose", "0"},
	};

	if (sys(SYS_mount, "debugfs", DEBUG, "debugfs", 0, NULL) && errno != EBUSY)
		return false;
	for (size_t i = 0; i < COUNT(settings); i++) {
		int fd = (int)sys(SYS_openat, AT_FDCWD, settings[i].path, O_WRONLY | O_CLOEXEC);
		bool wrote = sys(SYS_write, fd, settings[i].value, 1) == 1;

		sys(SYS_close, fd);
		if (!wrote)
			return false;
	}
	return true;
}

static void open_failures(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)sys(SYS_openat, AT_FDCWD, "/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (w->other >= 0)
		meet_needs(w, NEED(MACHINE));
	if (w->other < 0 || !may_fail())
		fail_step(w, "fault injection", EOPNOTSUPP);
}

/* a: which of this thread's requests for memory fails, the how-manieth. Told is whether there were so many. */
static long seal_without_memory(struct window *w, const struct operation *op)
{
	char left[16] = "";
	char text[16];
	int length = snprintf(text, sizeof(text), "%lu", op->a);
	long sealed;
	int error;

	if (sys(SYS_write, w->other, text, length) != length)
		fail_step(w, "fail-nth", errno);
	sealed = sys_mseal(w->start, w->length, 0);
	error = errno;
	if (sys(SYS_pread64, w->other, left, sizeof(left) - 1, 0) < 1 || sys(SYS_pwrite64, w->other, "0", 1, 0) != 1)
		fail_step(w, "fail-nth", errno);
	add_extra(w, "failed", left[0] == '0');
	errno = error;
	return sealed;
}

/* A whole number of pages, so that it survives rounding; the end is what overflows. */
static long seal_to_overflow(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start, 0 - (size_t)sysconf(_SC_PAGESIZE), 0);
}

/* The end is 2^64, that is, zero. */
static long seal_to_the_top(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start, 0 - (size_t)w->start, 0);
}

static long seal_tagged(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(tagged(w->start), w->length, 0);
}

/* ------------------------------------------------------------------ as a 32-bit task calls */

enum { CALL32_GETPID = 20, CALL32_MUNMAP = 91, CALL32_MSEAL = 462 }; /* arch/x86/entry/syscalls/syscall_32.tbl */

static long call32(long number, long a, long b, long c)
{
	int result = arch_call32(number, a, b, c);

	if (result >= 0 || result < -4095)
		return result;
	errno = -result;
	return -1;
}

static void ask_for_number(void)
{
	call32(CALL32_GETPID, 0, 0, 0);
}

bool call32_works(void)
{
	return ARCH_HAS_CALL32 && try_call(ask_for_number);
}

static long seal_32(struct window *w, const struct operation *op)
{
	(void)op;
	return call32(CALL32_MSEAL, (long)w->start, (long)w->length, 0);
}

static long unmap_32(struct window *w, const struct operation *op)
{
	(void)op;
	return call32(CALL32_MUNMAP, (long)w->start, (long)w->length, 0);
}

#define WELL (SET(PLAIN) | SET(EXACT))
#define BADLY (SET(PLAIN) | SET(EXACT) | SET(HOLE_MIDDLE) | SET(UNMAPPED))
#define ON(regions, spans) .covers = {{regions, spans}}
/* Splitting twice, merging, both, and with an object behind it. */
#define FAILING(nth) \
	{.name = "mseal-failing-" #nth, .prepare = open_failures, .perform = seal_without_memory, .a = nth, \
	 .traits = SEALS, \
	 .covers = {{SET(ANON_RW) | SET(MEMFD_SHARED_RW), SET(PLAIN) | SET(AROUND)}, \
		    {SET(ANON_MIXED), SET(PLAIN_WIDE)}, \
		    {SET(COPIED_R) | SET(POLICY_R), SET(INTO)}}}

static const struct operation operations[] = {
	{.name = "mseal", .perform = seal_range, .traits = SEALS,
	 .covers = {{R_ALL | R_SPECIAL | R_HUGE_ALL | SET(SHADOW_STACK_RW), SET(PLAIN) | SET(EXACT)},
		    {SET(ANON_RW) | SET(FILE_SHARED_RW), S_ALL | S_HOLES | S_GAPS | SET(UNMAPPED)},
		    {SET(UNTOUCHED_GIGABYTES_R), SET(PLAIN) | SET(EXACT) | SET(AROUND)},
		    {R_TYPICAL | R_TRAITS, S_AMONG}, {SET(PIECES_R) | SET(WIDE_R), S_ALL | S_HOLES},
		    {SET(ANON_MIXED), SET(PLAIN_WIDE) | SET(PLAIN) | SET(HOLE_MIDDLE) | SET(HOLE_END) | SET(EXACT) |
		    	SET(INTO)}}},
	{.name = "mseal-flags-1", .perform = seal_range, .a = 1, .traits = SEALS, ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-flags-high", .perform = seal_range, .a = 1ul << 63, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-flags-bit32", .perform = seal_range, .a = 1ul << 32, .traits = SEALS,
	 ON(SET(ANON_RW), SET(PLAIN))},
	{.name = "mseal-flags-all", .perform = seal_range, .a = ALL_ONES, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-flags-empty", .perform = seal_length, .a = 1, .traits = SEALS, ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-flags-unaligned", .perform = seal_unaligned, .a = 1, .b = 1, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-unaligned-1", .perform = seal_unaligned, .b = 1, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-unaligned-2048", .perform = seal_unaligned, .b = 2048, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-unaligned-empty", .perform = seal_unaligned_empty, .b = 1, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-empty", .perform = seal_length, .traits = SEALS,
	 ON(SET(ANON_RW) | SET(FILE_SHARED_RW), BADLY)},
	{.name = "mseal-less-one-byte", .perform = seal_less_one, .traits = SEALS,
	 ON(R_TYPICAL, WELL | SET(HOLE_END))},
	{.name = "mseal-one-byte-more", .perform = seal_one_more, .traits = SEALS,
	 ON(R_TYPICAL, WELL | SET(HOLE_END))},
	{.name = "mseal-length-wraps", .perform = seal_length, .b = ALL_ONES, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-end-overflows", .perform = seal_to_overflow, .traits = SEALS, ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-end-is-zero", .perform = seal_to_the_top, .traits = SEALS, ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-beyond-task", .perform = seal_length, .b = 1ul << 62, .traits = SEALS,
	 ON(SET(ANON_RW), BADLY)},
	{.name = "mseal-map-limit", .perform = seal_at_the_limit, .traits = SEALS | ALONE, .needs = NEED(MACHINE),
	 ON(SET(ANON_RW) | SET(ANON_MIXED), SET(PLAIN) | SET(INTO))},
	{.name = "mseal-map-limit-one-more", .perform = seal_at_the_limit, .a = 1,
	 .traits = SEALS | ALONE, .needs = NEED(MACHINE),
	 ON(SET(ANON_RW) | SET(ANON_MIXED), SET(PLAIN) | SET(INTO))},
	{.name = "mseal-page", .perform = seal_a_page, .traits = SEALS, ON(R_HUGE_ALL, SET(BESIDE))},
	/* Of an address above 4 GiB, the call has but the lower half. */
	{.name = "mseal-32-bit", .perform = seal_32, .traits = SEALS, .needs = NEED(CALL32),
	 .covers = {{SET(ANON_RW) | SET(FILE_SHARED_RW), WELL | SET(HOLE_MIDDLE)}, {SET(HIGH_R), WELL}}},
	{.name = "munmap-32-bit", .perform = unmap_32, .needs = NEED(CALL32),
	 ON(SET(ANON_RW) | SET(ANON_R) | SET(HIGH_R), SET(EXACT) | SET(INTO) | SET(BESIDE))},
	{.name = "mseal-tagged", .perform = seal_tagged, .traits = SEALS, .needs = NEED(TAGS),
	 ON(R_TYPICAL | SET(MTE_R) | SET(MTE_RW), WELL | SET(HOLE_MIDDLE))},
	FAILING(1), FAILING(2), FAILING(3), FAILING(4), FAILING(5), FAILING(6), FAILING(7), FAILING(8),
	FAILING(9), FAILING(10), FAILING(11), FAILING(12), FAILING(13), FAILING(14),
};

const struct family family_arguments = {.name = "arguments", .operations = operations, .count = COUNT(operations)};
