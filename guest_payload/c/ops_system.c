/* SPDX-License-Identifier: MIT */
/*
 * Mappings the kernel made for us, which it may have sealed itself: those of CONFIG_MSEAL_SYSTEM_MAPPINGS, and the page
 * at address zero that programs of the personality MMAP_PAGE_ZERO get.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* ------------------------------------------------------------------ a new image and its page zero */

enum { NOT_EXECUTED = 126, NO_PAGE_ZERO = 127 }; /* exit statuses; those below are errors */

static const struct operation *named(const char *name);

int at_page_zero(const char *name)
{
	unsigned char resident;
	struct window zero = {.length = (size_t)sysconf(_SC_PAGESIZE), .destination = DESTINATION_BASE};
	const struct operation *op = named(name);

	if (sys(SYS_mincore, 0, zero.length, &resident))
		return NO_PAGE_ZERO;
	return !op ? NOT_EXECUTED : op->act(&zero, op) == -1 ? errno : 0;
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
	if (status > NO_PAGE_ZERO)
		add_extra(w, "child_status", status);
	errno = status > NO_PAGE_ZERO ? ECHILD : status;
	return status ? -1 : 0;
}

/* ------------------------------------------------------------------ the table */

#define R_KERNEL (SET(VDSO_RX) | SET(VVAR_R) | SET(VCLOCK_R))

static const struct operation operations[] = {
	{.name = "system-munmap", .perform = unmap_here, .traits = SEALS, .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "system-mprotect", .perform = protect_here, .a = PROT_NONE, .traits = SEALS,
	 .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "system-mmap-fixed", .perform = map_here, .traits = SEALS,
	 .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "system-mremap", .perform = move_here, .traits = SEALS, .covers = {{R_KERNEL, SET(SINGLE)}}},
	{.name = "smaps-mseal", .perform = seal_here, .traits = SEALS, .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "page-zero-munmap", .perform = new_image_acts, .act = unmap_here, .traits = NEW_IMAGE,
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "page-zero-mprotect", .perform = new_image_acts, .act = protect_here, .a = PROT_NONE,
	 .traits = NEW_IMAGE, .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "page-zero-mmap-fixed", .perform = new_image_acts, .act = map_here, .traits = NEW_IMAGE,
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
	{.name = "page-zero-mremap", .perform = new_image_acts, .act = move_here, .traits = NEW_IMAGE,
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
};

static const struct operation *named(const char *name)
{
	for (size_t i = 0; i < COUNT(operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	return NULL;
}

const struct family family_system = {.name = "system", .operations = operations, .count = COUNT(operations)};
