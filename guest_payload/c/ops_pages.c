/* SPDX-License-Identifier: MIT */
/* What changes the state of pages and not what they hold: locks, syncing, placement, names, reclaim. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* 5.17: 9a10064f5625 */
#endif

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67 /* 6.4: d7597f59d1d3 */
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

/* ------------------------------------------------------------------ KSM, for all of the process */

static long merge_all(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	return sys(SYS_prctl, PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
}

static long merge_all_and_undo(struct window *w, const struct operation *op)
{
	return merge_all(w, op) ? -1 : sys(SYS_prctl, PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
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

/* ------------------------------------------------------------------ what smaps says of mappings */

/* a: advice, given to the whole window before it is sealed */
static void advise_first(struct window *w, const struct operation *op)
{
	if (sys(SYS_madvise, w->base, (size_t)w->units * w->unit, op->a))
		fail_step(w, "advised", errno);
}

/* All that a mapping is marked with but for its seal, and what a program does not do to it ("sd", soft-dirty). */
static char *put_flags(char *to, const char *end, const char *line)
{
	const char *begin = to;

	for (const char *p = line; *p && *p != '\n'; p++) {
		bool apart = strncmp(p, " sl", 3) == 0 || strncmp(p, " sd", 3) == 0;

		if (apart && (p[3] == ' ' || p[3] == '\n'))
			p += 2;
		else if (to < end)
			*to++ = *p;
	}
	while (to > begin && to[-1] == ' ')
		to--;
	return to;
}

/* The line of flags of the mapping that an address belongs to, or NULL. */
static const char *flags_of(const char *smaps, const char *address)
{
	static const char flags[] = "\nVmFlags:";

	for (const char *p = smaps; p && *p;) {
		char *rest;
		const char *start = (const char *)strtoul(p, &rest, 16);
		const char *end = (const char *)strtoul(rest + 1, NULL, 16), *found = strstr(p, flags);

		if (!found)
			return NULL;
		found += sizeof(flags) - 1;
		if (address >= start && address < end)
			return found;
		p = strchr(found, '\n');
		p = p ? p + 1 : p;
	}
	return NULL;
}

static long list_flags(struct window *w, const struct operation *op)
{
	static char smaps[262144];
	char text[EXTRA_TEXT] = "", *to = text, *end = text + sizeof(text) - 1;

	(void)op;
	if (!read_text("/proc/self/smaps", smaps, sizeof(smaps)))
		fail_step(w, "open of /proc/self/smaps", ENOENT);
	for (char *at = w->start; at < w->start + w->length; at += w->unit) {
		const char *line = flags_of(smaps, at);

		if (!line)
			fail_step(w, "a mapping in /proc/self/smaps", ENODATA);
		if (to > text && to < end)
			*to++ = ';';
		to = put_flags(to, end, to > text ? line : line + 1);
	}
	*to = 0;
	add_text(w, "flags", text);
	return 0;
}

/* ------------------------------------------------------------------ placement */

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

/*
 * a: advice; what it does to a page, the machine keeps: it is taken out of use. The kernel warns of memory that failed
 * by a SIGBUS that cannot be blocked or ignored; it comes at once and is not that of a touch.
 */
static void outlive(int signal_number)
{
	(void)signal_number;
}

static long take_out_of_use(struct window *w, const struct operation *op)
{
	struct sigaction heed_not = {.sa_handler = outlive}, before;
	long result;
	int error;

	sigaction(SIGBUS, &heed_not, &before);
	result = sys(SYS_madvise, w->start, w->length, op->a);
	error = errno;
	sigaction(SIGBUS, &before, NULL);
	errno = error;
	return result;
}

#define R_HERE (SET(ANON_RW) | SET(ANON_R) | SET(ANON_NONE) | SET(SHARED_ANON_RW) | SET(COPIED_R) | SET(FILE_SHARED_RW))
#define R_PAIR (SET(ANON_RW) | SET(ANON_R))
#define S_THREE (SET(EXACT) | SET(MIDDLE) | SET(INTO))
#define WIDELY {{R_HERE | SET(HUGE_PART_R), SET(EXACT)}, {SET(ANON_R), S_THREE}}
#define HUGELY {{R_HERE | SET(HUGE_R) | SET(HUGETLB_PRIVATE_RW), SET(EXACT)}, {SET(ANON_R), S_THREE}}
#define NARROWLY {{R_PAIR | SET(SHARED_ANON_RW), SET(EXACT)}, {SET(ANON_R), S_THREE}}

/* What was said of memory before it was sealed; and the same again where nothing was said. */
#define LISTED(what, advice) \
	{.name = "listed-flags-" what, .prepare = advise_first, .perform = list_flags, .a = advice, \
	 .covers = {{R_PAIR, SET(EXACT) | SET(INTO)}, {SET(SHARED_ANON_RW), SET(EXACT)}}}

static const struct operation operations[] = {
	{.name = "mlock", .perform = lock, .covers = HUGELY},
	{.name = "mlock-onfault", .perform = lock_on_fault, .covers = WIDELY},
	{.name = "munlock", .prepare = lock_first, .perform = unlock,
	 .covers = {{SET(ANON_RW) | SET(SHARED_ANON_RW) | SET(COPIED_R) | SET(FILE_SHARED_RW) | SET(HUGE_R),
	 	SET(EXACT)},
		    {SET(ANON_R), S_THREE}}},
	{.name = "mlockall-current", .perform = lock_all, .a = MCL_CURRENT, .traits = LONE, .covers = NARROWLY},
	{.name = "mlockall-future", .perform = lock_all, .a = MCL_FUTURE, .traits = LONE,
	 .covers = {{SET(ANON_R), SET(EXACT)}}},
	{.name = "mlockall-on-fault", .perform = lock_all, .a = MCL_CURRENT | 4 /* MCL_ONFAULT */, .traits = LONE,
	 .covers = {{SET(ANON_R), SET(EXACT) | SET(MIDDLE)}}},
	{.name = "hwpoison", .perform = take_out_of_use, .a = ADV_HWPOISON, .traits = ALONE, .needs = NEED(MACHINE),
	 .covers = {{R_PAIR | SET(SHARED_ANON_RW), SET(MIDDLE)}}},
	{.name = "soft-offline", .perform = take_out_of_use, .a = ADV_SOFT_OFFLINE, .traits = ALONE,
	 .needs = NEED(MACHINE), .covers = {{R_PAIR | SET(SHARED_ANON_RW), SET(MIDDLE)}}},
	{.name = "prctl-merge", .perform = merge_all, .traits = LONE, .covers = {{R_PAIR, SET(EXACT) | SET(INTO)}}},
	{.name = "prctl-merge-undone", .perform = merge_all_and_undo, .traits = LONE,
	 .covers = {{R_PAIR, SET(EXACT) | SET(INTO)}}},
	{.name = "munlockall", .prepare = lock_first, .perform = unlock_all, .traits = LONE, .covers = NARROWLY},
	{.name = "msync-async", .perform = sync_range, .a = MS_ASYNC, .covers = WIDELY},
	{.name = "msync-sync", .perform = sync_range, .a = MS_SYNC, .covers = WIDELY},
	{.name = "msync-invalidate", .perform = sync_range, .a = MS_SYNC | MS_INVALIDATE, .covers = WIDELY},
	{.name = "mincore", .perform = ask_residency, .covers = WIDELY},
	{.name = "clear-refs-all", .perform = clear_refs, .a = '1', .covers = NARROWLY},
	{.name = "clear-refs-anon", .perform = clear_refs, .a = '2', .covers = NARROWLY},
	{.name = "clear-refs-mapped", .perform = clear_refs, .a = '3', .covers = NARROWLY},
	{.name = "clear-refs-soft-dirty", .perform = clear_refs, .a = '4', .covers = NARROWLY},
	{.name = "clear-refs-peak", .perform = clear_refs, .a = '5',
	 .covers = {{SET(ANON_R), SET(EXACT)}}},
	{.name = "prctl-name", .perform = name_range, .covers = {{R_PAIR | SET(SHARED_ANON_RW), S_THREE}}},
	{.name = "listed-flags", .perform = list_flags,
	 .covers = {{R_ALL | R_SPECIAL | R_HUGE, SET(EXACT)}, {SET(ANON_R), S_THREE}}},
	LISTED("dontdump", ADV_DONTDUMP),
	LISTED("dontfork", ADV_DONTFORK),
	LISTED("random", ADV_RANDOM),
	LISTED("sequential", ADV_SEQUENTIAL),
	LISTED("hugepage", ADV_HUGEPAGE),
	LISTED("nohugepage", ADV_NOHUGEPAGE),
	LISTED("mergeable", ADV_MERGEABLE),
	{.name = "listed-flags-wipeonfork", .prepare = advise_first, .perform = list_flags, .a = ADV_WIPEONFORK,
	 .covers = {{R_PAIR, SET(EXACT) | SET(INTO)}}},
	/* For a part of it, a mapping of huge pages is split; in the end each of them is tried. */
	{.name = "mbind-preferred", .perform = bind_range, .a = POLICY_PREFERRED,
	 .covers = {{R_HERE | SET(HUGE_PART_R), SET(EXACT)}, {SET(ANON_R), S_THREE},
		    {SET(HUGETLB_PRIVATE_R), SET(HEAD) | SET(MIDDLE) | SET(TAIL)},
		    {SET(HUGETLB_SHARED_RW), SET(MIDDLE)}}},
	{.name = "mbind-bind", .perform = bind_range, .a = POLICY_BIND, .covers = WIDELY},
	{.name = "mbind-migrate", .perform = bind_range, .a = POLICY_BIND, .b = 1, .needs = NEED(TWO_NODES),
	 .covers = HUGELY},
	{.name = "set-mempolicy-home-node", .prepare = bind_first, .perform = set_home_node,
	 .covers = NARROWLY},
	{.name = "move-pages", .perform = move_pages, .covers = NARROWLY},
	{.name = "move-pages-migrate", .perform = move_pages, .b = 1, .needs = NEED(TWO_NODES),
	 .covers = NARROWLY},
	{.name = "swap-out", .perform = swap_out, .traits = POOL, .needs = NEED(SWAP), .covers = NARROWLY},
	{.name = "swap-out-in", .perform = swap_out_and_in, .traits = POOL, .needs = NEED(SWAP),
	 .covers = NARROWLY},
	/* Up to 6.12 at least, what is to be collapsed must be writable. */
	{.name = "collapse", .perform = collapse,
	 .covers = {{SET(HUGE_SCATTERED_R) | SET(HUGE_SCATTERED_RW), SET(EXACT)}, {SET(HUGE_SCATTERED_RW), SET(INTO)}}},
};

const struct family family_pages = {.name = "pages", .operations = operations, .count = COUNT(operations)};
