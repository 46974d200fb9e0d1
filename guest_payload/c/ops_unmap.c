/* SPDX-License-Identifier: MIT */
/* Taking memory away, or putting other memory in its place. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

static long unmap(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, w->start, w->length);
}

static long unmap_short(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, w->start, short_length(w));
}

/* The range and all the nothing around it. */
static long unmap_far(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, beyond(w->start, -8 * (long)w->unit), w->length + 16 * w->unit);
}

static long unmap_tagged(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, tagged(w->start), w->length);
}

/* a: prot, b: flags; of what prepare() opened, if anything */
static long map_over(struct window *w, const struct operation *op)
{
	return sys(SYS_mmap, w->start, w->length, op->a, op->b, w->other, 0);
}

static void open_other_file(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = open_object(w, "file", "other", w->units);
}

static void open_other_memfd(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = open_object(w, "memfd", "other", w->units);
}

static void open_zero(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)sys(SYS_openat, AT_FDCWD, "/dev/zero", O_RDWR | O_CLOEXEC);
	if (w->other < 0)
		fail_step(w, "open of /dev/zero", errno);
}

/* b: flags; the region's own object again, with the region's protection: nothing but the mapping itself would change */
static long map_again(struct window *w, const struct operation *op)
{
	return sys(SYS_mmap, w->start, w->length, w->region->prot, op->b, w->object, offset_in(w, w->start));
}

/* Beside a sealed mapping, and as like it as can be, so that the kernel may merge the two. */
static long map_beside(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_mmap, w->start, w->length, w->region->prot, w->region->flags | MAP_FIXED_NOREPLACE, w->object,
		       w->object < 0 ? 0 : offset_in(w, w->start));
}

static const struct operation unmaps[] = {
	{.name = "munmap", .perform = unmap,
	 .covers = {{R_ALL, S_ALL}, {SET(ANON_MIXED), SET(EXACT) | SET(INTO) | SET(OUT_OF)},
		    {R_TYPICAL, S_GAPS | S_AMONG}, {R_SPECIAL | R_HUGE_ALL, SET(EXACT) | SET(INTO) | SET(MIDDLE)},
		    {R_SHAPED | SET(UNTOUCHED_GIGABYTES_R), S_KEY}, {R_RINGS, SET(EXACT)}}},
	{.name = "munmap-short", .perform = unmap_short,
	 .covers = {{R_TYPICAL, SET(EXACT) | SET(MIDDLE) | SET(LAST) | SET(INTO)}}},
	{.name = "munmap-far", .perform = unmap_far, .covers = {{R_TYPICAL, SET(EXACT) | SET(AROUND)}}},
	{.name = "munmap-tagged", .perform = unmap_tagged, .needs = NEED(TAGS),
	 .covers = {{SET(ANON_RW) | SET(MTE_RW), SET(EXACT) | SET(INTO)}}},
};

#define RW (PROT_READ | PROT_WRITE)
#define FIXED_PRIVATE (MAP_FIXED | MAP_PRIVATE)
#define FIXED_ANON (MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS)
#define R_OWN (SET(CLEAN_R) | SET(COPIED_R) | SET(FILE_SHARED_RW) | SET(MEMFD_SHARED_RW))

static const struct operation maps[] = {
	{.name = "mmap-fixed-anon", .perform = map_over, .a = RW, .b = FIXED_ANON, .traits = ADDRESS,
	 .covers = {{SET(ANON_RW), S_ALL | S_GAPS}, {R_ALL, S_KEY}, {SET(ANON_MIXED), SET(EXACT)},
		    {R_SPECIAL | R_HUGE_ALL | (R_RINGS & ~SET(AIO_RING_RW)), SET(EXACT)},
		    {R_TYPICAL, S_AMONG}, {R_SHAPED, S_KEY}}},
	{.name = "mmap-fixed-none", .perform = map_over, .a = PROT_NONE, .b = FIXED_ANON | MAP_NORESERVE,
	 .traits = ADDRESS, .covers = {{R_TYPICAL | SET(ANON_NONE) | SET(UNTOUCHED_GIGABYTES_R), S_KEY}}},
	{.name = "mmap-fixed-shared", .perform = map_over, .a = RW, .b = MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS,
	 .traits = ADDRESS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "mmap-fixed-file", .prepare = open_other_file, .perform = map_over, .a = PROT_READ,
	 .b = FIXED_PRIVATE, .traits = ADDRESS, .covers = {{R_TYPICAL | SET(CLEAN_R), S_KEY}}},
	{.name = "mmap-fixed-file-none", .prepare = open_other_file, .perform = map_over, .a = PROT_NONE,
	 .b = FIXED_PRIVATE, .traits = ADDRESS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "mmap-fixed-file-shared", .prepare = open_other_file, .perform = map_over, .a = RW,
	 .b = MAP_FIXED | MAP_SHARED, .traits = ADDRESS, .covers = {{R_TYPICAL | SET(FILE_SHARED_RW), S_KEY}}},
	{.name = "mmap-fixed-memfd", .prepare = open_other_memfd, .perform = map_over, .a = RW,
	 .b = MAP_FIXED | MAP_SHARED, .traits = ADDRESS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "mmap-fixed-again", .perform = map_again, .b = FIXED_PRIVATE, .traits = ADDRESS,
	 .covers = {{R_OWN, S_KEY}}},
	{.name = "mmap-fixed-locked", .perform = map_over, .a = RW, .b = FIXED_ANON | MAP_LOCKED, .traits = ADDRESS,
	 .covers = {{R_TYPICAL, SET(EXACT) | SET(INTO)}}},
	{.name = "mmap-fixed-populate", .perform = map_over, .a = PROT_READ, .b = FIXED_ANON | MAP_POPULATE,
	 .traits = ADDRESS, .covers = {{R_TYPICAL, SET(EXACT) | SET(INTO)}}},
	{.name = "mmap-fixed-growsdown", .perform = map_over, .a = RW, .b = FIXED_ANON | MAP_GROWSDOWN,
	 .traits = ADDRESS, .covers = {{R_TYPICAL, SET(EXACT) | SET(INTO)}}},
	{.name = "mmap-fixed-zero", .prepare = open_zero, .perform = map_over, .a = RW, .b = FIXED_PRIVATE,
	 .traits = ADDRESS, .covers = {{R_TYPICAL, SET(EXACT) | SET(INTO)}}},
	{.name = "mmap-noreplace", .perform = map_over, .a = RW,
	 .b = MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, .traits = ADDRESS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "mmap-hint", .perform = map_over, .a = RW, .b = MAP_PRIVATE | MAP_ANONYMOUS, .traits = ADDRESS,
	 .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "mmap-beside", .perform = map_beside, .traits = ADDRESS, .covers = {{R_ALL, S_BARE}}},
};

const struct family family_munmap = {.name = "munmap", .operations = unmaps, .count = COUNT(unmaps)};
const struct family family_mmap_fixed = {.name = "mmap-fixed", .operations = maps, .count = COUNT(maps)};
