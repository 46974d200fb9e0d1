/* SPDX-License-Identifier: MIT */
/* Writing as a debugger does, past the protection of the memory, and writing as anybody may. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

enum { FORCED = 0x66 }; /* what is written */

/* Every page of the range, a word each; short of the first is a failure, short of the last is told. */
static long write_by(struct window *w, long (*put)(struct window *w, char *at, const long *word))
{
	long word;

	memset(&word, FORCED, sizeof(word));
	for (char *at = w->start; at < w->start + w->length; at += w->unit)
		if (put(w, at, &word) != 0)
			return at == w->start ? -1 : (at - w->start) / (long)w->unit;
	return 0;
}

static long put_by_file(struct window *w, char *at, const long *word)
{
	return sys(SYS_pwrite64, w->other, word, sizeof(*word), at) == sizeof(*word) ? 0 : -1;
}

static void open_mem(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (w->other < 0)
		fail_step(w, "open of /proc/self/mem", errno);
}

static long write_mem(struct window *w, const struct operation *op)
{
	(void)op;
	return write_by(w, put_by_file);
}

static long put_by_process_vm(struct window *w, char *at, const long *word)
{
	struct iovec from = {(void *)word, sizeof(*word)}, to = {at, sizeof(*word)};

	(void)w;
	return sys(SYS_process_vm_writev, getpid(), &from, 1, &to, 1, 0) == sizeof(*word) ? 0 : -1;
}

static long write_process_vm(struct window *w, const struct operation *op)
{
	(void)op;
	return write_by(w, put_by_process_vm);
}

/* ------------------------------------------------------------------ a child that traces us */

static pid_t traced;

static long put_by_ptrace(struct window *w, char *at, const long *word)
{
	(void)w;
	return sys(SYS_ptrace, PTRACE_POKEDATA, traced, at, *word);
}

/* Its own copy of the descriptor opened before the fork is still of our memory, and we are being traced now. */
static long trace_and(struct window *w, long (*put)(struct window *w, char *at, const long *word))
{
	struct facts *f = w->facts;
	int status;
	long pid;

	traced = getpid();
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* where Yama asks for it */
	f->result = -1;
	f->error = ECHILD;
	pid = child_process();
	if (pid < 0)
		fail_step(w, "fork", errno);
	if (pid == 0) {
		if (sys(SYS_ptrace, PTRACE_SEIZE, traced, 0, 0) || sys(SYS_ptrace, PTRACE_INTERRUPT, traced, 0, 0))
			fail_step(w, "ptrace", errno);
		waitpid(traced, &status, __WALL);
		errno = 0;
		f->result = write_by(w, put);
		f->error = f->result == -1 ? errno : 0;
		sys(SYS_ptrace, PTRACE_DETACH, traced, 0, 0);
		_exit(0);
	}
	await(pid);
	if (f->step)
		leave_half();
	errno = f->error;
	return f->result;
}

static long poke(struct window *w, const struct operation *op)
{
	(void)op;
	return trace_and(w, put_by_ptrace);
}

static long write_mem_traced(struct window *w, const struct operation *op)
{
	(void)op;
	return trace_and(w, put_by_file);
}

#define R_READ_ONLY (SET(ANON_R) | SET(ANON_NONE) | SET(ANON_RX) | SET(CLEAN_R) | SET(COPIED_R) | SET(TEXT_RX))
#define R_FORCED (R_READ_ONLY | SET(FILE_SHARED_R) | SET(ANON_RW))
#define EVERYWHERE {{R_FORCED, SET(EXACT)}, {SET(ANON_R), SET(INTO)}}

static const struct operation operations[] = {
	{.name = "proc-mem-write", .prepare = open_mem, .perform = write_mem, .covers = EVERYWHERE},
	{.name = "proc-mem-write-traced", .prepare = open_mem, .perform = write_mem_traced,
	 .covers = EVERYWHERE},
	{.name = "ptrace-poke", .perform = poke, .covers = EVERYWHERE},
	{.name = "process-vm-write", .perform = write_process_vm, .covers = EVERYWHERE},
};

const struct family family_force = {.name = "force", .operations = operations, .count = COUNT(operations)};

/* ------------------------------------------------------------------ the object behind a mapping changes */

/* a: the new length in units */
static long truncate_object(struct window *w, const struct operation *op)
{
	return sys(SYS_ftruncate, w->object, op->a * w->unit);
}

/* PUNCH_HOLE | KEEP_SIZE */
static long punch_object(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_fallocate, w->object, 3, offset_in(w, w->start), w->length);
}

static long write_object(struct window *w, const struct operation *op)
{
	static const char other[64] = "others may write to a file";

	(void)op;
	return sys(SYS_pwrite64, w->object, other, sizeof(other), offset_in(w, w->start)) == sizeof(other) ? 0 : -1;
}

#define R_OBJECTS \
	(SET(CLEAN_R) | SET(COPIED_R) | SET(FILE_SHARED_RW) | SET(FILE_SHARED_R) | SET(MEMFD_SHARED_RW) | \
		SET(MEMFD_PRIVATE_RW))

static const struct operation file_operations[] = {
	{.name = "file-truncate", .perform = truncate_object,
	 .covers = {{R_OBJECTS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "file-truncate-part", .perform = truncate_object, .a = 1, .covers = {{R_OBJECTS, SET(EXACT)}}},
	{.name = "file-punch-hole", .perform = punch_object, .covers = {{R_OBJECTS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "file-write", .perform = write_object, .covers = {{R_OBJECTS, SET(EXACT)}}},
};

const struct family family_file = {.name = "file", .operations = file_operations, .count = COUNT(file_operations)};
