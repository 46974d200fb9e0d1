/* SPDX-License-Identifier: MIT */
/* Memory that grows and shrinks by itself: the heap, and a stack. */
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* brk(2) answers with the break and knows no errno; a C library says ENOMEM when the break is not where it should be. */
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
	if (try_write(w->base - w->unit))
		return 0;
	errno = EFAULT;
	return -1;
}

/* Whether that page can be unmapped tells whether it is as sealed as the stack it grew from. */
static long grow_stack_and_unmap(struct window *w, const struct operation *op)
{
	if (grow_stack(w, op))
		return -1;
	return sys(SYS_munmap, w->base - w->unit, w->unit);
}

#define UP_TO_THE_END (SET(EXACT) | SET(TAIL) | SET(LAST) | SET(AROUND) | SET(ACROSS) | SET(FIRST) | SET(AFTER))
#define ON(regions, spans) .covers = {{regions, spans}}

static const struct operation operations[] = {
	{"brk-shrink", NULL, shrink_heap, 0, 0, 0, ON(SET(HEAP_RW), UP_TO_THE_END | SET(INTO) | SET(MIDDLE))},
	{"brk-shrink-short", NULL, shrink_heap_short, 0, 0, 0, ON(SET(HEAP_RW), SET(EXACT) | SET(LAST) | SET(TAIL))},
	{"brk-grow", NULL, grow_heap, 0, 0, 0, ON(SET(HEAP_RW), SET(EXACT) | SET(AFTER))},
	{"brk-grow-shrink", NULL, grow_and_shrink_heap, 0, 0, 0, ON(SET(HEAP_RW), SET(EXACT) | SET(AFTER))},
	{"stack-grow", NULL, grow_stack, 0, 0, 0, ON(SET(STACK_GROWING_RW), SET(EXACT) | SET(HEAD) | SET(BEFORE))},
	{"stack-grow-munmap", NULL, grow_stack_and_unmap, 0, 0, 0,
	 ON(SET(STACK_GROWING_RW), SET(EXACT) | SET(HEAD) | SET(BEFORE))},
};

const struct family family_heap = {"heap", operations, COUNT(operations)};
