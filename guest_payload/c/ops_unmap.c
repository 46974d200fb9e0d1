/* SPDX-License-Identifier: MIT */
/* Taking memory away, or putting other memory in its place. */
#define _GNU_SOURCE
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
	return sys(SYS_munmap, w->start - 8 * w->unit, w->length + 16 * w->unit);
}

static long unmap_tagged(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, tagged(w, w->start), w->length);
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

/* b: flags; the region's own object again, with the region's protection: nothing but the mapping itself would change */
static long map_again(struct window *w, const struct operation *op)
{
	return sys(SYS_mmap, w->start, w->length, w->region->prot, op->b, w->object, w->start - w->base);
}

/* Beside a sealed mapping, and as like it as can be, so that the kernel may merge the two. */
static long map_beside(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_mmap, w->start, w->length, w->region->prot, w->region->flags | MAP_FIXED_NOREPLACE, w->object,
		       w->object < 0 ? 0 : w->start - w->base);
}

static const struct operation unmaps[] = {
	{"munmap", NULL, unmap, 0, 0, 0,
	 {{R_ALL, S_ALL}, {SET(ANON_MIXED), SET(EXACT) | SET(INTO) | SET(OUT_OF)}, {R_TYPICAL, S_GAPS},
	  {R_SPECIAL | R_HUGE_ALL, SET(EXACT) | SET(INTO) | SET(MIDDLE)}}},
	{"munmap-short", NULL, unmap_short, 0, 0, 0, {{R_TYPICAL, SET(EXACT) | SET(MIDDLE) | SET(LAST) | SET(INTO)}}},
	{"munmap-far", NULL, unmap_far, 0, 0, 0, {{R_TYPICAL, SET(EXACT) | SET(AROUND)}}},
	{"munmap-tagged", need_tags, unmap_tagged, 0, 0, 0, {{SET(ANON_RW), SET(EXACT) | SET(INTO)}}},
};

#define RW (PROT_READ | PROT_WRITE)
#define FIXED_PRIVATE (MAP_FIXED | MAP_PRIVATE)
#define FIXED_ANON (MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS)
#define R_OWN (SET(CLEAN_R) | SET(COPIED_R) | SET(FILE_SHARED_RW) | SET(MEMFD_SHARED_RW))

static const struct operation maps[] = {
	{"mmap-fixed-anon", NULL, map_over, RW, FIXED_ANON, ADDRESS,
	 {{SET(ANON_RW), S_ALL | S_GAPS}, {R_ALL, S_KEY}, {SET(ANON_MIXED), SET(EXACT)},
	  {R_SPECIAL | R_HUGE_ALL, SET(EXACT)}}},
	{"mmap-fixed-none", NULL, map_over, PROT_NONE, FIXED_ANON | MAP_NORESERVE, ADDRESS,
	 {{R_TYPICAL | SET(ANON_NONE), S_KEY}}},
	{"mmap-fixed-shared", NULL, map_over, RW, MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS, ADDRESS, {{R_TYPICAL, S_KEY}}},
	{"mmap-fixed-file", open_other_file, map_over, PROT_READ, FIXED_PRIVATE, ADDRESS,
	 {{R_TYPICAL | SET(CLEAN_R), S_KEY}}},
	{"mmap-fixed-file-none", open_other_file, map_over, PROT_NONE, FIXED_PRIVATE, ADDRESS, {{R_TYPICAL, S_KEY}}},
	{"mmap-fixed-file-shared", open_other_file, map_over, RW, MAP_FIXED | MAP_SHARED, ADDRESS,
	 {{R_TYPICAL | SET(FILE_SHARED_RW), S_KEY}}},
	{"mmap-fixed-memfd", open_other_memfd, map_over, RW, MAP_FIXED | MAP_SHARED, ADDRESS, {{R_TYPICAL, S_KEY}}},
	{"mmap-fixed-again", NULL, map_again, 0, FIXED_PRIVATE, ADDRESS, {{R_OWN, S_KEY}}},
	{"mmap-noreplace", NULL, map_over, RW, MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, ADDRESS,
	 {{R_TYPICAL, S_KEY}}},
	{"mmap-hint", NULL, map_over, RW, MAP_PRIVATE | MAP_ANONYMOUS, ADDRESS, {{R_TYPICAL, S_KEY}}},
	{"mmap-beside", NULL, map_beside, 0, 0, ADDRESS, {{R_ALL, S_BARE}}},
};

const struct family family_munmap = {"munmap", unmaps, COUNT(unmaps)};
const struct family family_mmap_fixed = {"mmap-fixed", maps, COUNT(maps)};
