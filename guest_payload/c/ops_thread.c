/* SPDX-License-Identifier: MIT */
/* Another thread of the same process: a seal is the address space's, not the caller's. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

#define R_FEW (SET(ANON_R) | SET(SHARED_ANON_RW))

static const struct operation operations[] = {
	{.name = "thread-munmap", .perform = in_thread, .act = unmap_here,
	 .covers = {{R_FEW, SET(EXACT) | SET(INTO)}}},
	{.name = "thread-mprotect", .perform = in_thread, .act = protect_here, .a = PROT_NONE,
	 .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "thread-mmap-fixed", .perform = in_thread, .act = map_here,
	 .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "thread-mremap", .perform = in_thread, .act = move_here,
	 .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "thread-madvise-dontneed", .perform = in_thread, .act = advise_here, .a = ADV_DONTNEED,
	 .covers = {{SET(ANON_R), SET(EXACT)}}},
	{.name = "thread-mseal", .perform = in_thread, .act = seal_here, .traits = SEALS,
	 .covers = {{R_FEW, SET(PLAIN) | SET(EXACT)}}},
};

const struct family family_threads = {.name = "threads", .operations = operations, .count = COUNT(operations)};
