/* SPDX-License-Identifier: MIT */
/*
 * Seal, then something that is permitted, then what is blocked: a seal survives it. The first step acts on the
 * range that the span covers (so that a part of a sealed mapping can be split off by it), the second on the whole
 * window.
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

static long mergeable_and_back(struct window *w)
{
	return mergeable(w) ? -1 : advise(w, ADV_UNMERGEABLE);
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

/* Its number may be given to another; the memory keeps it, and the thread its rights. */
static long free_key(struct window *w)
{
	(void)w;
	return sys(SYS_pkey_free, window_key());
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
		       w->object < 0 ? 0 : offset_in(w, at));

	return got == (long)at ? 0 : -1;
}

/* On both sides, as like the window as can be: the kernel may merge all three. */
static long neighbours(struct window *w)
{
	return map_like(w, unit_at(w, -1), w->unit) ? -1 : map_like(w, unit_at(w, w->units), w->unit);
}

static long neighbours_come_and_go(struct window *w)
{
	if (neighbours(w) || sys(SYS_munmap, unit_at(w, -1), w->unit))
		return -1;
	return sys(SYS_munmap, unit_at(w, w->units), w->unit);
}

/* A mapping that is moved there, rather than made there. */
static long neighbour_moves_in(struct window *w)
{
	long at = sys(SYS_mmap, w->destination, w->unit, w->region->prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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

static const struct step first_lock = {.name = "lock", .act = lock};
static const struct step first_lock_unlock = {.name = "lock_unlock", .act = lock_unlock};
static const struct step first_lock_all = {.name = "lock_all", .act = lock_all, .traits = LONE};
static const struct step first_cold = {.name = "cold", .act = cold};
static const struct step first_pageout = {.name = "pageout", .act = pageout, .uses = NEED(SWAP)};
static const struct step first_random_reading = {.name = "random_reading", .act = random_reading};
static const struct step first_sequential_reading = {.name = "sequential_reading", .act = sequential_reading};
static const struct step first_no_dump = {.name = "no_dump", .act = no_dump};
static const struct step first_huge_pages = {.name = "huge_pages", .act = huge_pages};
static const struct step first_no_huge_pages = {.name = "no_huge_pages", .act = no_huge_pages};
static const struct step first_mergeable = {.name = "mergeable", .act = mergeable};
static const struct step first_mergeable_and_back = {.name = "mergeable_and_back", .act = mergeable_and_back};
static const struct step first_keep_on_fork = {.name = "keep_on_fork", .act = keep_on_fork};
static const struct step first_bind = {.name = "bind", .act = bind};
static const struct step first_name = {.name = "name", .act = name};
static const struct step first_register_uffd = {.name = "register_uffd", .act = register_uffd};
static const struct step first_register_and_close_uffd = {.name = "register_and_close_uffd",
	.act = register_and_close_uffd};
static const struct step first_clear_soft_dirty = {.name = "clear_soft_dirty", .act = clear_soft_dirty};
static const struct step first_seal_again = {.name = "seal_again", .act = seal_again};
static const struct step first_free_key = {.name = "free_key", .act = free_key};
static const struct step first_fork_child = {.name = "fork_child", .act = fork_child};
static const struct step first_refused_unmap = {.name = "refused_unmap", .act = refused_unmap};
static const struct step first_neighbours = {.name = "neighbours", .act = neighbours};
static const struct step first_neighbours_come_and_go = {.name = "neighbours_come_and_go",
	.act = neighbours_come_and_go};
static const struct step first_neighbour_moves_in = {.name = "neighbour_moves_in", .act = neighbour_moves_in};
static const struct step first_fill_gap = {.name = "fill_gap", .act = fill_gap};
static const struct step first_unmap_plain = {.name = "unmap_plain", .act = unmap_plain};
static const struct step first_protect_plain = {.name = "protect_plain", .act = protect_plain};
static const struct step first_protect_plain_and_back = {.name = "protect_plain_and_back",
	.act = protect_plain_and_back};

/* ------------------------------------------------------------------ what comes then */

static struct window whole(const struct window *w)
{
	struct window all = *w;

	all.start = w->base;
	all.length = (size_t)w->units * w->unit;
	return all;
}

/* a: of the second step */
static long sequence(struct window *w, const struct operation *op)
{
	struct window all = whole(w);

	errno = 0;
	if (op->first->act(w))
		fail_step(w, op->first->name, errno);
	errno = 0;
	return op->act(&all, op);
}

/* The second step: what it is called and done by, and what it takes as its argument. */
#define UNMAP "munmap", unmap_here, 0
#define MAP "mmap-fixed", map_here, 0
#define PROTECT "mprotect", protect_here, PROT_NONE
#define MOVE "mremap", move_here, 0
#define ADVISE "madvise-dontneed", advise_here, ADV_DONTNEED

#define STEP(what, step, second, covered...) STEP_THEN(what, step, second, {covered})
#define STEP_THEN(what, step, then, how, argument, ...) \
	{.name = "after-" what "-" then, .perform = sequence, .first = &first_##step, .act = how, .a = argument, \
	 .covers = __VA_ARGS__}
#define CHANGES(name, step, covers...) \
	STEP(name, step, UNMAP, covers), STEP(name, step, MAP, covers), \
	STEP(name, step, PROTECT, covers)
/* The whole window is sealed, and a part of it, or all, is treated. */
#define AFTER_UNDISCARDED(name, step) \
	CHANGES(name, step, {SET(ANON_R), SET(EXACT) | SET(MIDDLE)}, {SET(SHARED_ANON_RW), SET(EXACT)}), \
	STEP(name, step, MOVE, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(EXACT)})
#define AFTER(name, step) \
	AFTER_UNDISCARDED(name, step), \
	STEP(name, step, ADVISE, {SET(ANON_R), SET(EXACT) | SET(MIDDLE)})
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
	AFTER("mergeable-unmergeable", mergeable_and_back),
	AFTER("keeponfork", keep_on_fork),
	AFTER("mbind", bind),
	AFTER("prctl-name", name),
	AFTER("uffd-register", register_uffd),
	AFTER("uffd-close", register_and_close_uffd),
	AFTER("clear-refs", clear_soft_dirty),
	AFTER("mseal-again", seal_again),
	CHANGES("pkey-free", free_key, {SET(PKEY_NO_WRITE_RW), SET(EXACT)}),
	STEP("pkey-free", free_key, ADVISE, {R_CLOSED_KEYS, SET(EXACT) | SET(MIDDLE)}),
	AFTER("fork", fork_child),
	AFTER("refused-munmap", refused_unmap),
	AFTER("neighbours", neighbours),
	AFTER("neighbours-gone", neighbours_come_and_go),
	AFTER("neighbour-moved-in", neighbour_moves_in),
	CHANGES("gap-filled", fill_gap, {SET(ANON_R) | SET(CLEAN_R), SET(GAP_BETWEEN)}),
	STEP("plain-unmapped", unmap_plain, UNMAP, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(BESIDE)}),
	STEP("plain-unmapped", unmap_plain, MAP, {SET(ANON_R) | SET(SHARED_ANON_RW), SET(BESIDE)}),
	BESIDE_PLAIN("plain-reprotected", protect_plain),
	BESIDE_PLAIN("plain-reprotected-back", protect_plain_and_back),
};

const struct family family_sequences = {.name = "sequences", .operations = operations, .count = COUNT(operations)};
