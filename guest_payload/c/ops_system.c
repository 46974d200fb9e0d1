/* SPDX-License-Identifier: MIT */
/*
 * Mappings the kernel made for us, which it may have sealed itself: those of CONFIG_MSEAL_SYSTEM_MAPPINGS, and the page
 * at address zero that programs of the personality MMAP_PAGE_ZERO get.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "sys.h"

/* ------------------------------------------------------------------ a new image and its page zero */

/* Exit statuses; those below are errors. */
enum { UNREADABLE = 123, NOT_WHOLE, CHANGED, NOT_EXECUTED, NO_PAGE_ZERO };

static const struct operation *named(const char *name);

/* Whether the first of all mappings is the page, in its range and protection: 0, UNREADABLE, or what was asked for. */
static int look_at_page_zero(int otherwise)
{
	char line[32] = "", *dash;
	int fd = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
	bool told, whole;

	if (fd == -1)
		return UNREADABLE;
	told = read(fd, line, sizeof(line) - 1) == sizeof(line) - 1;
	sys(SYS_close, fd);
	if (!told)
		return UNREADABLE;
	whole = !strtoul(line, &dash, 16) && *dash == '-' &&
		strtoul(dash + 1, &dash, 16) == (unsigned long)sysconf(_SC_PAGESIZE) && !strncmp(dash, " r-xp ", 6);
	return whole ? 0 : otherwise;
}

int at_page_zero(const char *name)
{
	unsigned char resident;
	int error, seen;
	struct window zero = {.length = (size_t)sysconf(_SC_PAGESIZE), .destination = DESTINATION_BASE};
	const struct operation *op = named(name);

	if (sys(SYS_mincore, 0, zero.length, &resident))
		return NO_PAGE_ZERO;
	if (!op)
		return NOT_EXECUTED;
	seen = look_at_page_zero(NOT_WHOLE);
	if (seen)
		return seen;
	error = op->act(&zero, op) == -1 ? errno : 0;
	seen = error ? look_at_page_zero(CHANGED) : 0;
	return seen ? seen : error;
}

/* A child with the personality runs this program anew (main.c), which acts on the page. */
static long new_image_acts(struct window *w, const struct operation *op)
{
	char *const arguments[] = {"payload", "--at-page-zero", (char *)op->name, NULL};
	char *const environment[] = {NULL};
	long pid = child_process();
	int status;

	if (pid < 0)
		fail_step(w, "fork", errno);
	if (pid == 0) {
		if (personality(MMAP_PAGE_ZERO) != -1)
			sys(SYS_execve, "/proc/self/exe", arguments, environment);
		w->facts->error = errno;
		_exit(NOT_EXECUTED);
	}
	status = await(pid);
	if (status == NOT_EXECUTED)
		fail_step(w, "exec", w->facts->error);
	if (status == NO_PAGE_ZERO)
		fail_step(w, "page zero", EPERM); /* vm.mmap_min_addr; the kernel does not say more */
	if (status == UNREADABLE)
		fail_step(w, "read of /proc/self/maps", EIO);
	if (status > NO_PAGE_ZERO)
		add_extra(w, "child_status", status);
	else if (status) /* of a call that worked there is nothing to compare */
		add_text(w, "page_zero", status == NOT_WHOLE ? "not whole before" :
			status == CHANGED ? "changed by a refused call" : "kept");
	errno = status >= UNREADABLE ? ECHILD : status;
	return status ? -1 : 0;
}

/* ------------------------------------------------------------------ who moves or unmaps what the kernel mapped */

struct area {
	char *start;
	size_t length;
};

enum { SYSTEM_AREAS = 3 };

/* Those there are, and how many. */
static int system_areas(struct area areas[SYSTEM_AREAS])
{
	static const char *const names[SYSTEM_AREAS] = {"[vdso]", "[vvar]", "[vvar_vclock]"};
	int found = 0;

	for (int i = 0; i < SYSTEM_AREAS; i++) {
		areas[found].length = mapping_named(names[i], &areas[found].start);
		found += areas[found].length != 0;
	}
	return found;
}

/* Where in the vdso a function is, from its start; 0 where it has none of the name. */
static size_t function_in(const char *vdso, const char *name)
{
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)vdso;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(vdso + head->e_shoff);

	for (int i = 0; i < head->e_shnum; i++) {
		const Elf64_Sym *symbols = (const Elf64_Sym *)(vdso + sections[i].sh_offset);
		const char *names = vdso + sections[sections[i].sh_link].sh_offset;

		if (sections[i].sh_type != SHT_DYNSYM)
			continue;
		for (size_t k = 0; k < sections[i].sh_size / sizeof(*symbols); k++)
			if (!strcmp(names + symbols[k].st_name, name))
				return symbols[k].st_value;
	}
	return 0;
}

