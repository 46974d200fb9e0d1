/* SPDX-License-Identifier: MIT */
/*
 * What a window looks like: mappings by PROCMAP_QUERY (6.11: ed5d583a88a9), which asks for one mapping at a time,
 * or where there is none by /proc/self/maps; contents by touching the first word of a unit's first, middle and
 * last page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "explore.h"
#include "listing.h"
#include "sys.h"

struct procmap_query {
	uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};

#define PROCMAP_QUERY _IOWR('f', 17, struct procmap_query)

enum { QUERY_R = 1, QUERY_W = 2, QUERY_X = 4, QUERY_SHARED = 8, QUERY_NEXT = 16 };

/* ------------------------------------------------------------------ touching */

static sigjmp_buf jump;
static volatile sig_atomic_t armed;

static void on_fault(int number)
{
	if (armed) {
		armed = 0;
		siglongjmp(jump, number == SIGBUS ? X_BUS : X_SEGV);
	}
	signal(number, SIG_DFL); /* not a touch of ours: die of it when it comes again */
}

void x_guard(void)
{
	static char stack[16384];
	stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER | SA_ONSTACK};

	sigaltstack(&other, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

uint8_t x_read(const char *at)
{
	int fault = sigsetjmp(jump, 0);
	uint64_t word;

	if (fault) {
		x_after_fault();
		return (uint8_t)fault;
	}
	armed = 1;
	word = *(const volatile uint64_t *)at;
	armed = 0;
	return word == (word & 0xff) * 0x0101010101010101ull ? (uint8_t)word : X_MIX;
}

bool x_write(char *at, uint8_t value)
{
	if (sigsetjmp(jump, 0)) {
		x_after_fault();
		return false;
	}
	armed = 1;
	*(volatile uint64_t *)at = value * 0x0101010101010101ull;
	armed = 0;
	return true;
}

static uint8_t contents(const struct x_window *w, int i)
{
	uint8_t first = x_read(x_unit(w, i));

	for (int which = 1; which < x_looked_at(w); which++)
		if (x_read(x_unit(w, i) + x_look_offset(w, which)) != first)
			return X_MIX;
	return first;
}

/* ------------------------------------------------------------------ mappings */

struct view {
	const struct x_window *w;
	uint8_t *division, *seen;
	uintptr_t base, end;
	size_t covered[X_UNITS];
};

/*
 * Bit i of `division` says that a mapping begins inside unit i. A unit of many pages that is not mapped whole, or not
 * everywhere alike, is ragged; how it is divided otherwise is no part of what is seen.
 */
static void note(struct view *v, uintptr_t start, uintptr_t end, uint8_t flags)
{
	uintptr_t at = start < v->base ? v->base : start, to = end > v->end ? v->end : end;
	size_t unit = v->w->unit;

	if (start >= v->base && start < v->end)
		v->division[(start - v->base) / unit / 8] |= (uint8_t)(1 << (start - v->base) / unit % 8);
	while (at < to) {
		size_t i = (at - v->base) / unit;
		uintptr_t next = v->base + (i + 1) * unit;

		if (v->seen[i] && (v->seen[i] & ~X_RAGGED) != flags)
			v->seen[i] |= X_RAGGED;
		else
			v->seen[i] |= flags;
		v->covered[i] += (next < to ? next : to) - at;
		at = next;
	}
}

static bool query(struct view *v)
{
	struct procmap_query q = {.size = sizeof(q)};
	uintptr_t at = v->base;

	while (at < v->end) {
		q.query_flags = QUERY_NEXT;
		q.query_addr = at;
		q.vma_name_size = q.build_id_size = 0;
		if (sys(SYS_ioctl, v->w->maps, PROCMAP_QUERY, &q))
			return errno == ENOENT;
		if (q.vma_start >= v->end)
			return true;
		note(v, q.vma_start, q.vma_end,
		     (uint8_t)(X_MAPPED | (q.vma_flags & QUERY_R ? X_R : 0) | (q.vma_flags & QUERY_W ? X_W : 0) |
			       (q.vma_flags & QUERY_X ? X_X : 0) | (q.vma_flags & QUERY_SHARED ? X_SHARED : 0) |
			       (q.inode || q.dev_major || q.dev_minor ? X_FILE : 0)));
		at = q.vma_end;
	}
	return true;
}

static void list(struct view *v)
{
	static struct listing listing;
	struct mapping m = {0};

	open_listing(&listing, false);
	while (next_listed(&listing, &m) == LISTED_MAPPING && (uintptr_t)m.start < v->end)
		if ((uintptr_t)m.end > v->base)
			note(v, (uintptr_t)m.start, (uintptr_t)m.end,
			     (uint8_t)(X_MAPPED | (m.perms[0] == 'r' ? X_R : 0) | (m.perms[1] == 'w' ? X_W : 0) |
				       (m.perms[2] == 'x' ? X_X : 0) | (m.perms[3] == 's' ? X_SHARED : 0) |
				       (m.path[0] == '/' ? X_FILE : 0)));
	close_listing(&listing);
}

int x_open_maps(void)
{
	return (int)sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

size_t x_look_size(const struct x_window *w)
{
	return 2 + 2 * (size_t)w->units;
}

void x_look(const struct x_window *w, uint8_t *into)
{
	struct view v = {w, into, into + 2, (uintptr_t)w->base, (uintptr_t)w->base + (size_t)w->units * w->unit, {0}};
	uint8_t *found = v.seen + w->units;

	memset(into, 0, x_look_size(w));
	if (!query(&v)) {
		memset(into, 0, x_look_size(w));
		memset(v.covered, 0, sizeof(v.covered));
		list(&v);
	}
	for (int i = 0; i < w->units; i++)
		if (v.covered[i] && v.covered[i] < w->unit)
			v.seen[i] |= X_RAGGED;
	if (w->rights)
		x_set_rights(0); /* looking is not the program's doing */
	for (int i = 0; i < w->units; i++)
		found[i] = v.seen[i] & X_R && !w->quiet ? contents(w, i) : X_UNREAD;
	if (w->rights)
		x_set_rights(w->rights);
}
