/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "regions.h"
#include "sys.h"

enum { FILE_FILL = 0x50 };

static void *map(void *at, size_t length, int prot, int flags, int fd)
{
	return (void *)sys(SYS_mmap, at, length, prot, flags, fd, 0);
}

int unit_protection(const struct region *region, int i)
{
	static const int cycle[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};

	return region->traits & MIXED ? cycle[i % 4] : region->prot;
}

static bool protections_differ(const struct window *w)
{
	return w->region->traits & MIXED;
}

/* Give the units their final protections, with as few calls, and so as few mappings, as they allow. */
void protect_window(struct window *w)
{
	if (!protections_differ(w)) {
		if (w->region->prot != (PROT_READ | PROT_WRITE) &&
		    sys(SYS_mprotect, w->base, (size_t)w->units * w->unit, w->region->prot))
			fail_step(w, "mprotect", errno);
		return;
	}
	for (int i = 0; i < w->units; i++)
		if (sys(SYS_mprotect, unit_at(w, i), w->unit, unit_protection(w->region, i)))
			fail_step(w, "mprotect", errno);
}

/* Map so many bytes where the window is to be. */
char *map_window(struct window *w, size_t length, int prot, int flags)
{
	char *at = map(w->base, length, prot, flags | MAP_FIXED_NOREPLACE, w->object);

	if (at == MAP_FAILED)
		fail_step(w, "mmap", errno);
	if (at != w->base)
		fail_step(w, "the window's place", EEXIST);
	return at;
}

/* Every byte, or of a huge page the words that a snapshot reads. */
void fill_unit(const struct window *w, int i, int value)
{
	if (stride(w) == sizeof(uint64_t)) {
		fill(unit_at(w, i), value, w->unit);
		return;
	}
	for (size_t at = 0; at < w->unit; at += stride(w))
		fill(unit_at(w, i) + at, value, sizeof(uint64_t));
}

/* Map the whole window, fill it or at least read every page of it, and give it its final protections. */
void make_window(struct window *w)
{
	bool filled = w->region->traits & FILLED;
	/* What is never written is never mapped writable on the way either: the kernel may remember that it was. */
	int prot = filled ? PROT_READ | PROT_WRITE : w->region->prot;

	map_window(w, (size_t)w->units * w->unit, prot, w->region->flags);
	for (int i = 0; i < w->units; i++) {
		if (filled)
			fill_unit(w, i, UNIT_FILL + i);
		else
			(void)*(volatile char *)unit_at(w, i);
	}
	if (filled)
		protect_window(w);
}

/* reader: where a second descriptor goes, for reading only, or NULL */
static int anonymous_file(struct window *w, const char *name, int *reader)
{
	char path[32] = "sealmatrix.";
	char *p = path + strlen(path);
	int fd;

	/* Unique by the process, and gone at once: nothing is left behind even when we are killed. */
	for (long pid = getpid(); pid; pid /= 10)
		*p++ = (char)('0' + pid % 10);
	*p++ = '.';
	strcpy(p, name);
	fd = (int)sys(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		fail_step(w, "create a file in the working directory", errno);
	if (reader)
		*reader = (int)sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (sys(SYS_unlinkat, AT_FDCWD, path, 0))
		fail_step(w, "unlink", errno);
	return fd;
}

/*
 * By writing, which spares mapping, faulting and unmapping it. A trace has the mapping, for its calls
 * are to be written down: what the file holds is the same.
 */
static bool fill_object(int fd, int i, int value, size_t unit)
{
	static char contents[65536]; /* the largest page */
	long offset = i * (long)unit;
	void *at;

	if (unit <= sizeof(contents) && !tracing()) {
		memset(contents, value, unit);
		return sys(SYS_pwrite64, fd, contents, unit, offset) == (long)unit;
	}
	at = (void *)sys(SYS_mmap, NULL, unit, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (at == MAP_FAILED)
		return false;
	fill(at, value, unit);
	return sys(SYS_munmap, at, unit) == 0;
}

static void fill_units(struct window *w, int fd, int units)
{
	if (sys(SYS_ftruncate, fd, (size_t)units * w->unit))
		fail_step(w, "ftruncate", errno);
	for (int i = 0; i < units; i++)
		if (!fill_object(fd, i, FILE_FILL + i, w->unit))
			fail_step(w, "write to a new file", errno);
}

/* A file or a memfd of so many units, unit i holding 50+i. The name is what a snapshot calls it: keep it short. */
int open_object(struct window *w, const char *kind, const char *name, int units)
{
	bool memfd = strcmp(kind, "memfd") == 0;
	int fd = memfd ? (int)sys(SYS_memfd_create, name, 2 /* MFD_ALLOW_SEALING */) : anonymous_file(w, name, NULL);

	if (fd < 0)
		fail_step(w, "memfd_create", errno);
	fill_units(w, fd, units);
	return fd;
}

void make_file(struct window *w)
{
	w->object = open_object(w, "file", "file", w->units);
	make_window(w);
}

/* By a descriptor that is for reading only, so that no mapping of it can ever be made writable. */
void make_read_only_file(struct window *w)
{
	int fd = anonymous_file(w, "file", &w->object);

	if (w->object < 0)
		fail_step(w, "open of a new file", errno);
	fill_units(w, fd, w->units);
	if (sys(SYS_close, fd))
		fail_step(w, "close", errno);
	make_window(w);
}

void make_memfd(struct window *w)
{
	w->object = open_object(w, "memfd", "memfd", w->units);
	make_window(w);
}

#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define RWX (RW | PROT_EXEC)
#define PRIVATE_ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED_ANON (MAP_SHARED | MAP_ANONYMOUS)

const struct region regions[REGIONS] = {
#define REGION(id, make_it, ...) [id] = {.make = make_it, __VA_ARGS__},
#include "regions_table.h"
#undef REGION
};
