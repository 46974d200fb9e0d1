/* SPDX-License-Identifier: MIT */
/* System V segments, and remap_file_pages(2): other ways to put a mapping where there is one. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* Attached once, so that it lives until we are gone, though it is removed at once. */
static void make_segment(struct window *w, const struct operation *op)
{
	long id = sys(SYS_shmget, IPC_PRIVATE, w->length, IPC_CREAT | 0600);
	long at;

	(void)op;
	if (id < 0)
		fail_step(w, "shmget", errno);
	at = sys(SYS_shmat, id, w->destination, 0);
	if (sys(SYS_shmctl, id, IPC_RMID, NULL))
		fail_step(w, "shmctl", errno);
	if (at != (long)w->destination)
		fail_step(w, "shmat", errno);
	memset(w->destination, 0xc0, w->length);
	w->other = (int)id;
}

/* a: flags */
static long attach_over(struct window *w, const struct operation *op)
{
	long at = sys(SYS_shmat, w->other, w->start, op->a);

	return at == (long)w->start ? 0 : at;
}

static long detach(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_shmdt, w->base);
}

/* The range is to show the second page of the object onwards. */
static long remap_pages(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_remap_file_pages, w->start, w->length, 0, offset_in(w, w->start) / (long)w->unit + 1, 0);
}

#define R_REMAPPABLE (SET(MEMFD_SHARED_RW) | SET(FILE_SHARED_RW) | SET(SHARED_ANON_RW) | SET(FILE_SHARED_R))

static const struct operation operations[] = {
	{.name = "shmat-remap", .prepare = make_segment, .perform = attach_over, .a = SHM_REMAP,
	 .covers = {{R_TYPICAL | R_SYSV | SET(ANON_NONE) | SET(MEMFD_SHARED_RW), S_KEY},
		    {SET(ANON_RW), S_ALL | S_GAPS}}},
	{.name = "shmat-remap-read-only", .prepare = make_segment, .perform = attach_over, .a = SHM_REMAP | SHM_RDONLY,
	 .covers = {{R_TYPICAL, S_KEY}}},
	{.name = "shmat-occupied", .prepare = make_segment, .perform = attach_over,
	 .covers = {{R_TYPICAL, SET(EXACT) | SET(INTO)}}},
	{.name = "shmdt", .perform = detach,
	 .covers = {{R_SYSV, SET(EXACT) | SET(AROUND) | SET(FIRST) | SET(LAST)}}},
	{.name = "remap-file-pages", .perform = remap_pages,
	 .covers = {{R_REMAPPABLE, S_KEY | SET(MIDDLE) | SET(HEAD)}}},
};

const struct family family_shm = {.name = "shm", .operations = operations, .count = COUNT(operations)};
