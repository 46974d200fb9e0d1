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

/* A file or a memfd of so many units, unit i holding 50+i. The name is what a snapshot calls it: keep it short. */
int open_object(struct window *w, const char *kind, const char *name, int units)
{
	size_t length = (size_t)units * w->unit;
	bool memfd = strcmp(kind, "memfd") == 0;
	int fd = memfd ? (int)sys(SYS_memfd_create, name, 2 /* MFD_ALLOW_SEALING */) : anonymous_file(w, name);

	if (fd < 0)
		fail_step(w, "memfd_create", errno);
	if (sys(SYS_ftruncate, fd, length))
		fail_step(w, "ftruncate", errno);
	for (int i = 0; i < units; i++)
		if (!fill_object(fd, i, FILE_FILL + i, w->unit))
			fail_step(w, "write to a new file", errno);
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
#define RWX (RW | PROT_EXEC)
#define PRIVATE_ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED_ANON (MAP_SHARED | MAP_ANONYMOUS)

const struct region regions[REGIONS] = {
	[ANON_RW] = {.name = "anon-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED, .make = make_window},
	[ANON_R] = {.name = "anon-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_window},
	[ANON_NONE] = {.name = "anon-none", .prot = PROT_NONE, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_window},
	[ANON_RX] = {.name = "anon-rx", .prot = RX, .flags = PRIVATE_ANON, .traits = FILLED, .make = make_window},
	[ANON_MIXED] = {.name = "anon-mixed", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED | MIXED,
		.make = make_window},
	[SHARED_ANON_RW] = {.name = "shared-anon-rw", .prot = RW, .flags = SHARED_ANON, .traits = FILLED,
		.make = make_window},
	[SHARED_ANON_R] = {.name = "shared-anon-r", .prot = PROT_READ, .flags = SHARED_ANON, .traits = FILLED,
		.make = make_window},
	[CLEAN_R] = {.name = "file-private-clean-r", .prot = PROT_READ, .flags = MAP_PRIVATE, .make = make_file},
	[CLEAN_RW] = {.name = "file-private-clean-rw", .prot = RW, .flags = MAP_PRIVATE, .make = make_file},
	[COPIED_R] = {.name = "file-private-copied-r", .prot = PROT_READ, .flags = MAP_PRIVATE, .traits = FILLED,
		.make = make_file},
	[COPIED_RW] = {.name = "file-private-copied-rw", .prot = RW, .flags = MAP_PRIVATE, .traits = FILLED,
		.make = make_file},
	[FILE_SHARED_RW] = {.name = "file-shared-rw", .prot = RW, .flags = MAP_SHARED, .make = make_file},
	[FILE_SHARED_R] = {.name = "file-shared-r", .prot = PROT_READ, .flags = MAP_SHARED, .make = make_file},
	[MEMFD_SHARED_RW] = {.name = "memfd-shared-rw", .prot = RW, .flags = MAP_SHARED, .make = make_memfd},
	[MEMFD_PRIVATE_RW] = {.name = "memfd-private-rw", .prot = RW, .flags = MAP_PRIVATE, .make = make_memfd},
	[LOCKED_RW] = {.name = "anon-locked-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_locked},
	[LOCKED_R] = {.name = "anon-locked-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_locked},
	[UNTOUCHED_RW] = {.name = "anon-untouched-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = UNREAD,
		.make = make_untouched},
	[UNTOUCHED_R] = {.name = "anon-untouched-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = UNREAD,
		.make = make_untouched},
	[UNTOUCHED_NONE] = {.name = "anon-untouched-none", .prot = PROT_NONE, .flags = PRIVATE_ANON, .traits = UNREAD,
		.make = make_untouched},
	[HUGE_R] = {.name = "anon-huge-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED | POOLED,
		.make = make_huge},
	[HUGE_PART_R] = {.name = "anon-huge-part-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
		.traits = FILLED | POOLED, .make = make_huge_part},
	[HUGE_SCATTERED_R] = {.name = "anon-huge-scattered-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
		.traits = FILLED | POOLED, .make = make_huge_scattered},
	[HUGE_SCATTERED_RW] = {.name = "anon-huge-scattered-rw", .prot = RW, .flags = PRIVATE_ANON,
		.traits = FILLED | POOLED, .make = make_huge_scattered},
	[HUGETLB_PRIVATE_RW] = {.name = "hugetlb-private-rw", .prot = RW, .flags = PRIVATE_ANON | MAP_HUGETLB,
		.traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES), .make = make_hugetlb},
	[HUGETLB_PRIVATE_R] = {.name = "hugetlb-private-r", .prot = PROT_READ, .flags = PRIVATE_ANON | MAP_HUGETLB,
		.traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES), .make = make_hugetlb},
	[HUGETLB_SHARED_RW] = {.name = "hugetlb-shared-rw", .prot = RW, .flags = SHARED_ANON | MAP_HUGETLB,
		.traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES), .make = make_hugetlb},
	[HUGETLB_MEMFD_SHARED_RW] = {.name = "hugetlb-memfd-shared-rw", .prot = RW, .flags = MAP_SHARED,
		.traits = FILLED | POOLED, .needs = NEED(HUGE_PAGES), .make = make_hugetlb_memfd},
	[SYSV_RW] = {.name = "sysv-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = FILLED, .make = make_sysv},
	[SYSV_R] = {.name = "sysv-shared-r", .prot = PROT_READ, .flags = MAP_SHARED, .traits = FILLED,
		.make = make_sysv},
	[HEAP_RW] = {.name = "heap-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED | SINGULAR,
		.make = make_heap},
	[STACK_GROWING_RW] = {.name = "stack-growing-rw", .prot = RW, .flags = PRIVATE_ANON | MAP_GROWSDOWN,
		.traits = FILLED | GROWS, .make = make_window},
	[STACK_THREAD_RW] = {.name = "stack-thread-rw", .prot = RW,
		.flags = PRIVATE_ANON | MAP_STACK | MAP_NORESERVE, .traits = FILLED, .make = make_window},
	[ZERO_RW] = {.name = "zero-private-rw", .prot = RW, .flags = MAP_PRIVATE, .traits = FILLED,
		.make = make_zero},
	[ZERO_R] = {.name = "zero-private-r", .prot = PROT_READ, .flags = MAP_PRIVATE, .traits = FILLED,
		.make = make_zero},
	[DROPPABLE_RW] = {.name = "droppable-rw", .prot = RW, .flags = MAP_DROPPABLE | MAP_ANONYMOUS, .traits = FILLED,
		.make = make_window},
	[PKEY_NO_WRITE_RW] = {.name = "pkey-no-write-rw", .prot = RW, .flags = PRIVATE_ANON,
		.traits = FILLED, .needs = NEED(KEYS), .make = make_no_write_key},
	[PKEY_NO_ACCESS_RW] = {.name = "pkey-no-access-rw", .prot = RW, .flags = PRIVATE_ANON,
		.traits = FILLED | NO_READS, .needs = NEED(KEYS), .make = make_no_access_key},
	[PKEY_OPEN_RW] = {.name = "pkey-open-rw", .prot = RW, .flags = PRIVATE_ANON,
		.traits = FILLED, .needs = NEED(KEYS), .make = make_open_key},
	[SECRETMEM_RW] = {.name = "secretmem-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = FILLED,
		.make = make_secretmem},
	[UFFD_MISSING_RW] = {.name = "uffd-missing-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_uffd_missing},
	[UFFD_WP_RW] = {.name = "uffd-wp-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_uffd_wp},
	[TEXT_RX] = {.name = "text-rx", .prot = RX, .flags = MAP_PRIVATE, .traits = SINGULAR, .make = make_text},
	[VDSO_RX] = {.name = "vdso-rx", .prot = RX, .mapping = "[vdso]", .traits = SINGULAR,
		.make = find_system_mapping},
	[VVAR_R] = {.name = "vvar-r", .prot = PROT_READ, .traits = UNREAD | SINGULAR,
		.mapping = "[vvar]", .make = find_system_mapping},
	[VCLOCK_R] = {.name = "vvar-vclock-r", .prot = PROT_READ, .traits = UNREAD | SINGULAR,
		.mapping = "[vvar_vclock]", .make = find_system_mapping},
	[UPROBES_X] = {.name = "uprobes-x", .prot = PROT_EXEC, .traits = UNREAD | SINGULAR,
		.mapping = "[uprobes]", .make = make_uprobes},
	[BTI_RX] = {.name = "anon-bti-rx", .prot = RX, .flags = PRIVATE_ANON, .traits = FILLED,
		.needs = NEED(BTI), .make = make_branch_targets},
	[MTE_R] = {.name = "anon-mte-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.needs = NEED(MTE), .make = make_tagged_memory},
	[MTE_RW] = {.name = "anon-mte-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
		.needs = NEED(MTE), .make = make_tagged_memory},
	[SHADOW_STACK_RW] = {.name = "shadow-stack-rw", .prot = RW, .make = make_shadow_stack},
	[LADEN_R] = {.name = "anon-laden-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_laden},
	[LADEN_RW] = {.name = "anon-laden-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_laden},
	[SHARED_LADEN_RW] = {.name = "shared-anon-laden-rw", .prot = RW, .flags = SHARED_ANON, .traits = FILLED,
		.make = make_laden},
	[POLICY_R] = {.name = "anon-policy-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_policy},
	[NAMED_R] = {.name = "anon-named-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_named},
	[MERGEABLE_R] = {.name = "anon-mergeable-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_mergeable},
	[ONFAULT_R] = {.name = "anon-locked-on-fault-r", .prot = PROT_READ, .flags = PRIVATE_ANON,
		.traits = FILLED, .make = make_locked_on_fault},
	[WIDE_R] = {.name = "anon-wide-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_wide},
	[PIECES_R] = {.name = "anon-pieces-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_pieces},
	[UNTOUCHED_VAST_R] = {.name = "anon-untouched-vast-r", .prot = PROT_READ, .flags = PRIVATE_ANON | MAP_NORESERVE,
		.traits = UNREAD, .make = make_vast},
	[LOW_R] = {.name = "anon-low-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_low},
	[WIPED_R] = {.name = "anon-wipeonfork-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_wiped},
	[NOT_COPIED_R] = {.name = "anon-dontfork-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_not_copied},
	[GUARDED_R] = {.name = "anon-guarded-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_guarded},
	[GUARDED_RW] = {.name = "anon-guarded-rw", .prot = RW, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_guarded},
	[OBJECT_MIXED] = {.name = "object-mixed", .prot = PROT_READ, .flags = MAP_PRIVATE, .make = make_dso},
	[JIT_RWX] = {.name = "jit-rwx", .prot = RWX, .flags = PRIVATE_ANON, .traits = FILLED, .make = make_window},
	[JIT_KEY_OPEN_RWX] = {.name = "jit-key-open-rwx", .prot = RWX, .flags = PRIVATE_ANON,
		.traits = FILLED, .needs = NEED(KEYS), .make = make_open_key},
	[JIT_KEY_CLOSED_RWX] = {.name = "jit-key-closed-rwx", .prot = RWX, .flags = PRIVATE_ANON,
		.traits = FILLED, .needs = NEED(KEYS), .make = make_no_write_key},
	[SLAB_MIXED] = {.name = "slab-mixed", .prot = PROT_NONE, .flags = PRIVATE_ANON, .make = make_slab},
	[STACK_GUARDED_MIXED] = {.name = "stack-guarded-mixed", .prot = RW,
		.flags = PRIVATE_ANON | MAP_STACK | MAP_NORESERVE, .make = make_guarded_stack},
	[STACK_GUARD_REGION_RW] = {.name = "stack-guard-region-rw", .prot = RW,
		.flags = PRIVATE_ANON | MAP_STACK | MAP_NORESERVE, .make = make_stack_with_guard_region},
	[AIO_RING_RW] = {.name = "aio-ring-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = SINGULAR,
		.make = make_aio_ring},
	[PERF_RING_RW] = {.name = "perf-ring-shared-rw", .prot = RW, .flags = MAP_SHARED, .make = make_perf_ring},
	[URING_RW] = {.name = "uring-ring-shared-rw", .prot = RW, .flags = MAP_SHARED, .traits = SINGULAR,
		.make = make_uring},
	[HIGH_R] = {.name = "anon-high-r", .prot = PROT_READ, .flags = PRIVATE_ANON, .traits = FILLED,
		.make = make_high},
};
