/* SPDX-License-Identifier: MIT */
/*
 * Seal, then something that is permitted, then what is blocked: a seal survives it. The first step acts on the
 * range that the span covers (so that a part of a sealed mapping can be split off by it), the second on the whole window.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* ------------------------------------------------------------------ what comes first */

static long lock(struct window *w)
{
	return sys(SYS_mlock, w->start, w->length);
}

static long lock_unlock(struct window *w)
{
	return lock(w) ? -1 : sys(SYS_munlock, w->start, w->length);
}

static long lock_all(struct window *w)
{
	return (void)w, sys(SYS_mlockall, MCL_CURRENT | MCL_FUTURE) ? -1 : sys(SYS_munlockall);
}

static long advise(struct window *w, int advice)
{
	return sys(SYS_madvise, w->start, w->length, advice);
}

static long cold(struct window *w)
{
	return advise(w, ADV_COLD);
}

static long pageout(struct window *w)
{
	return advise(w, ADV_PAGEOUT);
}

static long random_reading(struct window *w)
{
	return advise(w, ADV_RANDOM);
}

static long sequential_reading(struct window *w)
{
	return advise(w, ADV_SEQUENTIAL);
}

static long no_dump(struct window *w)
{
	return advise(w, ADV_DONTDUMP);
}

static long huge_pages(struct window *w)
{
	return advise(w, ADV_HUGEPAGE);
}

static long no_huge_pages(struct window *w)
{
	return advise(w, ADV_NOHUGEPAGE);
}

static long mergeable(struct window *w)
{
	return advise(w, ADV_MERGEABLE);
}

static long keep_on_fork(struct window *w)
{
	return advise(w, ADV_KEEPONFORK);
}

static long bind(struct window *w)
{
	unsigned long nodes = 1;

	return sys(SYS_mbind, w->start, w->length, 2 /* MPOL_BIND */, &nodes, 64, 2 /* MPOL_MF_MOVE */);
}

static long name(struct window *w)
{
	return sys(SYS_prctl, 0x53564d41 /* PR_SET_VMA */, 0, w->start, w->length, "sealmatrix");
}

static long register_uffd(struct window *w)
{
	return register_range(open_userfaultfd(w, 0), w->start, w->length, UFFDIO_REGISTER_MODE_MISSING);
}

/* Closing unregisters. */
static long register_and_close_uffd(struct window *w)
{
	int fd = open_userfaultfd(w, 0);

	if (register_range(fd, w->start, w->length, UFFDIO_REGISTER_MODE_MISSING))
		return -1;
	return close(fd);
}

static long clear_soft_dirty(struct window *w)
{
	int fd = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	(void)w;
	return sys(SYS_write, fd, "4", 1) == 1 ? 0 : -1;
}

static long seal_again(struct window *w)
{
	return w->sealed ? sys_mseal(w->base, w->unit, 0) : 0;
}

static long fork_child(struct window *w)
{
	long pid = child_process();

	(void)w;
	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : await(pid);
}

/* Refused calls must leave nothing half done either. */
static long refused_unmap(struct window *w)
{
	if (w->sealed)
		sys(SYS_munmap, w->start, w->length);
	return 0;
}

static long map_like(struct window *w, char *at, size_t length)
{
	long got = sys(SYS_mmap, at, length, w->region->prot, w->region->flags | MAP_FIXED_NOREPLACE, w->object,
		       w->object < 0 ? 0 : at - w->base);

	return got == (long)at ? 0 : -1;
}

/* On both sides, as like the window as can be: the kernel may merge all three. */
static long neighbours(struct window *w)
{
	return map_like(w, w->base - w->unit, w->unit) ? -1 : map_like(w, unit_at(w, w->units), w->unit);
}

static long neighbours_come_and_go(struct window *w)
{
	if (neighbours(w) || sys(SYS_munmap, w->base - w->unit, w->unit))
		return -1;
	return sys(SYS_munmap, unit_at(w, w->units), w->unit);
}

