/* SPDX-License-Identifier: MIT */
/* Another thread of the same process: a seal is the address space's, not the caller's. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "sys.h"

enum { KEY_BITS = 3 };

/* a: advice, b: the rights of this thread for the window's key, no other thread's */
static long advise_with_rights(struct window *w, const struct operation *op)
{
	unsigned shift = (unsigned)window_key() * 2, others = arch_key_rights() & ~((unsigned)KEY_BITS << shift);

	arch_set_key_rights(others | (unsigned)op->b << shift);
	return advise_here(w, op);
}

enum { EMPTY = 1ul << 16 };

/* a: flags, b: how far off a page boundary, or EMPTY */
static long seal_oddly(struct window *w, const struct operation *op)
{
	return sys_mseal(w->start + op->b % EMPTY, op->b == EMPTY ? 0 : w->length, op->a);
}

static long expand_here(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mremap, w->start, w->length, w->length + w->unit, MREMAP_MAYMOVE, 0);

	(void)op;
	return at == -1 ? -1 : 0;
}

static long detach_here(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_shmdt, w->base);
}

#define R_FEW (SET(ANON_R) | SET(SHARED_ANON_RW))

#define R_ODD (SET(SHARED_ANON_RW) | SET(LADEN_RW) | SET(COPIED_R))

static const struct operation operations[] = {
	{.name = "thread-munmap", .perform = in_thread, .act = unmap_here,
	 .covers = {{R_FEW, SET(EXACT) | SET(INTO)}}},
	{.name = "thread-mprotect", .perform = in_thread, .act = protect_here, .a = PROT_NONE,
	 .covers = {{R_FEW, SET(EXACT) | SET(MIDDLE) | SET(TAIL) | SET(INTO) | SET(AROUND)}}},
	{.name = "thread-mremap-expand", .perform = in_thread, .act = expand_here,
	 .covers = {{R_FEW | SET(LADEN_RW), SET(EXACT) | SET(TAIL)}}},
	{.name = "thread-shmdt", .perform = in_thread, .act = detach_here,
	 .covers = {{R_SYSV, SET(EXACT) | SET(AROUND)}}},
	{.name = "thread-mseal-flags", .perform = in_thread, .act = seal_oddly, .a = 2, .traits = SEALS,
	 .covers = {{R_ODD, SET(PLAIN) | SET(EXACT) | SET(HOLE_MIDDLE)}}},
	{.name = "thread-mseal-unaligned", .perform = in_thread, .act = seal_oddly, .b = 8, .traits = SEALS,
	 .covers = {{R_ODD, SET(PLAIN) | SET(EXACT) | SET(HOLE_MIDDLE)}}},
	{.name = "thread-mseal-empty", .perform = in_thread, .act = seal_oddly, .b = EMPTY, .traits = SEALS,
	 .covers = {{R_ODD, SET(PLAIN) | SET(EXACT)}}},
	{.name = "thread-mseal-hole", .perform = in_thread, .act = seal_oddly, .traits = SEALS,
	 .covers = {{R_ODD, S_HOLES | SET(GAP_AMID)}}},
	{.name = "thread-mmap-fixed", .perform = in_thread, .act = map_here,
	 .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "thread-mremap", .perform = in_thread, .act = move_here,
	 .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "thread-madvise-dontneed", .perform = in_thread, .act = advise_here, .a = ADV_DONTNEED,
	 .covers = {{SET(ANON_R), SET(EXACT)}}},
	{.name = "thread-key-closed-madvise-dontneed", .perform = in_thread, .act = advise_with_rights,
	 .a = ADV_DONTNEED, .b = 2 /* PKEY_DISABLE_WRITE */, .covers = {{SET(PKEY_OPEN_RW), SET(EXACT) | SET(MIDDLE)}}},
	{.name = "thread-key-opened-madvise-dontneed", .perform = in_thread, .act = advise_with_rights,
	 .a = ADV_DONTNEED, .covers = {{R_CLOSED_KEYS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "clone-vm-munmap", .perform = in_sharing_child, .act = unmap_here,
	 .covers = {{R_FEW | SET(LADEN_RW), SET(EXACT) | SET(INTO)}}},
	{.name = "clone-vm-mprotect", .perform = in_sharing_child, .act = protect_here, .a = PROT_NONE,
	 .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "clone-vm-mmap-fixed", .perform = in_sharing_child, .act = map_here, .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "clone-vm-mremap", .perform = in_sharing_child, .act = move_here, .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "clone-vm-madvise-dontneed", .perform = in_sharing_child, .act = advise_here, .a = ADV_DONTNEED,
	 .covers = {{SET(ANON_R), SET(EXACT)}}},
	{.name = "killed-in-mseal", .perform = kill_in_mseal, .traits = ALONE, .needs = NEED(TWO_CPUS),
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "thread-mseal", .perform = in_thread, .act = seal_here, .traits = SEALS,
	 .covers = {{R_FEW, SET(PLAIN) | SET(EXACT)}}},
};

const struct family family_threads = {.name = "threads", .operations = operations, .count = COUNT(operations)};
