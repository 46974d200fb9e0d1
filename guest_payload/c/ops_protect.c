/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
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

#define EVERYWHERE \
	{SET(ANON_RW), S_ALL | S_GAPS}, {R_TYPICAL, S_KEY}, {R_ALL, SET(EXACT) | SET(INTO)}, \
	{SET(ANON_MIXED), SET(EXACT) | SET(INTO)}

static const struct operation operations[] = {
	{"mprotect-none", NULL, protect, PROT_NONE, 0, 0, {EVERYWHERE}},
	{"mprotect-r", NULL, protect, PROT_READ, 0, 0, {EVERYWHERE}},
	{"mprotect-rw", NULL, protect, PROT_READ | PROT_WRITE, 0, 0, {EVERYWHERE}},
	{"mprotect-rx", NULL, protect, PROT_READ | PROT_EXEC, 0, 0, {EVERYWHERE}},
	{"mprotect-rwx", NULL, protect, PROT_READ | PROT_WRITE | PROT_EXEC, 0, 0, {{R_TYPICAL, S_KEY}}},
	{"mprotect-same", NULL, protect_same, 0, 0, 0, {{SET(ANON_RW), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO)}}},
	{"mprotect-short", NULL, protect_short, PROT_NONE, 0, 0, {{R_TYPICAL, SET(EXACT) | SET(MIDDLE) | SET(LAST)}}},
	{"mprotect-tagged", need_tags, protect_tagged, PROT_NONE, 0, 0, {{SET(ANON_RW), SET(EXACT) | SET(INTO)}}},
};

const struct family family_mprotect = {"mprotect", operations, COUNT(operations)};
