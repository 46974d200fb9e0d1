/* SPDX-License-Identifier: MIT */
/* What changes the state of pages and not what they hold: locks, syncing, placement, names, reclaim. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* 5.17: 9a10064f5625 */
#endif

/* include/uapi/linux/mempolicy.h */
enum { POLICY_PREFERRED = 1, POLICY_BIND = 2, MOVE_PAGES = 2, NODES = 64 };

/* ------------------------------------------------------------------ locking */

static void lock_first(struct window *w, const struct operation *op)
{
	(void)op;
	if (sys(SYS_mlock, w->base, (size_t)w->units * w->unit))
		fail_step(w, "mlock", errno);
}

static long lock(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_mlock, w->start, w->length);
}

static long lock_on_fault(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_mlock2, w->start, w->length, 1 /* MLOCK_ONFAULT */);
}

static long unlock(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munlock, w->start, w->length);
}

/* a: flags */
static long lock_all(struct window *w, const struct operation *op)
{
	(void)w;
	return sys(SYS_mlockall, op->a);
}

static long unlock_all(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	return sys(SYS_munlockall);
}

/* ------------------------------------------------------------------ asking and syncing */

/* a: flags */
static long sync_range(struct window *w, const struct operation *op)
{
	return sys(SYS_msync, w->start, w->length, op->a);
}

static long ask_residency(struct window *w, const struct operation *op)
{
	static unsigned char seen[65536]; /* one a page, of huge pages too */

	(void)op;
	return sys(SYS_mincore, w->start, w->length, seen);
}

/* a: what to clear, a digit */
static long clear_refs(struct window *w, const struct operation *op)
{
	int fd = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	char what = (char)op->a;

	(void)w;
	return fd < 0 ? -1 : (sys(SYS_write, fd, &what, 1) == 1 ? 0 : -1);
}

static long name_range(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_prctl, PR_SET_VMA, 0, w->start, w->length, "sealmatrix");
}

/* ------------------------------------------------------------------ placement */

static void need_second_node(struct window *w, const struct operation *op)
{
	(void)op;
	if (sys(SYS_faccessat, AT_FDCWD, "/sys/devices/system/node/node1", 0))
		fail_step(w, "a second NUMA node", EOPNOTSUPP);
}

static long bind(struct window *w, char *start, size_t length, int policy, int node)
{
	unsigned long nodes = 1ul << node;

	(void)w;
	return sys(SYS_mbind, start, length, policy, &nodes, NODES, MOVE_PAGES);
}

/* a: policy, b: node */
static long bind_range(struct window *w, const struct operation *op)
{
	return bind(w, w->start, w->length, (int)op->a, (int)op->b);
}

/* A home node means something to a policy that binds. */
static void bind_first(struct window *w, const struct operation *op)
{
	(void)op;
	if (bind(w, w->base, (size_t)w->units * w->unit, POLICY_BIND, 0))
		fail_step(w, "mbind", errno);
}

static long set_home_node(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_set_mempolicy_home_node, w->start, w->length, 0, 0);
}

/* b: node. A page that cannot be moved makes it fail, unless somebody else was just using it. */
static long move_pages(struct window *w, const struct operation *op)
{
	void *pages[UNITS_MAX];
	int nodes[UNITS_MAX], status[UNITS_MAX] = {0};
	size_t count = w->length / w->unit;
	long left;

	for (size_t i = 0; i < count; i++) {
		pages[i] = w->start + i * w->unit;
		nodes[i] = (int)op->b;
	}
	left = sys(SYS_move_pages, 0, count, pages, nodes, status, MOVE_PAGES);
	for (size_t i = 0; left != -1 && i < count; i++) {
		if (status[i] < 0 && status[i] != -EBUSY) {
			errno = -status[i];
			return -1;
		}
	}
	return left;
}

/* ------------------------------------------------------------------ reclaim */

static void need_swap(struct window *w, const struct operation *op)
{
	(void)op;
	if (!number_in("/proc/meminfo", "SwapTotal:"))
		fail_step(w, "swap", EOPNOTSUPP);
}

/* Out, and by reading in again; the snapshot that follows compares what came back. */
static long swap_out(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_madvise, w->start, w->length, ADV_PAGEOUT);
}

