/* SPDX-License-Identifier: MIT */
/*
 * What programs do that live on sealing, or that sealing gets in the way of: their calls in their order, on memory as
 * they make it (regions_consumers.c). docs/reference/consumers.md has the programs, and what each needs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "sys.h"

#define RW (PROT_READ | PROT_WRITE)
#define RWX (RW | PROT_EXEC)

static long refused(int error)
{
	errno = error;
	return -1;
}

/* ------------------------------------------------------------------ a loader of shared objects */

/*
 * Each segment by a call of its own, in the order of the file, when all is loaded, relocated and protected; and once
 * more all of it, for an object may be reached twice: as a preloaded one, and as what another depends on.
 */
static long seal_segments(struct window *w, const struct operation *op)
{
	for (int i = 0; i < w->units; i++)
		if (sys_mseal(unit_at(w, i), w->unit, 0))
			return -1;
	return seal_here(w, op);
}

static long load_and_relocate(const struct window *w, char *at, int first, int units)
{
	if (load_object(w, at, first, units))
		return -1;
	for (int i = 0; i < units; i++)
		if (is_data(i) && !try_write(at + (size_t)i * w->unit))
			return refused(EFAULT);
	return protect_relocated(w, at, units);
}

/* An object is closed and opened again. */
static long reload(struct window *w, const struct operation *op)
{
	long first = offset_in(w, w->start) / (long)w->unit;

	return unmap_here(w, op) ? -1 : load_and_relocate(w, w->start, (int)first, (int)(w->length / w->unit));
}

/* The object cannot be closed, and is opened once more: it comes to lie elsewhere. */
static long open_again(struct window *w, const struct operation *op)
{
	unmap_here(w, op);
	if (load_and_relocate(w, w->destination, 0, w->units))
		return -1;
	return sys(SYS_munmap, w->destination, w->length);
}

/* a: prot, which lets somebody write there, who does */
static long write_into(struct window *w, const struct operation *op)
{
	if (protect_here(w, op))
		return -1;
	return try_write(w->start) ? 0 : refused(EFAULT);
}

/* What was prepared elsewhere is moved to its place, as a checkpoint is restored. */
static void prepare_elsewhere(struct window *w, const struct operation *op)
{
	(void)op;
	if (sys(SYS_mmap, w->destination, w->length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	    -1)
		fail_step(w, "mmap of a source", errno);
	fill(w->destination, UNIT_FILL, w->length);
}

static long move_over(struct window *w, const struct operation *op)
{
	long to = sys(SYS_mremap, w->destination, w->length, w->length, MREMAP_MAYMOVE | MREMAP_FIXED, w->start);

	(void)op;
	return to == (long)w->start ? 0 : -1;
}

/* The range and all the nothing around it: all that is not of the program that is restored. */
static long unmap_old(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, beyond(w->start, -8 * (long)w->unit), w->length + 16 * w->unit);
}

/* ------------------------------------------------------------------ code that is made at run time */

static long write_and_run(struct window *w, const struct operation *op)
{
	static const unsigned char code[] = {ARCH_RETURN};

	(void)op;
	for (char *at = w->start; at < w->start + w->length; at += w->unit) {
		memcpy(at, code, sizeof(code));
		__builtin___clear_cache(at, at + sizeof(code));
		if (!try_call((void (*)(void))(uintptr_t)at))
			return refused(EFAULT);
	}
	return 0;
}

/* To key 0, which everybody has. a: prot */
static long take_key_away(struct window *w, const struct operation *op)
{
	return sys(SYS_pkey_mprotect, w->start, w->length, op->a, 0);
}

/* Its pages go back to the kernel, and its place is kept. */
static long decommit(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mmap, w->start, w->length, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)op;
	return at == (long)w->start ? 0 : -1;
}

/* ------------------------------------------------------------------ an allocator */

/* A slab is emptied and used again. */
static long reuse_slab(struct window *w, const struct operation *op)
{
	if (!try_write(w->start))
		return refused(EFAULT);
	if (decommit(w, op) || sys(SYS_mprotect, w->start, w->length, RW))
		return -1;
	return try_write(w->start) ? 0 : refused(EFAULT);
}

/* It has no room between its guards, and moves. */
static long grow_slab(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mremap, w->start, w->length, 2 * w->length, MREMAP_MAYMOVE);

	(void)op;
	return at == -1 ? -1 : sys(SYS_munmap, at, 2 * w->length);
}

/* ------------------------------------------------------------------ a library of threads */

static int use_stack(void *window)
{
	volatile char local[256];

	(void)window;
	for (size_t i = 0; i < sizeof(local); i++)
		local[i] = (char)i;
	_exit(0);
}

static int overflow(void *window)
{
	*(volatile char *)((struct window *)window)->base = 1;
	_exit(0);
}

