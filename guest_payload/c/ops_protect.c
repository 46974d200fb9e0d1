/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* a: prot */
static long protect(struct window *w, const struct operation *op)
{
	return sys(SYS_mprotect, w->start, w->length, op->a);
}

/* Of a program of old, to which all it may read it may also execute. a: prot */
static long protect_implying(struct window *w, const struct operation *op)
{
	personality(READ_IMPLIES_EXEC);
	return protect(w, op);
}

static long protect_same(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_mprotect, w->start, w->length, w->region->prot);
}

static long protect_short(struct window *w, const struct operation *op)
{
	return sys(SYS_mprotect, w->start, short_length(w), op->a);
}

static long protect_tagged(struct window *w, const struct operation *op)
{
	return sys(SYS_mprotect, tagged(w->start), w->length, op->a);
}

/* a: prot, b: the key; any, none or the one that prepare() allocated */
static long protect_with_key(struct window *w, const struct operation *op)
{
	return sys(SYS_pkey_mprotect, w->start, w->length, op->a, op->b);
}

static void allocate_key(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)sys(SYS_pkey_alloc, 0, 0);
	if (w->other < 0) /* a processor without them: EINVAL, then ENOSPC, which must not look like a want of memory */
		fail_step(w, "protection keys", errno == ENOSPC || errno == EINVAL ? EOPNOTSUPP : errno);
	keep_key_rights(w->other); /* a fault before the call must not take them away again */
}

static long protect_with_new_key(struct window *w, const struct operation *op)
{
	return sys(SYS_pkey_mprotect, w->start, w->length, op->a, w->other);
}

#define EVERYWHERE \
	{SET(ANON_RW), S_ALL | S_GAPS}, {R_TYPICAL, S_KEY}, {R_ALL, SET(EXACT) | SET(INTO)}, \
	{SET(ANON_MIXED), SET(EXACT) | SET(INTO)}
#define EVERYWHERE_SPECIAL \
	{SET(ANON_RW) | SET(ANON_R), S_ALL | S_GAPS}, {R_TYPICAL, S_KEY}, \
	{R_ALL | SET(ANON_MIXED), SET(EXACT) | SET(INTO)}, {R_SPECIAL | R_HUGE, SET(EXACT) | SET(INTO)}, \
	{R_TYPICAL, S_AMONG}, {R_SHAPED | SET(UNTOUCHED_GIGABYTES_R), S_KEY}
#define RX (PROT_READ | PROT_EXEC)
#define SOME (SET(EXACT) | SET(MIDDLE) | SET(INTO) | SET(BESIDE))
#define BY_KEY {R_TYPICAL | SET(ANON_NONE) | R_KEYS, SET(EXACT) | SET(INTO)}, {SET(ANON_R), SET(BESIDE) | SET(MIDDLE)}

static const struct operation operations[] = {
	{.name = "mprotect-none", .perform = protect, .a = PROT_NONE,
	 .covers = {EVERYWHERE_SPECIAL, {R_RINGS & ~SET(AIO_RING_RW), SET(EXACT)}}},
	{.name = "mprotect-r", .perform = protect, .a = PROT_READ, .covers = {EVERYWHERE}},
	{.name = "mprotect-rw", .perform = protect, .a = PROT_READ | PROT_WRITE,
	 .covers = {EVERYWHERE_SPECIAL}},
	{.name = "mprotect-rx", .perform = protect, .a = PROT_READ | PROT_EXEC, .covers = {EVERYWHERE}},
	{.name = "mprotect-rwx", .perform = protect, .a = PROT_READ | PROT_WRITE | PROT_EXEC,
	 .covers = {{R_TYPICAL, S_KEY}, {R_ANON, SET(EXACT)}}},
	{.name = "mprotect-w", .perform = protect, .a = PROT_WRITE, .covers = {{R_ANON, SET(EXACT)}}},
	{.name = "mprotect-x", .perform = protect, .a = PROT_EXEC, .covers = {{R_ANON, SET(EXACT)}}},
	{.name = "mprotect-same", .perform = protect_same,
	 .covers = {{SET(ANON_RW), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO)}}},
	{.name = "mprotect-short", .perform = protect_short, .a = PROT_NONE,
	 .covers = {{R_TYPICAL, SET(EXACT) | SET(MIDDLE) | SET(LAST)}}},
	{.name = "pkey-mprotect-any", .perform = protect_with_key, .a = PROT_READ | PROT_WRITE, .b = ALL_ONES,
	 .covers = {BY_KEY}},
	{.name = "pkey-mprotect-default", .perform = protect_with_key, .a = PROT_NONE, .covers = {BY_KEY}},
	{.name = "pkey-mprotect-new", .needs = NEED(KEYS), .prepare = allocate_key, .perform = protect_with_new_key,
	 .a = PROT_READ, .covers = {BY_KEY}},
	/* From the beginning of the mapping on, where that is a growing stack's. */
	{.name = "mprotect-growsdown", .perform = protect, .a = PROT_READ | PROT_GROWSDOWN,
	 .covers = {{SET(STACK_GROWING_RW), S_INSIDE | SET(AFTER) | SET(BESIDE) | SET(AROUND)}}},
	{.name = "mprotect-r-implies-x", .perform = protect_implying, .a = PROT_READ, .traits = LONE,
	 .covers = {{SET(ANON_RW) | SET(ANON_NONE) | SET(SHARED_ANON_RW), SET(EXACT)}, {SET(ANON_RW), SET(INTO)}}},
	{.name = "mprotect-tagged", .perform = protect_tagged, .a = PROT_NONE, .needs = NEED(TAGS),
	 .covers = {{SET(ANON_RW) | SET(MTE_R), SET(EXACT) | SET(INTO)}}},
	{.name = "bti-mprotect", .perform = protect, .a = RX | PROT_WITH_BTI, .needs = NEED(BTI),
	 .covers = {{SET(ANON_RX) | SET(BTI_RX) | SET(CLEAN_R), SOME}}},
	{.name = "bti-mprotect-off", .perform = protect, .a = RX, .needs = NEED(BTI),
	 .covers = {{SET(BTI_RX), SOME}}},
	/* There is no taking it away again. */
	{.name = "mte-mprotect", .perform = protect, .a = PROT_READ | PROT_WRITE | PROT_WITH_MTE, .needs = NEED(MTE),
	 .covers = {{SET(ANON_RW) | SET(ANON_R) | SET(MTE_R) | SET(MEMFD_SHARED_RW), SOME}}},
};

const struct family family_mprotect = {.name = "mprotect", .operations = operations, .count = COUNT(operations)};
