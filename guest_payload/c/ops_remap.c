/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

enum { SOURCE_FILL = 0xc0 };

/* How the new length differs from the old, in units. */
enum change { SHRINK = -1, KEEP = 0, GROW = 1 };

/* a: flags, b: enum change; the destination counts only with MREMAP_FIXED */
static long remap(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->start, w->length, w->length + op->b * w->unit, op->a, DESTINATION);
}

/* An old length of 0 asks for a second mapping of shared memory. */
static long remap_double(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->start, 0, w->length, op->a, DESTINATION);
}

/* Something to be moved onto the range: as long as it, and of other contents. */
static void map_source(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mmap, DESTINATION, w->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)op;
	if (at == -1)
		fail_step(w, "mmap of a source", errno);
	w->source = (char *)at;
	memset(w->source, SOURCE_FILL, w->length);
}

/* a: flags, b: enum change */
static long remap_onto(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->source, w->length - (op->b == GROW) * w->unit, w->length, op->a, w->start);
}

static long remap_tagged(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, tagged(w, w->start), w->length, w->length + op->b * w->unit, op->a, DESTINATION);
}

#define MAY MREMAP_MAYMOVE
#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)
#define SHORTER ((unsigned long)SHRINK)

#define EVERYWHERE {SET(ANON_RW), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO) | SET(OUT_OF)}, \
	{SET(ANON_MIXED), SET(EXACT) | SET(INTO)}, {R_TYPICAL, SET(GAP_AMID)}
#define TYPICALLY {SET(ANON_RW), S_ALL}, {R_TYPICAL, SET(EXACT) | SET(INTO) | SET(OUT_OF)}

static const struct operation operations[] = {
	/* Not into a growing stack: what moves away leaves a hole that the stack fills when a snapshot touches it. */
	{"mremap-move", NULL, remap, MOVE, KEEP, ADDRESS,
	 {{SET(ANON_RW) | SET(ANON_R), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO) | SET(OUT_OF)},
	  {SET(ANON_MIXED) | (R_SPECIAL & ~SET(STACK_GROWING_RW)) | R_HUGE | SET(HUGE_R), SET(EXACT) | SET(INTO)},
	  {R_TYPICAL, SET(GAP_AMID)}}},
	{"mremap-move-shrink", NULL, remap, MOVE, SHORTER, ADDRESS, {{R_TYPICAL, S_TWO}}},
	{"mremap-move-grow", NULL, remap, MOVE, GROW, ADDRESS, {TYPICALLY}},
	{"mremap-shrink", NULL, remap, 0, SHORTER, ADDRESS,
	 {{SET(ANON_RW), S_TWO}, {R_ALL, SET(EXACT) | SET(INTO)}, {R_SPECIAL | R_HUGE, SET(EXACT)}}},
	{"mremap-expand", NULL, remap, 0, GROW, ADDRESS,
	 {{R_ALL, SET(EXACT)}, {R_TYPICAL, SET(TAIL) | SET(LAST)}, {SET(ANON_RW), S_ALL}}},
	{"mremap-expand-move", NULL, remap, MAY, GROW, ADDRESS,
	 {{R_ALL | R_SPECIAL, SET(EXACT)}, {SET(ANON_RW), S_ALL}}},
	{"mremap-same", NULL, remap, 0, KEEP, ADDRESS, {{R_ALL, SET(EXACT)}, {R_TYPICAL, S_KEY}, {SET(ANON_RW), S_ALL}}},
	{"mremap-dontunmap", NULL, remap, MAY | MREMAP_DONTUNMAP, KEEP, ADDRESS, {EVERYWHERE}},
	{"mremap-dontunmap-fixed", NULL, remap, MOVE | MREMAP_DONTUNMAP, KEEP, ADDRESS, {TYPICALLY}},
	{"mremap-double", NULL, remap_double, MAY, 0, ADDRESS, {{R_ALL, SET(EXACT) | SET(HEAD)}}},
	{"mremap-double-fixed", NULL, remap_double, MOVE, 0, ADDRESS, {{R_ALL, SET(EXACT)}}},
	{"mremap-onto", map_source, remap_onto, MOVE, KEEP, ADDRESS,
	 {{SET(ANON_RW), S_ALL | S_GAPS}, {R_ALL, SET(EXACT) | SET(INTO)}, {SET(ANON_MIXED) | R_SPECIAL, SET(EXACT)}}},
	{"mremap-onto-grow", map_source, remap_onto, MOVE, GROW, ADDRESS,
	 {{R_TYPICAL, SET(EXACT) | SET(INTO) | SET(LAST)}}},
	{"mremap-onto-dontunmap", map_source, remap_onto, MOVE | MREMAP_DONTUNMAP, KEEP, ADDRESS, {{R_TYPICAL, S_KEY}}},
	{"mremap-tagged-shrink", need_tags, remap_tagged, 0, SHORTER, ADDRESS, {{SET(ANON_RW), SET(EXACT)}}},
};

const struct family family_mremap = {"mremap", operations, COUNT(operations)};