/* How what runs on the window, as its stack, ends: another process, for its end must not be ours. */
static int ends_on_stack(struct window *w, int (*run)(void *window))
{
	long pid = clone(run, unit_at(w, w->units), CLONE_VM | SIGCHLD, w);

	if (pid < 0)
		fail_step(w, "clone", errno);
	return await(pid);
}

static long run_on_stack(struct window *w, const struct operation *op)
{
	(void)op;
	return ends_on_stack(w, use_stack) ? refused(ECHILD) : 0;
}

static long overflow_stack(struct window *w, const struct operation *op)
{
	(void)op;
	return ends_on_stack(w, overflow) == 128 + SIGSEGV ? 0 : refused(ECHILD);
}

/* One thread ends, and another gets its stack. */
static long reuse_stack(struct window *w, const struct operation *op)
{
	if (run_on_stack(w, op) || sys(SYS_madvise, w->start, w->length, ADV_DONTNEED))
		return -1;
	return run_on_stack(w, op);
}

/* a: prot; the guard takes so many units (b) of a stack that is used again, or is given so back to it */
static long move_guard(struct window *w, const struct operation *op)
{
	return sys(SYS_mprotect, w->base, op->b * w->unit, op->a);
}

/* a: advice */
static long move_guard_region(struct window *w, const struct operation *op)
{
	return sys(SYS_madvise, w->base, op->b * w->unit, op->a);
}

/* ------------------------------------------------------------------ what OpenBSD says of its immutable memory */

static long seal_off_the_page(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start + 16, w->length, 0);
}

static long invalidate(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_msync, w->start, w->length, MS_SYNC | MS_INVALIDATE);
}

/* ------------------------------------------------------------------ the table */

#define R_JIT_KEYS (SET(JIT_KEY_OPEN_RWX) | SET(JIT_KEY_CLOSED_RWX))
#define R_JIT (SET(JIT_RWX) | R_JIT_KEYS)
#define R_GLOBALS (SET(ANON_R) | SET(COPIED_R))
#define R_GUARDED_STACKS (SET(STACK_GUARDED_MIXED) | SET(STACK_GUARD_REGION_RW))
#define R_SYSTEM (SET(VDSO_RX))

