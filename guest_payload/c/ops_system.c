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

static const struct operation acts[] = {
	{"munmap", NULL, unmap_here, 0, 0, 0, {{0, 0}}},
	{"mprotect", NULL, protect_here, PROT_NONE, 0, 0, {{0, 0}}},
	{"mmap-fixed", NULL, map_here, 0, 0, 0, {{0, 0}}},
	{"mremap", NULL, move_here, 0, 0, 0, {{0, 0}}},
};

int at_page_zero(const char *name)
{
	unsigned char resident;
	struct window zero = {.length = (size_t)sysconf(_SC_PAGESIZE)};

	if (sys(SYS_mincore, 0, zero.length, &resident))
		return NO_PAGE_ZERO;
	for (const struct operation *act = acts; act < acts + COUNT(acts); act++) {
		if (!strcmp(act->name, name))
			return act->perform(&zero, act) == -1 ? errno : 0;
	}
	return NOT_EXECUTED;
}

/* A child with the personality runs this program anew (main.c), which acts on the page. */
static long new_image_acts(struct window *w, const struct operation *op)
{
	char *const arguments[] = {"payload", "--at-page-zero", (char *)acts[op->a].name, NULL};
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

/* What smaps shows is in every snapshot of a half that seals; here it is what matters. */
static long seal_here(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start, w->length, 0);
}

/* ------------------------------------------------------------------ the table */

#define R_KERNEL (SET(VDSO_RX) | SET(VVAR_R) | SET(VCLOCK_R))

static const struct operation operations[] = {
	{"system-munmap", NULL, unmap_here, 0, 0, SEALS, {{R_KERNEL, SET(SINGLE)}}},
	{"system-mprotect", NULL, protect_here, PROT_NONE, 0, SEALS, {{R_KERNEL, SET(SINGLE)}}},
	{"system-mmap-fixed", NULL, map_here, 0, 0, SEALS, {{R_KERNEL, SET(SINGLE)}}},
	{"system-mremap", NULL, move_here, 0, 0, SEALS, {{R_KERNEL, SET(SINGLE)}}},
	{"smaps-mseal", NULL, seal_here, 0, 0, SEALS, {{R_TYPICAL, S_KEY}}},
	{"page-zero-munmap", NULL, new_image_acts, 0, 0, 0, {{SET(ANON_RW), SET(EXACT)}}},
	{"page-zero-mprotect", NULL, new_image_acts, 1, 0, 0, {{SET(ANON_RW), SET(EXACT)}}},
	{"page-zero-mmap-fixed", NULL, new_image_acts, 2, 0, 0, {{SET(ANON_RW), SET(EXACT)}}},
	{"page-zero-mremap", NULL, new_image_acts, 3, 0, 0, {{SET(ANON_RW), SET(EXACT)}}},
};

const struct family family_system = {"system", operations, COUNT(operations)};