static long swap_out_and_in(struct window *w, const struct operation *op)
{
	if (swap_out(w, op))
		return -1;
	return sys(SYS_madvise, w->start, w->length, ADV_POPULATE_READ);
}

static long collapse(struct window *w, const struct operation *op)
{
	(void)op;
	return collapse_range(w->start, w->length);
}

#define R_HERE (SET(ANON_RW) | SET(ANON_R) | SET(ANON_NONE) | SET(SHARED_ANON_RW) | SET(COPIED_R) | SET(FILE_SHARED_RW))
#define R_PAIR (SET(ANON_RW) | SET(ANON_R))
#define S_THREE (SET(EXACT) | SET(MIDDLE) | SET(INTO))
#define WIDELY {{R_HERE | SET(HUGE_PART_R), SET(EXACT)}, {SET(ANON_R), S_THREE}}
#define HUGELY {{R_HERE | SET(HUGE_R) | SET(HUGETLB_PRIVATE_RW), SET(EXACT)}, {SET(ANON_R), S_THREE}}
#define NARROWLY {{R_PAIR | SET(SHARED_ANON_RW), SET(EXACT)}, {SET(ANON_R), S_THREE}}

static const struct operation operations[] = {
	{"mlock", NULL, lock, 0, 0, 0, HUGELY},
	{"mlock-onfault", NULL, lock_on_fault, 0, 0, 0, WIDELY},
	{"munlock", lock_first, unlock, 0, 0, 0,
	 {{SET(ANON_RW) | SET(SHARED_ANON_RW) | SET(COPIED_R) | SET(FILE_SHARED_RW) | SET(HUGE_R), SET(EXACT)},
	  {SET(ANON_R), S_THREE}}},
	{"mlockall-current", NULL, lock_all, MCL_CURRENT, 0, 0, NARROWLY},
	{"mlockall-future", NULL, lock_all, MCL_FUTURE, 0, 0, {{SET(ANON_R), SET(EXACT)}}},
	{"munlockall", lock_first, unlock_all, 0, 0, 0, NARROWLY},
	{"msync-async", NULL, sync_range, MS_ASYNC, 0, 0, WIDELY},
	{"msync-sync", NULL, sync_range, MS_SYNC, 0, 0, WIDELY},
	{"msync-invalidate", NULL, sync_range, MS_SYNC | MS_INVALIDATE, 0, 0, WIDELY},
	{"mincore", NULL, ask_residency, 0, 0, 0, WIDELY},
	{"clear-refs-all", NULL, clear_refs, '1', 0, 0, NARROWLY},
	{"clear-refs-anon", NULL, clear_refs, '2', 0, 0, NARROWLY},
	{"clear-refs-mapped", NULL, clear_refs, '3', 0, 0, NARROWLY},
	{"clear-refs-soft-dirty", NULL, clear_refs, '4', 0, 0, NARROWLY},
	{"clear-refs-peak", NULL, clear_refs, '5', 0, 0, {{SET(ANON_R), SET(EXACT)}}},
	{"prctl-name", NULL, name_range, 0, 0, 0, {{R_PAIR | SET(SHARED_ANON_RW), S_THREE}}},
	{"mbind-preferred", NULL, bind_range, POLICY_PREFERRED, 0, 0, WIDELY},
	{"mbind-bind", NULL, bind_range, POLICY_BIND, 0, 0, WIDELY},
	{"mbind-migrate", need_second_node, bind_range, POLICY_BIND, 1, 0, HUGELY},
	{"set-mempolicy-home-node", bind_first, set_home_node, 0, 0, 0, NARROWLY},
	{"move-pages", NULL, move_pages, 0, 0, 0, NARROWLY},
	{"move-pages-migrate", need_second_node, move_pages, 0, 1, 0, NARROWLY},
	{"swap-out", need_swap, swap_out, 0, 0, POOL, NARROWLY},
	{"swap-out-in", need_swap, swap_out_and_in, 0, 0, POOL, NARROWLY},
	{"collapse", NULL, collapse, 0, 0, 0,
	 /* Up to 6.12 at least, what is to be collapsed must be writable. */
	 {{SET(HUGE_SCATTERED_R) | SET(HUGE_SCATTERED_RW), SET(EXACT)}, {SET(HUGE_SCATTERED_RW), SET(INTO)}}},
};

const struct family family_pages = {"pages", operations, COUNT(operations)};
