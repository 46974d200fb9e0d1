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
	[LOCKED_RW] = {"anon-locked-rw", RW, PRIVATE_ANON, FILLED, make_locked},
	[LOCKED_R] = {"anon-locked-r", PROT_READ, PRIVATE_ANON, FILLED, make_locked},
	[UNTOUCHED_RW] = {"anon-untouched-rw", RW, PRIVATE_ANON, UNREAD, make_untouched},
	[UNTOUCHED_R] = {"anon-untouched-r", PROT_READ, PRIVATE_ANON, UNREAD, make_untouched},
	[UNTOUCHED_NONE] = {"anon-untouched-none", PROT_NONE, PRIVATE_ANON, UNREAD, make_untouched},
	[HUGE_R] = {"anon-huge-r", PROT_READ, PRIVATE_ANON, FILLED | POOLED, make_huge},
	[HUGE_PART_R] = {"anon-huge-part-r", PROT_READ, PRIVATE_ANON, FILLED | POOLED, make_huge_part},
	[HUGE_SCATTERED_R] = {"anon-huge-scattered-r", PROT_READ, PRIVATE_ANON, FILLED | POOLED, make_huge_scattered},
	[HUGE_SCATTERED_RW] = {"anon-huge-scattered-rw", RW, PRIVATE_ANON, FILLED | POOLED, make_huge_scattered},
	[HUGETLB_PRIVATE_RW] = {"hugetlb-private-rw", RW, PRIVATE_ANON | MAP_HUGETLB, FILLED | POOLED, make_hugetlb},
	[HUGETLB_PRIVATE_R] = {"hugetlb-private-r", PROT_READ, PRIVATE_ANON | MAP_HUGETLB, FILLED | POOLED, make_hugetlb},
	[HUGETLB_SHARED_RW] = {"hugetlb-shared-rw", RW, SHARED_ANON | MAP_HUGETLB, FILLED | POOLED, make_hugetlb},
	[HUGETLB_MEMFD_SHARED_RW] = {"hugetlb-memfd-shared-rw", RW, MAP_SHARED, FILLED | POOLED, make_hugetlb_memfd},
	[SYSV_RW] = {"sysv-shared-rw", RW, MAP_SHARED, FILLED, make_sysv},
	[SYSV_R] = {"sysv-shared-r", PROT_READ, MAP_SHARED, FILLED, make_sysv},
	[HEAP_RW] = {"heap-rw", RW, PRIVATE_ANON, FILLED, make_heap},
	[STACK_GROWING_RW] = {"stack-growing-rw", RW, PRIVATE_ANON | MAP_GROWSDOWN, FILLED, make_window},
	[STACK_THREAD_RW] = {"stack-thread-rw", RW, PRIVATE_ANON | MAP_STACK | MAP_NORESERVE, FILLED, make_window},
	[ZERO_RW] = {"zero-private-rw", RW, MAP_PRIVATE, FILLED, make_zero},
	[ZERO_R] = {"zero-private-r", PROT_READ, MAP_PRIVATE, FILLED, make_zero},
	[DROPPABLE_RW] = {"droppable-rw", RW, MAP_DROPPABLE | MAP_ANONYMOUS, FILLED, make_window},
	[PKEY_NO_WRITE_RW] = {"pkey-no-write-rw", RW, PRIVATE_ANON, FILLED, make_no_write_key},
	[PKEY_NO_ACCESS_RW] = {"pkey-no-access-rw", RW, PRIVATE_ANON, FILLED, make_no_access_key},
	[SECRETMEM_RW] = {"secretmem-shared-rw", RW, MAP_SHARED, FILLED, make_secretmem},
	[UFFD_MISSING_RW] = {"uffd-missing-rw", RW, PRIVATE_ANON, FILLED, make_uffd_missing},
	[UFFD_WP_RW] = {"uffd-wp-rw", RW, PRIVATE_ANON, FILLED, make_uffd_wp},
	[TEXT_RX] = {"text-rx", RX, MAP_PRIVATE, 0, make_text},
	[VDSO_RX] = {"vdso-rx", RX, 0, 0, make_vdso},
	[VVAR_R] = {"vvar-r", PROT_READ, 0, UNREAD, make_vvar},
	[VCLOCK_R] = {"vvar-vclock-r", PROT_READ, 0, UNREAD, make_vclock},
};
