/* SPDX-License-Identifier: MIT */
/* userfaultfd(2): who handles the faults of a range decides what its missing pages hold. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE _IOWR(UFFDIO, 5, struct uffdio_move) /* 6.8: adef440691ba */
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#endif
#ifndef UFFDIO_CONTINUE
#define UFFDIO_CONTINUE _IOWR(UFFDIO, 7, struct uffdio_continue) /* 5.13: f619147104c8 */
struct uffdio_continue {
	struct uffdio_range range;
	__u64 mode;
	__s64 mapped;
};
#endif
#ifndef UFFDIO_POISON
#define UFFDIO_POISON _IOWR(UFFDIO, 8, struct uffdio_poison) /* 6.6: fc71884a5f59 */
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#endif
enum { MINOR_FEATURE = 1 << 10, POISON_FEATURE = 1 << 14, MOVE_FEATURE = 1 << 16, MINOR = 4 /* a mode */ };

static void open_uffd(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = open_userfaultfd(w, 0);
}

/* a: mode; before sealing */
static void register_first(struct window *w, const struct operation *op)
{
	open_uffd(w, op);
	if (register_range(w->other, w->base, (size_t)w->units * w->unit, op->a))
		fail_step(w, "UFFDIO_REGISTER", errno);
}

static void map_source(struct window *w)
{
	long at = sys(SYS_mmap, w->destination, w->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == -1)
		fail_step(w, "mmap of a source", errno);
	w->source = (char *)at;
	memset(w->source, 0xc0, w->length);
}

/* Registered, with something to be copied to where nothing is yet. */
static void bring_source(struct window *w, const struct operation *op)
{
	register_first(w, op);
	map_source(w);
}

/* An empty place for the window's pages to be moved to; it is the one that has to be registered. */
static void bring_target(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mmap, w->destination, w->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == -1)
		fail_step(w, "mmap of a destination", errno);
	w->other = open_userfaultfd(w, MOVE_FEATURE);
	if (register_range(w->other, (void *)at, w->length, op->a))
		fail_step(w, "UFFDIO_REGISTER", errno);
}

/* The same, by a descriptor that may move. */
static void bring_what_moves(struct window *w, const struct operation *op)
{
	map_source(w);
	w->other = open_userfaultfd(w, MOVE_FEATURE);
	if (register_range(w->other, w->base, (size_t)w->units * w->unit, op->a))
		fail_step(w, "UFFDIO_REGISTER", errno);
}

static void register_to_poison(struct window *w, const struct operation *op)
{
	w->other = open_userfaultfd(w, POISON_FEATURE);
	if (register_range(w->other, w->base, (size_t)w->units * w->unit, op->a))
		fail_step(w, "UFFDIO_REGISTER", errno);
}

/* The object has the pages, the mapping has lost them, and faults until it is told to go on. */
static void register_minor(struct window *w, const struct operation *op)
{
	w->other = open_userfaultfd(w, MINOR_FEATURE);
	if (sys(SYS_madvise, w->base, (size_t)w->units * w->unit, ADV_DONTNEED))
		fail_step(w, "madvise", errno);
	if (register_range(w->other, w->base, (size_t)w->units * w->unit, op->a))
		fail_step(w, "UFFDIO_REGISTER", errno);
}

/* a: mode */
static long register_here(struct window *w, const struct operation *op)
{
	return register_range(w->other, w->start, w->length, op->a);
}

static long unregister(struct window *w, const struct operation *op)
{
	struct uffdio_range range = {(uintptr_t)w->start, w->length};

	(void)op;
	return ioctl(w->other, UFFDIO_UNREGISTER, &range);
}

static long set_write_protection(struct window *w, unsigned long mode)
{
	struct uffdio_writeprotect wanted = {.range = {(uintptr_t)w->start, w->length}, .mode = mode};

	return ioctl(w->other, UFFDIO_WRITEPROTECT, &wanted);
}

static long write_protect(struct window *w, const struct operation *op)
{
	(void)op;
	return set_write_protection(w, UFFDIO_WRITEPROTECT_MODE_WP);
}

static long write_unprotect(struct window *w, const struct operation *op)
{
	(void)op;
	return set_write_protection(w, 0);
}

static void write_protect_first(struct window *w, const struct operation *op)
{
	register_first(w, op);
	if (write_protect(w, op))
		fail_step(w, "UFFDIO_WRITEPROTECT", errno);
}

