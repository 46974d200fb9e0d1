/* SPDX-License-Identifier: MIT */
/* madvise(2), and process_madvise(2) on ourselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* a: advice */
static long advise(struct window *w, const struct operation *op)
{
	return sys(SYS_madvise, w->start, w->length, op->a);
}

static long advise_tagged(struct window *w, const struct operation *op)
{
	return sys(SYS_madvise, tagged(w->start), w->length, op->a);
}

static void open_self(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)sys(SYS_pidfd_open, getpid(), 0);
	if (w->other < 0)
		fail_step(w, "pidfd_open", errno);
}

/* Returns the bytes advised, which is reported as 0 when it is all of them: page sizes differ, promises do not. */
static long advise_process(struct window *w, const struct operation *op)
{
	struct iovec range = {w->start, w->length};
	long advised = sys(SYS_process_madvise, w->other, &range, 1, op->a, 0);

	return advised == (long)w->length ? 0 : advised;
}

/* A range for each unit, so that an advice that is refused half-way has been carried out for some of them. */
static long advise_process_ranges(struct window *w, const struct operation *op)
{
	struct iovec ranges[UNITS_MAX];
	size_t count = w->length / w->unit;
	long advised;

	for (size_t i = 0; i < count; i++)
		ranges[i] = (struct iovec){w->start + i * w->unit, w->unit};
	advised = sys(SYS_process_madvise, w->other, ranges, count, op->a, 0);
	return advised == (long)w->length ? 0 : advised;
}

/* What reclaims or rebuilds pages would make facts depend on the weather; those are probed where contents stay put. */
#define R_QUIET (SET(ANON_RW) | SET(ANON_R) | SET(CLEAN_R) | SET(COPIED_R) | SET(SHARED_ANON_RW))

#define DISCARD(what, advice) DISCARD_OF(what, advice, SET(UNTOUCHED_GIGABYTES_R))
#define DISCARD_OF(what, advice, also) \
	{.name = "madvise-" what, .perform = advise, .a = advice, \
	 .covers = {{R_ALL | SET(ANON_MIXED), SET(EXACT) | SET(INTO)}, {SET(ANON_R), S_ALL | S_GAPS | S_AMONG}, \
		    {R_SHAPED, SET(INTO) | SET(AROUND)}, {also, SET(EXACT) | SET(INTO)}, \
		    {R_TYPICAL, SET(MIDDLE) | SET(BESIDE)}, {R_SPECIAL | R_HUGE, SET(EXACT)}}}
