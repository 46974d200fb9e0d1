/* SPDX-License-Identifier: MIT */
/* Memory as programs make it that seal a part of theirs: a loader, an allocator, a library of threads. */
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "ops.h"
#include "regions.h"
#include "sys.h"

static size_t window_length(const struct window *w)
{
	return (size_t)w->units * w->unit;
}

/* ------------------------------------------------------------------ a shared object */

/* A unit of an object: its headers, its text, what is read-only once it is relocated (RELRO), its data. */
enum role { HEADERS, TEXT, RELOCATED, DATA, ROLES };

static enum role role_of(int unit)
{
	return (enum role)(unit % ROLES);
}

bool is_data(int unit)
{
	return role_of(unit) >= RELOCATED;
}

/*
 * All of it at once, so that nothing else comes between, and then each segment over that; RELRO and data are one. It is
 * in the file from that unit on, with which an object begins.
 */
long load_object(const struct window *w, char *at, int first, int units)
{
	long offset = first * (long)w->unit, length = units * (long)w->unit;

	if (sys(SYS_mmap, at, length, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, w->object, offset) != (long)at)
		return -1;
	for (int i = 0; i < units; i++) {
		bool both = role_of(i) == RELOCATED && i + 1 < units;
		int prot = PROT_READ | (role_of(i) == TEXT ? PROT_EXEC : PROT_WRITE);
		long here = i * (long)w->unit;

		if (role_of(i) == HEADERS || (role_of(i) == DATA && i))
			continue;
		if (sys(SYS_mmap, at + here, both ? 2 * w->unit : w->unit, prot, MAP_PRIVATE | MAP_FIXED, w->object,
			offset + here) != (long)(at + here))
			return -1;
	}
	return 0;
}

long protect_relocated(const struct window *w, char *at, int units)
{
	for (int i = 0; i < units; i++)
		if (role_of(i) == RELOCATED && sys(SYS_mprotect, at + i * (long)w->unit, w->unit, PROT_READ))
			return -1;
	return 0;
}

void make_dso(struct window *w)
{
	w->object = open_object(w, "file", "object", w->units);
	if (load_object(w, w->base, 0, w->units))
		fail_step(w, "mmap", errno);
	for (int i = 0; i < w->units; i++) {
		if (is_data(i))
			fill_unit(w, i, UNIT_FILL + i);
		else
			(void)*(volatile char *)unit_at(w, i);
	}
	if (protect_relocated(w, w->base, w->units))
		fail_step(w, "mprotect", errno);
}

/* ------------------------------------------------------------------ reserved first, and then a part of it used */

static void use_unit(struct window *w, int i)
{
	if (sys(SYS_mprotect, unit_at(w, i), w->unit, PROT_READ | PROT_WRITE))
		fail_step(w, "mprotect", errno);
	fill_unit(w, i, UNIT_FILL + i);
}

/* Every other unit is a slab, and those between them are guards. */
void make_slab(struct window *w)
{
	map_window(w, window_length(w), PROT_NONE, w->region->flags);
	for (int i = 1; i < w->units; i += 2)
		use_unit(w, i);
}

/* The guard is the first unit, for stacks grow down. */
void make_guarded_stack(struct window *w)
{
	map_window(w, window_length(w), PROT_NONE, w->region->flags);
	if (sys(SYS_mprotect, unit_at(w, 1), window_length(w) - w->unit, PROT_READ | PROT_WRITE))
		fail_step(w, "mprotect", errno);
	for (int i = 1; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
}

/* The same with a guard that takes no mapping of its own, as glibc has it where the kernel knows such. */
void make_stack_with_guard_region(struct window *w)
{
	map_window(w, window_length(w), PROT_READ | PROT_WRITE, w->region->flags);
	for (int i = 1; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
	if (sys(SYS_madvise, w->base, w->unit, ADV_GUARD_INSTALL))
		fail_step(w, "guard_install", errno);
}