/* A mapping that is moved there, rather than made there. */
static long neighbour_moves_in(struct window *w)
{
	long at = sys(SYS_mmap, DESTINATION, w->unit, w->region->prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *to = unit_at(w, w->units);

	if (at == -1)
		return -1;
	return sys(SYS_mremap, at, w->unit, w->unit, MREMAP_MAYMOVE | MREMAP_FIXED, to) == (long)to ? 0 : -1;
}

static long fill_gap(struct window *w)
{
	return map_like(w, w->start, w->length);
}

static long unmap_plain(struct window *w)
{
	return sys(SYS_munmap, w->start, w->length);
}

static long protect_plain(struct window *w)
{
	return sys(SYS_mprotect, w->start, w->length, PROT_READ | PROT_WRITE | PROT_EXEC);
}

/* Away from the sealed ones and back: what merges again must merge with the like of it only. */
static long protect_plain_and_back(struct window *w)
{
	return protect_plain(w) ? -1 : sys(SYS_mprotect, w->start, w->length, w->region->prot);
}

static const struct {
	const char *name;
	long (*act)(struct window *w);
} firsts[] = {
#define FIRST_STEPS(X) \
	X(lock) X(lock_unlock) X(lock_all) X(cold) X(pageout) X(random_reading) X(sequential_reading) X(no_dump) \
	X(huge_pages) X(no_huge_pages) X(mergeable) X(keep_on_fork) X(bind) X(name) X(register_uffd) \
	X(register_and_close_uffd) X(clear_soft_dirty) X(seal_again) X(fork_child) X(refused_unmap) X(neighbours) X(neighbours_come_and_go) X(neighbour_moves_in) \
	X(fill_gap) X(unmap_plain) X(protect_plain) X(protect_plain_and_back)
#define ENTRY(name) {#name, name},
	FIRST_STEPS(ENTRY)
};
#define ID(name) FIRST_##name,
enum { FIRST_STEPS(ID) };

/* ------------------------------------------------------------------ what comes then */

static struct window whole(const struct window *w)
{
	struct window all = *w;

	all.start = w->base;
	all.length = (size_t)w->units * w->unit;
	return all;
}

static long (*const seconds[])(struct window *, const struct operation *) = {
	unmap_here, map_here, protect_here, move_here, advise_here,
};
enum { UNMAP, MAP, PROTECT, MOVE, ADVISE };

/* a: the first step; b: the second */
static long sequence(struct window *w, const struct operation *op)
{
	/* What protect_here and advise_here take as their argument: no access, and MADV_DONTNEED. */
	const struct operation then = {.a = op->b == ADVISE ? ADV_DONTNEED : PROT_NONE};
	struct window all = whole(w);

	errno = 0;
	if (firsts[op->a].act(w))
		fail_step(w, firsts[op->a].name, errno);
	errno = 0;
	return seconds[op->b](&all, &then);
}

#define STEP(name, step, then, second, covers...) \
	{"after-" name "-" then, NULL, sequence, FIRST_##step, second, 0, {covers}}
#define CHANGES(name, step, covers...) \
	STEP(name, step, "munmap", UNMAP, covers), STEP(name, step, "mmap-fixed", MAP, covers), \
	STEP(name, step, "mprotect", PROTECT, covers)
/* The whole window is sealed, and a part of it, or all, is treated. */
#define AFTER_UNDISCARDED(name, step) \
	CHANGES(name, step, {SET(ANON_R), SET(EXACT) | SET(MIDDLE)}, {SET(SHARED_ANON_RW), SET(EXACT)}), \
	STEP(name, step, "mremap", MOVE, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(EXACT)})
#define AFTER(name, step) \
	AFTER_UNDISCARDED(name, step), \
	STEP(name, step, "madvise-dontneed", ADVISE, {SET(ANON_R), SET(EXACT) | SET(MIDDLE)})
/* Something plain between or beside sealed units is. */
#define BESIDE_PLAIN(name, step) CHANGES(name, step, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(BESIDE)})

static const struct operation operations[] = {
	AFTER_UNDISCARDED("mlock", lock), /* MADV_DONTNEED is not for locked memory */
	AFTER("munlock", lock_unlock),
	AFTER("munlockall", lock_all),
	AFTER("cold", cold),
	AFTER("pageout", pageout),
	AFTER("random", random_reading),
	AFTER("sequential", sequential_reading),
	AFTER("dontdump", no_dump),
	AFTER("hugepage", huge_pages),
	AFTER("nohugepage", no_huge_pages),
	AFTER("mergeable", mergeable),
	AFTER("keeponfork", keep_on_fork),
	AFTER("mbind", bind),
	AFTER("prctl-name", name),
	AFTER("uffd-register", register_uffd),
	AFTER("uffd-close", register_and_close_uffd),
	AFTER("clear-refs", clear_soft_dirty),
	AFTER("mseal-again", seal_again),
	AFTER("fork", fork_child),
	AFTER("refused-munmap", refused_unmap),
	AFTER("neighbours", neighbours),
	AFTER("neighbours-gone", neighbours_come_and_go),
	AFTER("neighbour-moved-in", neighbour_moves_in),
	CHANGES("gap-filled", fill_gap, {SET(ANON_R) | SET(CLEAN_R), SET(GAP_BETWEEN)}),
	STEP("plain-unmapped", unmap_plain, "munmap", UNMAP, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(BESIDE)}),
	STEP("plain-unmapped", unmap_plain, "mmap-fixed", MAP, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(BESIDE)}),
	BESIDE_PLAIN("plain-reprotected", protect_plain),
	BESIDE_PLAIN("plain-reprotected-back", protect_plain_and_back),
};

const struct family family_sequences = {"sequences", operations, COUNT(operations)};
