/* SPDX-License-Identifier: MIT */
/*
 * Every region: REGION(id, the function that makes it, fields of struct region). Whoever includes this defines REGION:
 * payload.h takes the ids, regions.h declares the functions, regions.c fills the table. Probes run in this order.
 */

REGION(ANON_RW, make_window, .name = "anon-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(ANON_R, make_window, .name = "anon-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(ANON_NONE, make_window, .name = "anon-none", .prot = PROT_NONE, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(ANON_RX, make_window, .name = "anon-rx", .prot = RX, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(ANON_MIXED, make_window, .name = "anon-mixed", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED | MIXED)
REGION(SHARED_ANON_RW, make_window, .name = "shared-anon-rw", .prot = RW, .flags = SHARED_ANON, .traits = FILLED)
REGION(SHARED_ANON_R, make_window, .name = "shared-anon-r", .prot = PROT_READ, .flags = SHARED_ANON, .traits = FILLED)
REGION(CLEAN_R, make_file, .name = "file-private-clean-r", .prot = PROT_READ, .flags = MAP_PRIVATE)
REGION(CLEAN_RW, make_file, .name = "file-private-clean-rw", .prot = RW, .flags = MAP_PRIVATE)
REGION(COPIED_R, make_file, .name = "file-private-copied-r", .prot = PROT_READ, .flags = MAP_PRIVATE,
	.traits = FILLED)
REGION(COPIED_RW, make_file, .name = "file-private-copied-rw", .prot = RW, .flags = MAP_PRIVATE, .traits = FILLED)
REGION(FILE_SHARED_RW, make_file, .name = "file-shared-rw", .prot = RW, .flags = MAP_SHARED)
REGION(FILE_SHARED_R, make_file, .name = "file-shared-r", .prot = PROT_READ, .flags = MAP_SHARED)
REGION(FILE_SHARED_READ_ONLY_R, make_read_only_file, .name = "file-shared-read-only-r", .prot = PROT_READ,
	.flags = MAP_SHARED)
REGION(MEMFD_SHARED_RW, make_memfd, .name = "memfd-shared-rw", .prot = RW, .flags = MAP_SHARED)
REGION(MEMFD_PRIVATE_RW, make_memfd, .name = "memfd-private-rw", .prot = RW, .flags = MAP_PRIVATE)

/* regions_special.c: what needs more than a mapping */
REGION(LOCKED_RW, make_locked, .name = "anon-locked-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(LOCKED_R, make_locked, .name = "anon-locked-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(UNTOUCHED_RW, make_untouched, .name = "anon-untouched-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = UNREAD)
REGION(UNTOUCHED_R, make_untouched, .name = "anon-untouched-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
	.traits = UNREAD)
REGION(UNTOUCHED_NONE, make_untouched, .name = "anon-untouched-none", .prot = PROT_NONE, .flags = PRIVATE_ANON,
	.traits = UNREAD)
REGION(HUGE_R, make_huge, .name = "anon-huge-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED | POOLED)
REGION(HUGE_PART_R, make_huge_part, .name = "anon-huge-part-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
	.traits = FILLED | POOLED)
REGION(HUGE_SCATTERED_R, make_huge_scattered, .name = "anon-huge-scattered-r", .prot = PROT_READ,
	.flags = PRIVATE_ANON, .traits = FILLED | POOLED)
REGION(HUGE_SCATTERED_RW, make_huge_scattered, .name = "anon-huge-scattered-rw", .prot = RW, .flags = PRIVATE_ANON,
	.traits = FILLED | POOLED)
REGION(HUGETLB_PRIVATE_RW, make_hugetlb, .name = "hugetlb-private-rw", .prot = RW,
	.flags = PRIVATE_ANON | MAP_HUGETLB, .traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES))
REGION(HUGETLB_PRIVATE_R, make_hugetlb, .name = "hugetlb-private-r", .prot = PROT_READ,
	.flags = PRIVATE_ANON | MAP_HUGETLB, .traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES))
REGION(HUGETLB_SHARED_RW, make_hugetlb, .name = "hugetlb-shared-rw", .prot = RW, .flags = SHARED_ANON | MAP_HUGETLB,
	.traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES))
REGION(HUGETLB_MEMFD_SHARED_RW, make_hugetlb_memfd, .name = "hugetlb-memfd-shared-rw", .prot = RW,
	.flags = MAP_SHARED, .traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES))
REGION(SYSV_RW, make_sysv, .name = "sysv-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = FILLED)
REGION(SYSV_R, make_sysv, .name = "sysv-shared-r", .prot = PROT_READ, .flags = MAP_SHARED, .traits = FILLED)
REGION(HEAP_RW, make_heap, .name = "heap-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED | SINGULAR)
REGION(STACK_GROWING_RW, make_window, .name = "stack-growing-rw", .prot = RW, .flags = PRIVATE_ANON | MAP_GROWSDOWN,
	.traits = FILLED | GROWS)
REGION(STACK_THREAD_RW, make_window, .name = "stack-thread-rw", .prot = RW,
	.flags = PRIVATE_ANON | MAP_STACK | MAP_NORESERVE, .traits = FILLED)
REGION(ZERO_RW, make_zero, .name = "zero-private-rw", .prot = RW, .flags = MAP_PRIVATE, .traits = FILLED)
REGION(ZERO_R, make_zero, .name = "zero-private-r", .prot = PROT_READ, .flags = MAP_PRIVATE, .traits = FILLED)
REGION(DROPPABLE_RW, make_window, .name = "droppable-rw", .prot = RW, .flags = MAP_DROPPABLE | MAP_ANONYMOUS,
	.traits = FILLED)
REGION(PKEY_NO_WRITE_RW, make_no_write_key, .name = "pkey-no-write-rw", .prot = RW, .flags = PRIVATE_ANON,
	.traits = FILLED, .needs = NEED(KEYS))
REGION(PKEY_NO_ACCESS_RW, make_no_access_key, .name = "pkey-no-access-rw", .prot = RW, .flags = PRIVATE_ANON,
	.traits = FILLED | NO_READS, .needs = NEED(KEYS))
REGION(PKEY_OPEN_RW, make_open_key, .name = "pkey-open-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
	.needs = NEED(KEYS))
REGION(SECRETMEM_RW, make_secretmem, .name = "secretmem-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = FILLED)
REGION(UFFD_MISSING_RW, make_uffd_missing, .name = "uffd-missing-rw", .prot = RW, .flags = PRIVATE_ANON,
	.traits = FILLED)
REGION(UFFD_WP_RW, make_uffd_wp, .name = "uffd-wp-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(TEXT_RX, make_text, .name = "text-rx", .prot = RX, .flags = MAP_PRIVATE, .traits = SINGULAR)
REGION(VDSO_RX, find_system_mapping, .name = "vdso-rx", .prot = RX, .mapping = "[vdso]", .traits = SINGULAR)
REGION(VVAR_R, find_system_mapping, .name = "vvar-r", .prot = PROT_READ, .traits = UNREAD | SINGULAR,
	.mapping = "[vvar]")
REGION(VCLOCK_R, find_system_mapping, .name = "vvar-vclock-r", .prot = PROT_READ, .traits = UNREAD | SINGULAR,
	.mapping = "[vvar_vclock]")
REGION(UPROBES_X, make_uprobes, .name = "uprobes-x", .prot = PROT_EXEC, .traits = UNREAD | SINGULAR,
	.mapping = "[uprobes]")

/* regions_traits.c: memory like that above, of which more was said, of other sizes or at other places */
REGION(LADEN_R, make_laden, .name = "anon-laden-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(LADEN_RW, make_laden, .name = "anon-laden-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(SHARED_LADEN_RW, make_laden, .name = "shared-anon-laden-rw", .prot = RW, .flags = SHARED_ANON,
	.traits = FILLED)
REGION(POLICY_R, make_policy, .name = "anon-policy-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(NAMED_R, make_named, .name = "anon-named-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(MERGEABLE_R, make_mergeable, .name = "anon-mergeable-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
	.traits = FILLED)
REGION(ONFAULT_R, make_locked_on_fault, .name = "anon-locked-on-fault-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
	.traits = FILLED)
REGION(WIDE_R, make_wide, .name = "anon-wide-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(PIECES_R, make_pieces, .name = "anon-pieces-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(UNTOUCHED_VAST_R, make_vast, .name = "anon-untouched-vast-r", .prot = PROT_READ,
	.flags = PRIVATE_ANON | MAP_NORESERVE, .traits = UNREAD | FARTHEST)
REGION(UNTOUCHED_GIGABYTES_R, make_gigabytes, .name = "anon-untouched-gigabytes-r", .prot = PROT_READ,
	.flags = PRIVATE_ANON | MAP_NORESERVE, .traits = UNREAD | FARTHEST)
REGION(LOW_R, make_low, .name = "anon-low-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(HIGH_R, make_high, .name = "anon-high-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
	.traits = FILLED | FAR)
REGION(WIPED_R, make_wiped, .name = "anon-wipeonfork-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(NOT_COPIED_R, make_not_copied, .name = "anon-dontfork-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
	.traits = FILLED)
REGION(GUARDED_R, make_guarded, .name = "anon-guarded-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(GUARDED_RW, make_guarded, .name = "anon-guarded-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED)

/* regions_consumers.c: as programs make it that seal */
REGION(OBJECT_MIXED, make_dso, .name = "object-mixed", .prot = PROT_READ, .flags = MAP_PRIVATE)
REGION(JIT_RWX, make_window, .name = "jit-rwx", .prot = RWX, .flags = PRIVATE_ANON, .traits = FILLED)
REGION(JIT_KEY_OPEN_RWX, make_open_key, .name = "jit-key-open-rwx", .prot = RWX, .flags = PRIVATE_ANON,
	.traits = FILLED, .needs = NEED(KEYS))
REGION(JIT_KEY_CLOSED_RWX, make_no_write_key, .name = "jit-key-closed-rwx", .prot = RWX, .flags = PRIVATE_ANON,
	.traits = FILLED, .needs = NEED(KEYS))
REGION(SLAB_MIXED, make_slab, .name = "slab-mixed", .prot = PROT_NONE, .flags = PRIVATE_ANON)
REGION(STACK_GUARDED_MIXED, make_guarded_stack, .name = "stack-guarded-mixed", .prot = RW,
	.flags = PRIVATE_ANON | MAP_STACK | MAP_NORESERVE)
REGION(STACK_GUARD_REGION_RW, make_stack_with_guard_region, .name = "stack-guard-region-rw", .prot = RW,
	.flags = PRIVATE_ANON | MAP_STACK | MAP_NORESERVE)

/* regions_processor.c */
REGION(BTI_RX, make_branch_targets, .name = "anon-bti-rx", .prot = RX, .flags = PRIVATE_ANON, .traits = FILLED,
	.needs = NEED(BTI))
REGION(MTE_R, make_tagged_memory, .name = "anon-mte-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
	.needs = NEED(MTE))
REGION(MTE_RW, make_tagged_memory, .name = "anon-mte-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
	.needs = NEED(MTE))
REGION(SHADOW_STACK_RW, make_shadow_stack, .name = "shadow-stack-rw", .prot = RW)

/* regions_rings.c */
REGION(AIO_RING_RW, make_aio_ring, .name = "aio-ring-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = SINGULAR)
REGION(PERF_RING_RW, make_perf_ring, .name = "perf-ring-shared-rw", .prot = RW, .flags = MAP_SHARED)
REGION(URING_RW, make_uring, .name = "uring-ring-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = SINGULAR)
