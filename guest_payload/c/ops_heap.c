/* SPDX-License-Identifier: MIT */
/* Memory that grows and shrinks by itself: the heap, and a stack. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/*
 * brk(2) answers with the break and knows no errno; a C library says ENOMEM when the break is not where it should
 * be.
 */
static long set_break(char *to)
{
	if ((char *)sys(SYS_brk, to) == to)
		return 0;
	errno = ENOMEM;
	return -1;
}

/* Everything from the start of the range on is to go. */
static long shrink_heap(struct window *w, const struct operation *op)
{
	(void)op;
	return set_break(w->start);
}

/* Only a part of the range's first page would stay. */
static long shrink_heap_short(struct window *w, const struct operation *op)
{
	(void)op;
	return set_break(w->start + 1);
}

static long grow_heap(struct window *w, const struct operation *op)
{
	(void)op;
	return set_break(unit_at(w, w->units + 1));
}

/* What grows beside a sealed page is not sealed, and can go again. */
static long grow_and_shrink_heap(struct window *w, const struct operation *op)
{
	if (grow_heap(w, op))
		return -1;
	unit_at(w, w->units)[0] = 1;
	return set_break(unit_at(w, w->units));
}

/* Touch the page below the window. */
static long grow_stack(struct window *w, const struct operation *op)
{
	(void)op;
	if (try_write(unit_at(w, -1)))
		return 0;
	errno = EFAULT;
	return -1;
}

/* Whether that page can be unmapped tells whether it is as sealed as the stack it grew from. */
static long grow_stack_and_unmap(struct window *w, const struct operation *op)
{
	if (grow_stack(w, op))
		return -1;
	return sys(SYS_munmap, unit_at(w, -1), w->unit);
}

enum { PR_SET_START_BRK = 6, PR_SET_BRK = 7 }; /* of PR_SET_MM */

/* The window becomes the heap, as a program that restores another (CRIU) may say. */
static void move_heap(struct window *w, const struct operation *op)
{
	(void)op;
	if (sys(SYS_prctl, PR_SET_MM, PR_SET_BRK, unit_at(w, w->units), 0, 0) ||
	    sys(SYS_prctl, PR_SET_MM, PR_SET_START_BRK, w->base, 0, 0))
		fail_step(w, "PR_SET_MM", errno);
}

#define UP_TO_THE_END (SET(EXACT) | SET(TAIL) | SET(LAST) | SET(AROUND) | SET(ACROSS) | SET(FIRST) | SET(AFTER))
#define ON(regions, spans) .covers = {{regions, spans}}

static const struct operation operations[] = {
	{.name = "brk-shrink", .perform = shrink_heap, .traits = LONE,
	 ON(SET(HEAP_RW), UP_TO_THE_END | SET(INTO) | SET(MIDDLE))},
	{.name = "brk-shrink-short", .perform = shrink_heap_short, .traits = LONE,
	 ON(SET(HEAP_RW), SET(EXACT) | SET(LAST) | SET(TAIL))},
	{.name = "brk-moved-shrink", .prepare = move_heap, .perform = shrink_heap, .traits = LONE,
	 ON(SET(HIGH_R), UP_TO_THE_END | SET(INTO))},
	{.name = "brk-grow", .perform = grow_heap, .traits = LONE, ON(SET(HEAP_RW), SET(EXACT) | SET(AFTER))},
	{.name = "brk-grow-shrink", .perform = grow_and_shrink_heap,
	 .traits = LONE, ON(SET(HEAP_RW), SET(EXACT) | SET(AFTER))},
	{.name = "stack-grow", .perform = grow_stack,
	 ON(SET(STACK_GROWING_RW), SET(EXACT) | SET(HEAD) | SET(BEFORE))},
	{.name = "stack-grow-munmap", .perform = grow_stack_and_unmap,
	 ON(SET(STACK_GROWING_RW), SET(EXACT) | SET(HEAD) | SET(BEFORE))},
};

const struct family family_heap = {.name = "heap", .operations = operations, .count = COUNT(operations)};