static struct {
	int (*tell)(clockid_t clock, struct timespec *now);
	struct timespec now;
} vdso_clock;

void need_clock(struct window *w, const struct operation *op)
{
	(void)op;
	if (!function_in(w->base, ARCH_VDSO_CLOCK))
		fail_step(w, "a clock in the vdso", EOPNOTSUPP);
}

static void read_clock(void)
{
	vdso_clock.tell(CLOCK_MONOTONIC, &vdso_clock.now);
}

/*
 * Out of the way of what is restored, each as far from the others as it was: code finds its data by that. Then the
 * clock is read, for which the vdso needs its data.
 */
long park_system(struct window *w, const struct operation *op)
{
	struct area areas[SYSTEM_AREAS];
	int count = system_areas(areas);
	char *parked = beyond(w->destination, 64 * sysconf(_SC_PAGESIZE));
	size_t clock = function_in(w->base, ARCH_VDSO_CLOCK);

	(void)op;
	for (int i = 0; i < count; i++) {
		char *to = beyond(parked, areas[i].start - w->base);

		if (sys(SYS_mremap, areas[i].start, areas[i].length, areas[i].length, MREMAP_MAYMOVE | MREMAP_FIXED,
			to) == -1)
			return -1;
	}
	vdso_clock.tell = (int (*)(clockid_t, struct timespec *))(uintptr_t)(parked + clock);
	if (try_call(read_clock) && vdso_clock.now.tv_sec + vdso_clock.now.tv_nsec)
		return 0;
	errno = EFAULT;
	return -1;
}

/* All of them by one call, as whoever wants the address space for itself. */
long unmap_system(struct window *w, const struct operation *op)
{
	struct area areas[SYSTEM_AREAS];
	int count = system_areas(areas);
	char *first = w->base, *end = w->base;

	(void)op;
	for (int i = 0; i < count; i++) {
		first = areas[i].start < first ? areas[i].start : first;
		end = areas[i].start + areas[i].length > end ? areas[i].start + areas[i].length : end;
	}
	return sys(SYS_munmap, first, end - first);
}

/* ------------------------------------------------------------------ the table */

#define R_KERNEL (SET(VDSO_RX) | SET(VVAR_R) | SET(VCLOCK_R) | SET(UPROBES_X))

#define SHADOW_STACK {SET(SHADOW_STACK_RW), SET(EXACT) | SET(MIDDLE)}

static const struct operation operations[] = {
	{.name = "system-munmap", .perform = unmap_here, .traits = SEALS, .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "system-mprotect", .perform = protect_here, .a = PROT_NONE, .traits = SEALS,
	 .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "system-mmap-fixed", .perform = map_here, .traits = SEALS,
	 .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "system-mremap", .perform = move_here, .traits = SEALS, .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "smaps-mseal", .perform = seal_here, .traits = SEALS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "shadow-stack-munmap", .perform = unmap_here, .covers = {SHADOW_STACK}},
	{.name = "shadow-stack-mmap-fixed", .perform = map_here, .covers = {SHADOW_STACK}},
	{.name = "shadow-stack-mremap", .perform = move_here, .covers = {SHADOW_STACK}},
	{.name = "shadow-stack-mprotect", .perform = protect_here, .a = PROT_NONE, .covers = {SHADOW_STACK}},
	{.name = "page-zero-munmap", .perform = new_image_acts, .act = unmap_here, .traits = NEW_IMAGE,
	 .needs = NEED(NO_MTE), .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "page-zero-mprotect", .perform = new_image_acts, .act = protect_here, .a = PROT_NONE,
	 .traits = NEW_IMAGE, .needs = NEED(NO_MTE), .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "page-zero-mmap-fixed", .perform = new_image_acts, .act = map_here, .traits = NEW_IMAGE,
	 .needs = NEED(NO_MTE), .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "page-zero-mremap", .perform = new_image_acts, .act = move_here, .traits = NEW_IMAGE,
	 .needs = NEED(NO_MTE), .covers = {{SET(ANON_RW), SET(EXACT)}}},
};

static const struct operation *named(const char *name)
{
	for (size_t i = 0; i < COUNT(operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	return NULL;
}

const struct family family_system = {.name = "system", .operations = operations, .count = COUNT(operations)};
