/* SPDX-License-Identifier: MIT */
/* mseal(2) and its arguments. There is nothing to be blocked: these operations do the sealing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

char *tagged(struct window *w, char *address)
{
#ifdef __aarch64__
	(void)w;
	return (char *)((uintptr_t)address | 0xabul << 56);
#else
	(void)address;
	fail_step(w, "tagged pointers", EOPNOTSUPP);
#endif
}

size_t short_length(const struct window *w)
{
	return w->length - (size_t)sysconf(_SC_PAGESIZE) + 1;
}

void need_tags(struct window *w, const struct operation *op)
{
	(void)op;
	tagged(w, w->start);
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
static void need_machine(struct window *w, const struct operation *op)
{
	(void)op;
	if (started_by != 1)
		fail_step(w, "a machine of our own", EPERM);
}

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
	return sys_mseal(tagged(w, w->start), w->length, 0);
}

/* ------------------------------------------------------------------ as a 32-bit task calls */

enum { CALL32_GETPID = 20, CALL32_MUNMAP = 91, CALL32_MSEAL = 462 }; /* arch/x86/entry/syscalls/syscall_32.tbl */

/*
 * The gate by which 32-bit programs call the kernel is open to 64-bit ones, and what comes in by it is a 32-bit call:
 * other numbers, arguments cut to 32 bits. The kernel kills whoever tries it where there is no CONFIG_IA32_EMULATION or
 * that was turned off at boot (ia32_emulation=0).
 */
static long call32(long number, long a, long b, long c)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(number), "b"(a), "c"(b), "d"(c)
			 : "r8", "r9", "r10", "r11", "memory");
	if ((int)result >= 0 || (int)result < -4095)
		return (int)result;
	errno = -(int)result;
#else
	(void)number, (void)a, (void)b, (void)c;
	errno = ENOSYS;
#endif
	return -1;
}

static void ask_for_number(void)
{
	call32(CALL32_GETPID, 0, 0, 0);
}

static void need_call32(struct window *w, const struct operation *op)
{
	(void)op;
#ifdef __x86_64__
	if (try_call(ask_for_number))
		return;
#endif
	(void)ask_for_number;
	fail_step(w, "32-bit system calls", EOPNOTSUPP);
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

static const struct operation operations[] = {
	{"mseal", NULL, seal_range, 0, 0, SEALS,
	 {{R_ALL | R_SPECIAL | R_HUGE_ALL, SET(PLAIN) | SET(EXACT)},
	  {SET(ANON_RW) | SET(FILE_SHARED_RW), S_ALL | S_HOLES | S_GAPS | SET(UNMAPPED)},
	  {SET(ANON_MIXED), SET(PLAIN_WIDE) | SET(PLAIN) | SET(HOLE_MIDDLE) | SET(HOLE_END) | SET(EXACT) | SET(INTO)}}},
	{"mseal-flags-1", NULL, seal_range, 1, 0, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-flags-high", NULL, seal_range, 1ul << 63, 0, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-flags-bit32", NULL, seal_range, 1ul << 32, 0, SEALS, ON(SET(ANON_RW), SET(PLAIN))},
	{"mseal-flags-all", NULL, seal_range, ALL_ONES, 0, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-flags-empty", NULL, seal_length, 1, 0, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-flags-unaligned", NULL, seal_unaligned, 1, 1, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-unaligned-1", NULL, seal_unaligned, 0, 1, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-unaligned-2048", NULL, seal_unaligned, 0, 2048, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-unaligned-empty", NULL, seal_unaligned_empty, 0, 1, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-empty", NULL, seal_length, 0, 0, SEALS, ON(SET(ANON_RW) | SET(FILE_SHARED_RW), BADLY)},
	{"mseal-less-one-byte", NULL, seal_less_one, 0, 0, SEALS, ON(R_TYPICAL, WELL | SET(HOLE_END))},
	{"mseal-one-byte-more", NULL, seal_one_more, 0, 0, SEALS, ON(R_TYPICAL, WELL | SET(HOLE_END))},
	{"mseal-length-wraps", NULL, seal_length, 0, ALL_ONES, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-end-overflows", NULL, seal_to_overflow, 0, 0, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-end-is-zero", NULL, seal_to_the_top, 0, 0, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-beyond-task", NULL, seal_length, 0, 1ul << 62, SEALS, ON(SET(ANON_RW), BADLY)},
	{"mseal-map-limit", need_machine, seal_at_the_limit, 0, 0, SEALS | ALONE,
	 ON(SET(ANON_RW) | SET(ANON_MIXED), SET(PLAIN) | SET(INTO))},
	{"mseal-map-limit-one-more", need_machine, seal_at_the_limit, 1, 0, SEALS | ALONE,
	 ON(SET(ANON_RW) | SET(ANON_MIXED), SET(PLAIN) | SET(INTO))},
	{"mseal-page", NULL, seal_a_page, 0, 0, SEALS, ON(R_HUGE_ALL, SET(BESIDE))},
	{"mseal-32-bit", need_call32, seal_32, 0, 0, SEALS,
	 ON(SET(ANON_RW) | SET(FILE_SHARED_RW), WELL | SET(HOLE_MIDDLE))},
	{"munmap-32-bit", need_call32, unmap_32, 0, 0, 0,
	 ON(SET(ANON_RW) | SET(ANON_R), SET(EXACT) | SET(INTO) | SET(BESIDE))},
	{"mseal-tagged", need_tags, seal_tagged, 0, 0, SEALS, ON(R_TYPICAL, WELL | SET(HOLE_MIDDLE))},
};

const struct family family_arguments = {"arguments", operations, COUNT(operations)};
