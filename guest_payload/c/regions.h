/* SPDX-License-Identifier: MIT */
/* Between regions.c, which has the table, and the others, which make what needs more than a mapping. */
#ifndef SEALMATRIX_REGIONS_H
#define SEALMATRIX_REGIONS_H

#include "payload.h"

void make_window(struct window *w);
void fill_unit(const struct window *w, int i, int value);
char *map_window(struct window *w, size_t length, int prot, int flags);
void protect_window(struct window *w);

void make_locked(struct window *w);
void make_untouched(struct window *w);
void make_huge(struct window *w);
void make_huge_part(struct window *w);
void make_huge_scattered(struct window *w);
void make_hugetlb(struct window *w);
void make_hugetlb_memfd(struct window *w);
void make_sysv(struct window *w);
void make_heap(struct window *w);
void make_zero(struct window *w);
void make_no_write_key(struct window *w);
void make_no_access_key(struct window *w);
void make_open_key(struct window *w);
void make_secretmem(struct window *w);
void make_uffd_missing(struct window *w);
void make_uffd_wp(struct window *w);
void make_text(struct window *w);
void find_system_mapping(struct window *w);

void make_laden(struct window *w);
void make_policy(struct window *w);
void make_named(struct window *w);
void make_mergeable(struct window *w);
void make_locked_on_fault(struct window *w);
void make_wide(struct window *w);
void make_pieces(struct window *w);
void make_vast(struct window *w);
void make_wiped(struct window *w);
void make_not_copied(struct window *w);
void make_guarded(struct window *w);
void make_dso(struct window *w);
void make_slab(struct window *w);
void make_guarded_stack(struct window *w);
void make_stack_with_guard_region(struct window *w);
void make_branch_targets(struct window *w);
void make_tagged_memory(struct window *w);
void make_shadow_stack(struct window *w);
void make_uprobes(struct window *w);
void make_aio_ring(struct window *w);
void make_perf_ring(struct window *w);
void make_uring(struct window *w);
void make_low(struct window *w);
void make_high(struct window *w);

#endif
