/* SPDX-License-Identifier: MIT */
/*
 * Plain memory of which something more was said before it was sealed, or of another size, or at another place. No
 * promise of sealing knows any of these: what holds for the plain region has to hold for them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "regions.h"
#include "sys.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* 5.17: 9a10064f5625 */
#endif

enum { POLICY_PREFERRED = 1, NODES = 64 }; /* include/uapi/linux/mempolicy.h */

static size_t window_length(const struct window *w)
{
	return (size_t)w->units * w->unit;
}

/* ------------------------------------------------------------------ what was said of it */

static long advise(const struct window *w, int advice)
{
	return sys(SYS_madvise, w->base, window_length(w), advice);
}

static void make_advised(struct window *w, int advice, const char *step)
{
	make_window(w);
	if (advise(w, advice))
		fail_step(w, step, errno);
}

static long prefer_node_0(const struct window *w)
{
	unsigned long nodes = 1;

	return sys(SYS_mbind, w->base, window_length(w), POLICY_PREFERRED, &nodes, NODES, 0);
}

static long give_name(const struct window *w)
{
	return sys(SYS_prctl, PR_SET_VMA, 0, w->base, window_length(w), "sealmatrix");
}

/* All at once, as far as the kernel knows it. Locks are left out: some advice is not for locked memory. */
void make_laden(struct window *w)
{
	static const int advices[] = {ADV_MERGEABLE, ADV_DONTDUMP, ADV_RANDOM, ADV_HUGEPAGE};

	make_window(w);
	prefer_node_0(w);
	give_name(w);
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++)
		advise(w, advices[i]);
}

void make_policy(struct window *w)
{
	make_window(w);
	if (prefer_node_0(w))
		fail_step(w, "mbind", errno);
}

void make_named(struct window *w)
{
	make_window(w);
	if (give_name(w))
		fail_step(w, "name", errno);
}

void make_mergeable(struct window *w)
{
	make_advised(w, ADV_MERGEABLE, "mergeable");
}

void make_locked_on_fault(struct window *w)
{
	make_window(w);
	if (sys(SYS_mlock2, w->base, window_length(w), 1 /* MLOCK_ONFAULT */))
		fail_step(w, "mlock", errno);
}

void make_wiped(struct window *w)
{
	make_advised(w, ADV_WIPEONFORK, "wipe_on_fork");
}

void make_not_copied(struct window *w)
{
	make_advised(w, ADV_DONTFORK, "not_copied");
}

/* There from before the seal; to read it faults. */
void make_guarded(struct window *w)
{
	make_advised(w, ADV_GUARD_INSTALL, "guard_install");
}

/* ------------------------------------------------------------------ other sizes */

enum { WIDE = 12, PIECES = 12 }; /* pages of a unit; a few units fit into a slot */
#define VAST (16ul << 20)
#define GIGABYTE (1ul << 30)

void make_wide(struct window *w)
{
	w->unit *= WIDE;
	make_window(w);
}

/* Every other page is left out of core dumps, so that each is a mapping of its own. */
void make_pieces(struct window *w)
{
	size_t page = w->unit;

	w->unit *= PIECES;
	make_window(w);
	for (size_t at = page; at < window_length(w); at += 2 * page)
		if (sys(SYS_madvise, w->base + at, page, ADV_DONTDUMP))
			fail_step(w, "no_dump", errno);
}

/* ------------------------------------------------------------------ other places */

/* Which of the windows that may share its process this is; 0 for one that has it alone. */
static size_t number_of(const struct window *w)
{
	size_t slot = (size_t)(w->base - WINDOW_BASE) / (w->unit * SLOT_UNITS);

	return slot ? slot - FIRST_SLOT + 1 : 0;
}

/* The largest power of two below the stack: far above all else but what the kernel places itself. */
static uintptr_t high_place(void)
{
	uintptr_t here = (uintptr_t)&here;

	return (uintptr_t)1 << (63 - __builtin_clzl(here));
}

/* From the last page before a border of all page tables there are, but the topmost. */
void make_high(struct window *w)
{
	uintptr_t top = high_place();

	w->base = (char *)(top + number_of(w) * (top >> 7) - w->unit);
	make_window(w);
}

/* How far such windows are apart: 16 GiB where addresses have 47 bits. */
static uintptr_t far_apart(void)
{
	uintptr_t apart = high_place() >> 12;

	return apart > GIGABYTE ? apart : GIGABYTE;
}

/* Where they go is half-way to the next; none of it is ever touched. */
static void make_untouched_units(struct window *w, size_t unit)
{
	uintptr_t top = high_place();

	w->base = (char *)(top + top / 2 + number_of(w) * far_apart() - w->unit);
	w->destination = w->base + far_apart() / 2;
	w->unit = unit;
	map_window(w, window_length(w), w->region->prot, w->region->flags);
}

void make_vast(struct window *w)
{
	make_untouched_units(w, VAST);
}

void make_gigabytes(struct window *w)
{
	if (far_apart() < 16 * GIGABYTE)
		fail_step(w, "addresses for gigabytes", EOPNOTSUPP);
	make_untouched_units(w, GIGABYTE);
}

/* From where an ordinary user may map (vm.mmap_min_addr), seven units apart: all of them are below other windows. */
void make_low(struct window *w)
{
	w->base = (char *)(0x10000 + number_of(w) * 7 * w->unit);
	make_window(w);
}