static const struct operation operations[] = {
	{.name = "consumer-loader-seal", .perform = seal_segments, .traits = SEALS,
	 .covers = {{SET(OBJECT_MIXED), SET(FOUR_PLAIN)}}},
	{.name = "consumer-loader-close", .perform = unmap_here,
	 .covers = {{SET(OBJECT_MIXED), SET(FOUR) | SET(BESIDE_FOUR)}}},
	{.name = "consumer-loader-reload", .perform = reload, .covers = {{SET(OBJECT_MIXED), SET(BESIDE_FOUR)}}},
	{.name = "consumer-loader-open-again", .perform = open_again, .covers = {{SET(OBJECT_MIXED), SET(FOUR)}}},
	{.name = "consumer-loader-relocate", .perform = write_into, .a = RW,
	 .covers = {{SET(OBJECT_MIXED), SET(THIRD)}}},
	{.name = "consumer-loader-patch", .perform = write_into, .a = RWX,
	 .covers = {{SET(OBJECT_MIXED), SET(SECOND) | SET(FOURTH) | SET(FOUR) | SET(FOURTH_PLAIN)}}},
	{.name = "consumer-loader-map-over", .perform = map_here,
	 .covers = {{SET(OBJECT_MIXED), SET(FOUR) | SET(SECOND)}}},
	{.name = "consumer-loader-discard", .perform = advise_here, .a = ADV_DONTNEED,
	 .covers = {{SET(OBJECT_MIXED), SET(FOUR) | SET(THIRD) | SET(FOURTH)}}},
	{.name = "consumer-restore-over", .prepare = prepare_elsewhere, .perform = move_over,
	 .covers = {{SET(OBJECT_MIXED), SET(FOUR) | SET(THIRD)}}},
	{.name = "consumer-restore-unmap-old", .perform = unmap_old,
	 .covers = {{SET(OBJECT_MIXED), SET(FOUR)}, {SET(ANON_RW), SET(AROUND)}}},

	{.name = "consumer-jit-run", .perform = write_and_run,
	 .covers = {{SET(JIT_RWX) | SET(JIT_KEY_OPEN_RWX), SET(EXACT) | SET(MIDDLE)}}},
	{.name = "consumer-jit-discard", .perform = advise_here, .a = ADV_DONTNEED,
	 .covers = {{R_JIT, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "consumer-jit-free", .perform = advise_here, .a = ADV_FREE,
	 .covers = {{R_JIT, SET(EXACT)}}},
	{.name = "consumer-jit-protect", .perform = protect_here, .a = PROT_READ | PROT_EXEC,
	 .covers = {{R_JIT, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "consumer-jit-key-away", .perform = take_key_away, .a = RW, .covers = {{R_JIT_KEYS, SET(EXACT)}}},
	{.name = "consumer-jit-decommit", .perform = decommit, .covers = {{R_JIT, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "consumer-jit-release", .perform = unmap_here, .covers = {{R_JIT, SET(EXACT)}}},

	{.name = "consumer-globals-write", .perform = write_into, .a = RW, .covers = {{R_GLOBALS, SET(EXACT)}}},
	{.name = "consumer-globals-discard", .perform = advise_here, .a = ADV_DONTNEED,
	 .covers = {{R_GLOBALS, SET(EXACT)}}},
	{.name = "consumer-slab-reuse", .perform = reuse_slab, .covers = {{SET(SLAB_MIXED), SET(BESIDE)}}},
	{.name = "consumer-slab-grow", .perform = grow_slab, .covers = {{SET(SLAB_MIXED), SET(BESIDE)}}},
	{.name = "consumer-slab-free", .perform = unmap_here,
	 .covers = {{SET(SLAB_MIXED), SET(BESIDE) | SET(ACROSS)}}},

	{.name = "consumer-stack-run", .perform = run_on_stack, .covers = {{R_GUARDED_STACKS, SET(ABOVE_FIRST)}}},
	{.name = "consumer-stack-overflow", .perform = overflow_stack,
	 .covers = {{R_GUARDED_STACKS, SET(ABOVE_FIRST)}}},
	{.name = "consumer-stack-reuse", .perform = reuse_stack, .covers = {{R_GUARDED_STACKS, SET(ABOVE_FIRST)}}},
	{.name = "consumer-stack-exit", .perform = advise_here, .a = ADV_DONTNEED,
	 .covers = {{R_GUARDED_STACKS, SET(FIRST_OF_FOUR)}}},
	{.name = "consumer-stack-free", .perform = unmap_here, .covers = {{R_GUARDED_STACKS, SET(FIRST_OF_FOUR)}}},
	{.name = "consumer-stack-larger-guard", .perform = move_guard, .a = PROT_NONE, .b = 2,
	 .covers = {{SET(STACK_GUARDED_MIXED), SET(FIRST_OF_FOUR)}}},
	{.name = "consumer-stack-no-guard", .perform = move_guard, .a = RW, .b = 1,
	 .covers = {{SET(STACK_GUARDED_MIXED), SET(FIRST_OF_FOUR)}}},
	{.name = "consumer-stack-larger-region", .perform = move_guard_region, .a = ADV_GUARD_INSTALL, .b = 2,
	 .covers = {{SET(STACK_GUARD_REGION_RW), SET(FIRST_OF_FOUR)}}},
	{.name = "consumer-stack-no-region", .perform = move_guard_region, .a = ADV_GUARD_REMOVE, .b = 1,
	 .covers = {{SET(STACK_GUARD_REGION_RW), SET(FIRST_OF_FOUR)}}},

	{.name = "consumer-system-park", .prepare = need_clock, .perform = park_system, .traits = SEALS,
	 .covers = {{R_SYSTEM, SET(SINGLE)}}},
	{.name = "consumer-system-unmap", .perform = unmap_system, .traits = SEALS,
	 .covers = {{R_SYSTEM, SET(SINGLE)}}},

	{.name = "consumer-immutable-hole", .perform = seal_here, .traits = SEALS,
	 .covers = {{SET(ANON_RW), S_HOLES}}},
	{.name = "consumer-immutable-unaligned", .perform = seal_off_the_page, .traits = SEALS,
	 .covers = {{SET(ANON_RW), SET(PLAIN)}}},
	{.name = "consumer-immutable-of-wiped", .perform = seal_here, .traits = SEALS,
	 .covers = {{SET(WIPED_R), SET(PLAIN)}}},
	{.name = "consumer-immutable-invalidate", .perform = invalidate,
	 .covers = {{SET(ANON_RW) | SET(ANON_R) | SET(FILE_SHARED_RW), SET(EXACT)}}},
	{.name = "consumer-immutable-discard", .perform = advise_here, .a = ADV_DONTNEED,
	 .covers = {{SET(ANON_RW) | SET(ANON_R), SET(EXACT)}}},
	{.name = "consumer-immutable-wipe", .perform = advise_here, .a = ADV_WIPEONFORK,
	 .covers = {{SET(ANON_RW) | SET(ANON_R), SET(EXACT)}}},
	{.name = "consumer-immutable-read-only", .perform = protect_here, .a = PROT_READ,
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
};

const struct family family_consumers = {.name = "consumers", .operations = operations, .count = COUNT(operations)};
