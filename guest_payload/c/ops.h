/* SPDX-License-Identifier: MIT */
/* What the tables of operations are written with. */
#ifndef SEALMATRIX_OPS_H
#define SEALMATRIX_OPS_H

#include "payload.h"

#define SET(id) ((region_set)1 << (id))

/* ------------------------------------------------------------------ sets of regions */

#define R_ANON_READ_ONLY (SET(ANON_R) | SET(ANON_NONE) | SET(ANON_RX))
#define R_ANON (SET(ANON_RW) | R_ANON_READ_ONLY)
#define R_SHARED_ANON (SET(SHARED_ANON_RW) | SET(SHARED_ANON_R))
#define R_PRIVATE_FILE (SET(CLEAN_R) | SET(CLEAN_RW) | SET(COPIED_R) | SET(COPIED_RW) | SET(MEMFD_PRIVATE_RW))
#define R_SHARED_FILE (SET(FILE_SHARED_RW) | SET(FILE_SHARED_R) | SET(MEMFD_SHARED_RW))
#define R_ALL (R_ANON | R_SHARED_ANON | R_PRIVATE_FILE | R_SHARED_FILE)
/* One of each sort the kernel treats differently. */
#define R_TYPICAL (SET(ANON_RW) | SET(ANON_R) | SET(COPIED_R) | SET(SHARED_ANON_RW))

/* The special ones, less those that the kernel made itself. Huge pages apart: a probe of them costs ten others. */
#define R_READ_ONLY_SPECIAL (SET(LOCKED_R) | SET(UNTOUCHED_R) | SET(UNTOUCHED_NONE) | SET(HUGE_PART_R))
#define R_CLOSED_KEYS (SET(PKEY_NO_WRITE_RW) | SET(PKEY_NO_ACCESS_RW))
#define R_KEYS (R_CLOSED_KEYS | SET(PKEY_OPEN_RW))
#define R_STACKS (SET(STACK_GROWING_RW) | SET(STACK_THREAD_RW))
#define R_UFFD (SET(UFFD_MISSING_RW) | SET(UFFD_WP_RW))
#define R_SYSV (SET(SYSV_RW) | SET(SYSV_R))
/* Memory of which the processor does more than read, write and execute. */
#define R_PROCESSOR (SET(BTI_RX) | SET(MTE_R) | SET(MTE_RW))
/* What is treated as memory without a trait, of that size, or at that place is. */
#define R_SHAPED (SET(WIDE_R) | SET(PIECES_R) | SET(UNTOUCHED_VAST_R) | SET(LOW_R) | SET(HIGH_R))
#define R_TRAITS \
	(SET(LADEN_R) | SET(LADEN_RW) | SET(SHARED_LADEN_RW) | SET(POLICY_R) | SET(NAMED_R) | SET(MERGEABLE_R) | \
		SET(ONFAULT_R) | SET(WIPED_R) | SET(GUARDED_R) | R_SHAPED)
#define R_SPECIAL \
	(R_READ_ONLY_SPECIAL | R_TRAITS | R_PROCESSOR | R_KEYS | R_STACKS | R_UFFD | R_SYSV | SET(LOCKED_RW) | \
	 SET(UNTOUCHED_RW) | SET(FILE_SHARED_READ_ONLY_R) | \
		SET(HEAP_RW) | \
	 SET(ZERO_RW) | SET(ZERO_R) | SET(DROPPABLE_RW) | SET(SECRETMEM_RW) | SET(TEXT_RX))
/* A probe of them covers all of a ring. A process with AIO's ends slowly: a grace period passes first. */
#define R_RINGS (SET(AIO_RING_RW) | SET(PERF_RING_RW) | SET(URING_RW))
#define R_HUGETLB \
	(SET(HUGETLB_PRIVATE_RW) | SET(HUGETLB_PRIVATE_R) | SET(HUGETLB_SHARED_RW) | SET(HUGETLB_MEMFD_SHARED_RW))