static long poison(struct window *w, const struct operation *op)
{
	struct uffdio_poison poison = {.range = {(uintptr_t)w->start, w->length}};

	(void)op;
	return ioctl(w->other, UFFDIO_POISON, &poison);
}

static long go_on(struct window *w, const struct operation *op)
{
	struct uffdio_continue go = {.range = {(uintptr_t)w->start, w->length}};

	(void)op;
	return ioctl(w->other, UFFDIO_CONTINUE, &go);
}

static long move_in(struct window *w, const struct operation *op)
{
	struct uffdio_move move = {(uintptr_t)w->start, (uintptr_t)w->source, w->length, 0, 0};

	(void)op;
	return ioctl(w->other, UFFDIO_MOVE, &move);
}

static long copy_into(struct window *w, const struct operation *op)
{
	struct uffdio_copy copy = {(uintptr_t)w->start, (uintptr_t)w->source, w->length, 0, 0};

	(void)op;
	return ioctl(w->other, UFFDIO_COPY, &copy);
}

static long zero_into(struct window *w, const struct operation *op)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)w->start, w->length}};

	(void)op;
	return ioctl(w->other, UFFDIO_ZEROPAGE, &zero);
}

static long move_out(struct window *w, const struct operation *op)
{
	struct uffdio_move move = {(uintptr_t)w->destination, (uintptr_t)w->start, w->length, 0, 0};

	(void)op;
	return ioctl(w->other, UFFDIO_MOVE, &move);
}

#define MISSING UFFDIO_REGISTER_MODE_MISSING
#define WP UFFDIO_REGISTER_MODE_WP
#define R_PAIR (SET(ANON_RW) | SET(ANON_R))
#define S_THREE (SET(EXACT) | SET(MIDDLE) | SET(INTO))

static const struct operation operations[] = {
	{.name = "uffd-register-missing", .prepare = open_uffd, .perform = register_here, .a = MISSING,
	 .covers = {{R_PAIR | SET(SHARED_ANON_RW) | SET(MEMFD_SHARED_RW), S_THREE}}},
	{.name = "uffd-register-wp", .prepare = open_uffd, .perform = register_here, .a = WP,
	 .covers = {{R_PAIR | SET(SHARED_ANON_RW), S_THREE}}},
	{.name = "uffd-unregister", .prepare = register_first, .perform = unregister, .a = MISSING,
	 .covers = {{R_PAIR | SET(SHARED_ANON_RW), S_THREE}}},
	{.name = "uffd-writeprotect", .prepare = register_first, .perform = write_protect, .a = WP,
	 .covers = {{R_PAIR | SET(SHARED_ANON_RW), S_THREE}}},
	{.name = "uffd-copy", .prepare = bring_source, .perform = copy_into, .a = MISSING,
	 .covers = {{SET(UNTOUCHED_RW) | SET(UNTOUCHED_R) | SET(UNTOUCHED_NONE), SET(EXACT)}}},
	{.name = "uffd-zeropage", .prepare = register_first, .perform = zero_into, .a = MISSING,
	 .covers = {{SET(UNTOUCHED_RW) | SET(UNTOUCHED_R) | SET(UNTOUCHED_NONE), SET(EXACT)}}},
	{.name = "uffd-write-unprotect", .prepare = write_protect_first, .perform = write_unprotect, .a = WP,
	 .covers = {{R_PAIR | SET(SHARED_ANON_RW), SET(EXACT) | SET(MIDDLE)}}},
	{.name = "uffd-poison", .prepare = register_to_poison, .perform = poison, .a = MISSING,
	 .covers = {{SET(UNTOUCHED_RW) | SET(UNTOUCHED_R), SET(EXACT)}}},
	{.name = "uffd-continue", .prepare = register_minor, .perform = go_on, .a = MINOR,
	 .covers = {{SET(MEMFD_SHARED_RW) | SET(SHARED_ANON_RW) | SET(SHARED_ANON_R), SET(EXACT) | SET(MIDDLE)}}},
	{.name = "uffd-move-into", .prepare = bring_what_moves, .perform = move_in, .a = MISSING,
	 .covers = {{SET(UNTOUCHED_RW) | SET(UNTOUCHED_R), SET(EXACT)}}},
	{.name = "uffd-move", .prepare = bring_target, .perform = move_out, .a = MISSING,
	 .covers = {{R_PAIR, SET(EXACT) | SET(INTO)}}},
};

const struct family family_userfaultfd = {.name = "userfaultfd", .operations = operations, .count = COUNT(operations)};