#define HARMLESS(what, advice, more...) HARMLESS_TO(what, advice, 0, ##more)
/* also: of which a part is treated, so that the mapping is split */
#define HARMLESS_TO(what, advice, also, more...) \
	{.name = "madvise-" what, .perform = advise, .a = advice, \
	 .covers = {{R_QUIET | SET(ANON_NONE), SET(EXACT)}, {SET(ANON_R), SET(INTO)}, {also, SET(HEAD) | SET(TAIL)}}, \
	 ##more}

static const struct operation operations[] = {
	DISCARD("dontneed", ADV_DONTNEED),
	DISCARD("free", ADV_FREE),
	DISCARD("dontneed-locked", ADV_DONTNEED_LOCKED),
	DISCARD("remove", ADV_REMOVE),
	DISCARD("dontfork", ADV_DONTFORK),
	DISCARD("wipeonfork", ADV_WIPEONFORK),
	DISCARD_OF("guard-install", ADV_GUARD_INSTALL, 0), /* a page table for each 2 MiB */
	{.name = "madvise-guard-remove", .perform = advise, .a = ADV_GUARD_REMOVE,
	 .covers = {{R_QUIET | SET(ANON_NONE), SET(EXACT)}, {SET(ANON_R), SET(INTO)},
		    {SET(GUARDED_R) | SET(GUARDED_RW), S_KEY | SET(MIDDLE)}}},
	HARMLESS("dofork", ADV_DOFORK),
	HARMLESS("keeponfork", ADV_KEEPONFORK),
	HARMLESS("cold", ADV_COLD),
	HARMLESS("pageout", ADV_PAGEOUT, .uses = NEED(SWAP)),
	HARMLESS("populate-read", ADV_POPULATE_READ),
	HARMLESS("populate-write", ADV_POPULATE_WRITE),
	HARMLESS("willneed", ADV_WILLNEED),
	HARMLESS("normal", ADV_NORMAL),
	HARMLESS("random", ADV_RANDOM),
	HARMLESS("sequential", ADV_SEQUENTIAL),
	HARMLESS("hugepage", ADV_HUGEPAGE),
	HARMLESS("nohugepage", ADV_NOHUGEPAGE),
	HARMLESS("collapse", ADV_COLLAPSE),
	HARMLESS("mergeable", ADV_MERGEABLE),
	HARMLESS("unmergeable", ADV_UNMERGEABLE),
	HARMLESS_TO("dontdump", ADV_DONTDUMP, SET(HUGETLB_PRIVATE_R) | SET(HUGETLB_SHARED_RW)),
	HARMLESS("dodump", ADV_DODUMP),
	HARMLESS("invalid", ADV_INVALID),
	{.name = "madvise-dontneed-tagged", .perform = advise_tagged, .a = ADV_DONTNEED, .needs = NEED(TAGS),
	 .covers = {{SET(ANON_R) | SET(ANON_RW) | SET(MTE_R), SET(EXACT) | SET(INTO)}}},
};

#define PROCESS_DISCARD(what, advice) \
	{.name = "process-madvise-" what, .prepare = open_self, .perform = advise_process, .a = advice, \
	 .covers = {{R_ANON | SET(COPIED_R) | SET(SHARED_ANON_RW), SET(EXACT) | SET(INTO)}, \
		    {R_READ_ONLY_SPECIAL | R_KEYS | R_TRAITS, SET(EXACT)}}}
#define PROCESS_HARMLESS(what, advice, more...) \
	{.name = "process-madvise-" what, .prepare = open_self, .perform = advise_process, .a = advice, \
	 .covers = {{SET(ANON_RW) | SET(ANON_R), SET(EXACT) | SET(INTO)}}, ##more}

/* Given by a child to us, whose memory is sealed: to another process than its own. */
#define OTHER(what, advice, how, covered...) \
	{.name = "process-madvise-other-" what, .prepare = open_self, .perform = in_child, .act = how, .a = advice, \
	 .covers = {covered}}
#define OTHER_DISCARD(what, advice) \
	OTHER(what, advice, advise_process, {R_ANON, SET(EXACT)}, {SET(ANON_R), SET(INTO)})
#define OTHER_HARMLESS(what, advice) OTHER(what, advice, advise_process, {SET(ANON_RW) | SET(ANON_R), SET(EXACT)})

static const struct operation process_operations[] = {
	OTHER_DISCARD("dontneed", ADV_DONTNEED),
	OTHER_DISCARD("free", ADV_FREE),
	OTHER_DISCARD("dontneed-locked", ADV_DONTNEED_LOCKED),
	OTHER_DISCARD("remove", ADV_REMOVE),
	OTHER_DISCARD("dontfork", ADV_DONTFORK),
	OTHER_DISCARD("wipeonfork", ADV_WIPEONFORK),
	OTHER_DISCARD("guard-install", ADV_GUARD_INSTALL),
	OTHER("ranges-dontneed", ADV_DONTNEED, advise_process_ranges, {R_ANON, SET(EXACT) | SET(INTO)}),
	OTHER_HARMLESS("cold", ADV_COLD),
	OTHER_HARMLESS("willneed", ADV_WILLNEED),
	OTHER_HARMLESS("collapse", ADV_COLLAPSE),
	OTHER("ranges-willneed", ADV_WILLNEED, advise_process_ranges, {SET(ANON_R), SET(EXACT)}),

	PROCESS_DISCARD("dontneed", ADV_DONTNEED),
	PROCESS_DISCARD("free", ADV_FREE),
	PROCESS_DISCARD("dontneed-locked", ADV_DONTNEED_LOCKED),
	PROCESS_DISCARD("remove", ADV_REMOVE),
	PROCESS_DISCARD("dontfork", ADV_DONTFORK),
	PROCESS_DISCARD("wipeonfork", ADV_WIPEONFORK),
	PROCESS_DISCARD("guard-install", ADV_GUARD_INSTALL),
	{.name = "process-madvise-ranges-dontneed", .prepare = open_self, .perform = advise_process_ranges,
	 .a = ADV_DONTNEED,
	 .covers = {{SET(ANON_R) | SET(ANON_RW) | SET(ANON_NONE), SET(EXACT) | SET(INTO) | SET(OUT_OF) | SET(AROUND)}}},
	PROCESS_HARMLESS("cold", ADV_COLD),
	PROCESS_HARMLESS("pageout", ADV_PAGEOUT, .uses = NEED(SWAP)),
	PROCESS_HARMLESS("willneed", ADV_WILLNEED),
	PROCESS_HARMLESS("collapse", ADV_COLLAPSE),
	PROCESS_HARMLESS("invalid", ADV_INVALID),
};

const struct family family_madvise = {.name = "madvise", .operations = operations, .count = COUNT(operations)};
const struct family family_process_madvise = {.name = "process-madvise", .operations = process_operations,
	.count = COUNT(process_operations)};
