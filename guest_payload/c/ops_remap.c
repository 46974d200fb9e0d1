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
	return sys(SYS_mremap, w->start, w->length, w->length + op->b * w->unit, op->a, w->destination);
}

/* An old length of 0 asks for a second mapping of shared memory. */
static long remap_double(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->start, 0, w->length, op->a, w->destination);
}

/* Something to be moved onto the range: as long as it, and of other contents. */
static void map_source(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mmap, w->destination, w->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

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
	return sys(SYS_mremap, tagged(w->start), w->length, w->length + op->b * w->unit, op->a, w->destination);
}

/* b: how many units up, also those that the range itself covers */
static long remap_near(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->start, w->length, w->length, op->a, beyond(w->start, (long)(op->b * w->unit)));
}

static long remap_behind(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->start, w->length, w->length, op->a, w->start + w->length);
}

static long remap_before(struct window *w, const struct operation *op)
{
	return sys(SYS_mremap, w->start, w->length, w->length, op->a, beyond(w->start, -(long)w->length));
}

#define R_ROUND (SET(ANON_RW) | SET(ANON_R) | SET(SHARED_ANON_RW) | SET(PIECES_R))
#define MAY MREMAP_MAYMOVE
#define MOVE (MREMAP_MAYMOVE | MREMAP_FIXED)
#define SHORTER ((unsigned long)SHRINK)

#define EVERYWHERE {SET(ANON_RW), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO) | SET(OUT_OF)}, \
	{SET(ANON_MIXED), SET(EXACT) | SET(INTO)}, {R_TYPICAL, SET(GAP_AMID)}
#define TYPICALLY {SET(ANON_RW), S_ALL}, {R_TYPICAL, SET(EXACT) | SET(INTO) | SET(OUT_OF)}

static const struct operation operations[] = {
	/* Not into a growing stack: what moves away leaves a hole that the stack fills when a snapshot touches it. */
	{.name = "mremap-move", .perform = remap, .a = MOVE, .b = KEEP, .traits = ADDRESS,
	 .covers = {{SET(ANON_RW) | SET(ANON_R), S_ALL}, {R_ALL, SET(EXACT) | SET(INTO) | SET(OUT_OF)},
		    {SET(ANON_MIXED) | (R_SPECIAL & ~SET(STACK_GROWING_RW)) | R_HUGE | SET(HUGE_R), SET(EXACT) |
		    	SET(INTO)},
		    {SET(UNTOUCHED_GIGABYTES_R), SET(EXACT) | SET(INTO)},
		    {R_TYPICAL, SET(GAP_AMID) | S_AMONG}}},
	{.name = "mremap-move-shrink", .perform = remap, .a = MOVE, .b = SHORTER, .traits = ADDRESS,
	 .covers = {{R_TYPICAL, S_TWO}}},
	{.name = "mremap-move-grow", .perform = remap, .a = MOVE, .b = GROW, .traits = ADDRESS,
	 .covers = {TYPICALLY}},
	{.name = "mremap-shrink", .perform = remap, .b = SHORTER, .traits = ADDRESS,
	 .covers = {{SET(ANON_RW), S_TWO}, {R_ALL, SET(EXACT) | SET(INTO)},
		    {R_SPECIAL | R_HUGE, SET(EXACT)}}},
	{.name = "mremap-expand", .perform = remap, .b = GROW, .traits = ADDRESS,
	 .covers = {{R_ALL, SET(EXACT)}, {R_TYPICAL, SET(TAIL) | SET(LAST)}, {SET(ANON_RW), S_ALL}}},
	{.name = "mremap-expand-move", .perform = remap, .a = MAY, .b = GROW, .traits = ADDRESS,
	 .covers = {{R_ALL | R_SPECIAL, SET(EXACT)}, {SET(ANON_RW), S_ALL}}},
	{.name = "mremap-same", .perform = remap, .b = KEEP, .traits = ADDRESS,
	 .covers = {{R_ALL, SET(EXACT)}, {R_TYPICAL, S_KEY}, {SET(ANON_RW), S_ALL}}},
	{.name = "mremap-dontunmap", .perform = remap, .a = MAY | MREMAP_DONTUNMAP, .b = KEEP, .traits = ADDRESS,
	 .covers = {EVERYWHERE}},
	{.name = "mremap-dontunmap-fixed", .perform = remap, .a = MOVE | MREMAP_DONTUNMAP, .b = KEEP, .traits = ADDRESS,
	 .covers = {TYPICALLY}},
	{.name = "mremap-double", .perform = remap_double, .a = MAY, .traits = ADDRESS,
	 .covers = {{R_ALL, SET(EXACT) | SET(HEAD)}}},
	{.name = "mremap-double-fixed", .perform = remap_double, .a = MOVE, .traits = ADDRESS,
	 .covers = {{R_ALL, SET(EXACT)}}},
	{.name = "mremap-onto", .prepare = map_source, .perform = remap_onto, .a = MOVE, .b = KEEP, .traits = ADDRESS,
	 .covers = {{SET(ANON_RW), S_ALL | S_GAPS | S_AMONG}, {R_ALL, SET(EXACT) | SET(INTO)},
		    /* what is moved there is filled first: not so much of it */
		    {SET(ANON_MIXED) | (R_SPECIAL & ~SET(UNTOUCHED_VAST_R)), SET(EXACT)}}},
	{.name = "mremap-onto-grow", .prepare = map_source, .perform = remap_onto, .a = MOVE, .b = GROW,
	 .traits = ADDRESS, .covers = {{R_TYPICAL, SET(EXACT) | SET(INTO) | SET(LAST)}}},
	{.name = "mremap-onto-dontunmap", .prepare = map_source, .perform = remap_onto,
	 .a = MOVE | MREMAP_DONTUNMAP, .b = KEEP, .traits = ADDRESS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "mremap-identical", .perform = remap_near, .a = MOVE, .b = 0, .traits = ADDRESS,
	 .covers = {{R_ROUND, SET(EXACT) | SET(MIDDLE) | SET(INTO)}}},
	{.name = "mremap-overlap-up", .perform = remap_near, .a = MOVE, .b = 1, .traits = ADDRESS,
	 .covers = {{R_ROUND, SET(EXACT) | SET(HEAD) | SET(INTO) | SET(AROUND)}}},
	{.name = "mremap-overlap-down", .perform = remap_near, .a = MOVE, .b = (unsigned long)-1, .traits = ADDRESS,
	 .covers = {{R_ROUND, SET(EXACT) | SET(TAIL) | SET(OUT_OF) | SET(AROUND)}}},
	{.name = "mremap-touch-up", .perform = remap_behind, .a = MOVE, .traits = ADDRESS,
	 .covers = {{SET(ANON_RW) | SET(ANON_R) | SET(SHARED_ANON_RW), SET(EXACT) | SET(BEFORE) | SET(BESIDE)}}},
	{.name = "mremap-touch-down", .perform = remap_before, .a = MOVE, .traits = ADDRESS,
	 .covers = {{SET(ANON_RW) | SET(ANON_R) | SET(SHARED_ANON_RW), SET(EXACT) | SET(AFTER) | SET(BESIDE)}}},
	{.name = "mremap-tagged-shrink", .perform = remap_tagged, .b = SHORTER, .traits = ADDRESS, .needs = NEED(TAGS),
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
};

const struct family family_mremap = {.name = "mremap", .operations = operations, .count = COUNT(operations)};
