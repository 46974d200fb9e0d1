/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

enum { FILE_FILL = 0x50, UNIT_FILL = 0xa0 };

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
static void protect(struct window *w)
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

/* Map the whole window, fill its units or at least touch them, and give them their final protections. */
static void make_window(struct window *w)
{
	bool filled = w->region->traits & FILLED;
	size_t length = (size_t)w->units * w->unit;
	/* What is never written is never mapped writable on the way either: the kernel may remember that it was. */
	int prot = filled ? PROT_READ | PROT_WRITE : w->region->prot;
	char *at = map(w->base, length, prot, w->region->flags | MAP_FIXED_NOREPLACE, w->object);

	if (at == MAP_FAILED)
		fail_step(w, "mmap", errno);
	if (at != w->base)
		fail_step(w, "the window's place", EEXIST);
	for (int i = 0; i < w->units; i++) {
		if (filled)
			fill(unit_at(w, i), UNIT_FILL + i, w->unit);
		else
			(void)*(volatile char *)unit_at(w, i);
	}
	if (filled)
		protect(w);
}

static int anonymous_file(struct window *w, const char *name)
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
	if (sys(SYS_unlinkat, AT_FDCWD, path, 0))
		fail_step(w, "unlink", errno);
	return fd;
}

/* A file or a memfd of so many units, unit i holding 50+i. The name is what a snapshot calls it: keep it short. */
int open_object(struct window *w, const char *kind, const char *name, int units)
{
	size_t length = (size_t)units * w->unit;
	bool memfd = strcmp(kind, "memfd") == 0;
	int fd = memfd ? (int)sys(SYS_memfd_create, name, 0) : anonymous_file(w, name);
	char *contents;

	if (fd < 0)
		fail_step(w, "memfd_create", errno);
	if (sys(SYS_ftruncate, fd, length))
		fail_step(w, "ftruncate", errno);
	contents = map(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	if (contents == MAP_FAILED)
		fail_step(w, "mmap of a new file", errno);
	for (int i = 0; i < units; i++)
		fill(contents + (size_t)i * w->unit, FILE_FILL + i, w->unit);
	if (sys(SYS_munmap, contents, length))
		fail_step(w, "munmap of a new file", errno);
	return fd;
}

static void make_file(struct window *w)
{
	w->object = open_object(w, "file", "file", w->units);
	make_window(w);
}

static void make_memfd(struct window *w)
{
	w->object = open_object(w, "memfd", "memfd", w->units);
	make_window(w);
}

#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define PRIVATE_ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED_ANON (MAP_SHARED | MAP_ANONYMOUS)

const struct region regions[REGIONS] = {
	[ANON_RW] = {"anon-rw", RW, PRIVATE_ANON, FILLED, make_window},
	[ANON_R] = {"anon-r", PROT_READ, PRIVATE_ANON, FILLED, make_window},
	[ANON_NONE] = {"anon-none", PROT_NONE, PRIVATE_ANON, FILLED, make_window},
	[ANON_RX] = {"anon-rx", RX, PRIVATE_ANON, FILLED, make_window},
	[ANON_MIXED] = {"anon-mixed", RW, PRIVATE_ANON, FILLED | MIXED, make_window},
	[SHARED_ANON_RW] = {"shared-anon-rw", RW, SHARED_ANON, FILLED, make_window},
	[SHARED_ANON_R] = {"shared-anon-r", PROT_READ, SHARED_ANON, FILLED, make_window},
	[CLEAN_R] = {"file-private-clean-r", PROT_READ, MAP_PRIVATE, 0, make_file},
	[CLEAN_RW] = {"file-private-clean-rw", RW, MAP_PRIVATE, 0, make_file},
	[COPIED_R] = {"file-private-copied-r", PROT_READ, MAP_PRIVATE, FILLED, make_file},
	[COPIED_RW] = {"file-private-copied-rw", RW, MAP_PRIVATE, FILLED, make_file},
	[FILE_SHARED_RW] = {"file-shared-rw", RW, MAP_SHARED, 0, make_file},
	[FILE_SHARED_R] = {"file-shared-r", PROT_READ, MAP_SHARED, 0, make_file},
	[MEMFD_SHARED_RW] = {"memfd-shared-rw", RW, MAP_SHARED, 0, make_memfd},
	[MEMFD_PRIVATE_RW] = {"memfd-private-rw", RW, MAP_PRIVATE, 0, make_memfd},
};