/* Two of them for most operations, all for a few. */
#define R_HUGE (SET(HUGETLB_PRIVATE_R) | SET(HUGETLB_SHARED_RW))
#define R_HUGE_ALL (SET(HUGE_R) | R_HUGETLB)

/* ------------------------------------------------------------------ sets of spans */

#define S_INSIDE (SET(EXACT) | SET(HEAD) | SET(MIDDLE) | SET(TAIL))
#define S_MIXED (SET(INTO) | SET(OUT_OF) | SET(AROUND) | SET(ACROSS) | SET(FIRST) | SET(LAST))
#define S_PLAIN (SET(BESIDE) | SET(BEFORE) | SET(AFTER))
#define S_ALL (S_INSIDE | S_MIXED | S_PLAIN)
#define S_GAPS (SET(GAP_AMID) | SET(GAP_AROUND))
#define S_BARE (SET(GAP_BEFORE) | SET(GAP_AFTER) | SET(GAP_BETWEEN))
#define S_AMONG (SET(BEHIND) | SET(AHEAD) | SET(ENCLOSED))
#define S_HOLES (SET(HOLE_START) | SET(HOLE_MIDDLE) | SET(HOLE_END))
/* One inside, one that begins plain, one that has a seal only inside, and a plain neighbour. */
#define S_KEY (SET(EXACT) | SET(INTO) | SET(AROUND) | SET(BESIDE))
/* Those that cover at least two units, so that half of the range is still a range. */
#define S_TWO (SET(EXACT) | SET(HEAD) | SET(TAIL) | SET(INTO) | SET(OUT_OF) | SET(AROUND))

/* ------------------------------------------------------------------ helpers */

#define COUNT(table) (sizeof(table) / sizeof(*(table)))
#define ALL_ONES (~0ul)

/* The address with a tag that the processor ignores, for operations that need tags. */
char *tagged(char *address);

/* So much of a range that its last page is only begun, which means that page too. */
size_t short_length(const struct window *w);

/* What a child, or another thread, does to the range it covers (ops_fork.c); all return 0 or -1. */
long unmap_here(struct window *w, const struct operation *op);
long map_here(struct window *w, const struct operation *op);
long move_here(struct window *w, const struct operation *op);
long protect_here(struct window *w, const struct operation *op); /* a: prot */
long advise_here(struct window *w, const struct operation *op);  /* a: advice */
long seal_here(struct window *w, const struct operation *op);

/* Of races (ops_race.c): the calling thread on this CPU only, and the time. */
int use_cpu(int cpu); /* 0 or the errno */
long now_ms(void);

/* Kills a child, some times, while a thread of it waits in mseal (ops_killed.c). */
long kill_in_mseal(struct window *w, const struct operation *op);

/* A userfaultfd whose faults are signals, so that nobody waits for ever; and registering a range with it. */
int open_userfaultfd(struct window *w, unsigned long features);
long register_range(int fd, void *start, size_t length, unsigned long mode);

/* Which number perf_event_open(2) knows uprobes by. */
#define UPROBE_TYPE "/sys/bus/event_source/devices/uprobe/type"

/* Makes huge pages of the range's pages. */
long collapse_range(void *start, size_t length);

/* As a loader does it (regions_consumers.c): map an object of so many units, and what it does when that is done. */
long load_object(const struct window *w, char *at, int first, int units);
bool is_data(int unit);
long protect_relocated(const struct window *w, char *at, int units);

/* What CRIU, rr and gVisor do with all mappings that the kernel made, on a window that is the vdso (ops_system.c). */
void need_clock(struct window *w, const struct operation *op);
long park_system(struct window *w, const struct operation *op);
long unmap_system(struct window *w, const struct operation *op);

/* How long one of the kernel's own mappings is, and where; 0 where there is none (regions_special.c). */
size_t mapping_named(const char *name, char **start);

#endif
