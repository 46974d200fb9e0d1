/* SPDX-License-Identifier: MIT */
/*
 * System call numbers and constants that a C library may be too old to know. All of them are kernel ABI, the same
 * on x86_64 and arm64.
 */
#ifndef SEALMATRIX_SYS_H
#define SEALMATRIX_SYS_H

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * syscall(2) takes its arguments as longs, but an int that is handed to a variadic function is only that: the upper
 * half of what it is read back as is whatever was there. So every argument is made a long first, and those not given
 * are 0. Returns -1 and sets errno as the function does.
 */
#define sys(number, ...) SYS_WITH_LONGS(#number, SYS_COUNT(_, ##__VA_ARGS__, 6, 5, 4, 3, 2, 1, 0), number, \
					##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_COUNT(_, a, b, c, d, e, f, count, ...) count
#define SYS_WITH_LONGS(name, count, number, a, b, c, d, e, f, ...) \
	call(name, count, number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* trace.c; count of the arguments are meant */
long call(const char *name, int count, long number, long a, long b, long c, long d, long e, long f);

#ifndef SYS_mseal
#define SYS_mseal 462 /* 6.10: 8be7258aad44 */
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* 5.10: ecb8ac8b1f14 */
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434 /* 5.3: 32fcb426ec00 */
#endif

#ifndef SYS_close_range
#define SYS_close_range 436 /* 5.9: 9b4feb630e8e */
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447 /* 5.14: 1507f51255c9 */
#endif
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453 /* 6.6: c35559f94ebc */
#endif
#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450 /* 5.17: c6018b4b2549 */
#endif

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8 /* 6.11: 9651fcedf7b9 */
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* 4.17: a4ff8e8620d3 */
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* 5.7: e346b3813067 */
#endif

/* arch/arm64/include/uapi/asm/mman.h; elsewhere there are none such, and no kernel takes them */
#define PROT_WITH_BTI 0x10
#define PROT_WITH_MTE 0x20

/* include/uapi/asm-generic/mman-common.h; listed whole, because a C library may know some of them and not others. */
enum advice {
	ADV_NORMAL = 0,
	ADV_RANDOM = 1,
	ADV_SEQUENTIAL = 2,
	ADV_WILLNEED = 3,
	ADV_DONTNEED = 4,
	ADV_FREE = 8,
	ADV_REMOVE = 9,
	ADV_DONTFORK = 10,
	ADV_DOFORK = 11,
	ADV_MERGEABLE = 12,
	ADV_UNMERGEABLE = 13,
	ADV_HUGEPAGE = 14,
	ADV_NOHUGEPAGE = 15,
	ADV_DONTDUMP = 16,
	ADV_DODUMP = 17,
	ADV_WIPEONFORK = 18,
	ADV_KEEPONFORK = 19,
	ADV_COLD = 20,
	ADV_PAGEOUT = 21,
	ADV_POPULATE_READ = 22,
	ADV_POPULATE_WRITE = 23,
	ADV_DONTNEED_LOCKED = 24,
	ADV_COLLAPSE = 25,
	ADV_HWPOISON = 100, /* of the machine's memory; for root */
	ADV_SOFT_OFFLINE = 101,
	ADV_GUARD_INSTALL = 102, /* 6.13: 662df3e5c376 */
	ADV_GUARD_REMOVE = 103,
	ADV_INVALID = 9999, /* no kernel knows it */
};

/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_FILE_OR_SHARED (1ull << 61)

#endif
