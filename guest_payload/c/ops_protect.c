/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* a: prot */
static long protect(struct window *w, const struct operation *op)
{
	return sys(SYS_mprotect, w->start, w->length, op->a);
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
	return sys(SYS_mprotect, tagged(w, w->start), w->length, op->a);
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
	if (w->other < 0) /* ENOSPC is what a processor without them answers; it must not look like a want of memory */
		fail_step(w, "protection keys", errno == ENOSPC ? EOPNOTSUPP : errno);
	keep_key_rights(); /* a fault before the call must not take them away again */
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
	{R_ALL | SET(ANON_MIXED), SET(EXACT) | SET(INTO)}, {R_SPECIAL | R_HUGE, SET(EXACT) | SET(INTO)}
#define BY_KEY {R_TYPICAL | SET(ANON_NONE) | R_KEYS, SET(EXACT) | SET(INTO)}, {SET(ANON_R), SET(BESIDE) | SET(MIDDLE)}

static const struct operation operations[] = {
	{"mprotect-none", NULL, protect, PROT_NONE, 0, 0, {EVERYWHERE_SPECIAL}},
	{"mprotect-r", NULL, protect, PROT_READ, 0, 0, {EVERYWHERE}},
	{"mprotect-rw", NULL, protect, PROT_READ | PROT_WRITE, 0, 0, {EVERYWHERE_SPECIAL}},
	{"mprotect-rx", NULL, protect, PROT_READ | PROT_EXEC, 0, 0, {EVERYWHERE}},
	{"mprotect-rwx", NULL, protect, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, {{R_TYPICAL, S_KEY}, {R_ANON, SET(EXACT)}}},
	{"mprotect-w", NULL, protect, PROT_WRITE, 0, 0, {{R_ANON, SET(EXACT)}}},
	{"mprotect-x", NULL, protect, PROT_EXEC, 0, 0, {{R_ANON, SET(EXACT)}}},
	{"mprotect-same", NULL, protect_same, 0, 0, 0, {{SET(ANON_RW), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO)}}},
	{"mprotect-short", NULL, protect_short, PROT_NONE, 0, 0, {{R_TYPICAL, SET(EXACT) | SET(MIDDLE) | SET(LAST)}}},
	{"pkey-mprotect-any", NULL, protect_with_key, PROT_READ | PROT_WRITE, ALL_ONES, 0, {BY_KEY}},
	{"pkey-mprotect-default", NULL, protect_with_key, PROT_NONE, 0, 0, {BY_KEY}},
	{"pkey-mprotect-new", allocate_key, protect_with_new_key, PROT_READ, 0, 0, {BY_KEY}},
	{"mprotect-tagged", need_tags, protect_tagged, PROT_NONE, 0, 0, {{SET(ANON_RW), SET(EXACT) | SET(INTO)}}},
};

const struct family family_mprotect = {"mprotect", operations, COUNT(operations)};
