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

/* a: mode, of the pages that the range covers */
static long allocate_object(struct window *w, const struct operation *op)
{
	return sys(SYS_fallocate, w->object, op->a, offset_in(w, w->start), w->length);
}

/* a: seals of the object, which have nothing to do with those of mappings but the name */
static long seal_object(struct window *w, const struct operation *op)
{
	return sys(SYS_fcntl, w->object, 1033 /* F_ADD_SEALS */, op->a);
}

static void map_elsewhere(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mmap, w->destination, (size_t)w->units * w->unit, PROT_READ | PROT_WRITE, MAP_SHARED,
		      w->object, 0);

	(void)op;
	if (at == -1)
		fail_step(w, "mmap of the object elsewhere", errno);
	w->source = (char *)at;
}

static long write_elsewhere(struct window *w, const struct operation *op)
{
	char *from = w->source + (w->start - w->base);

	(void)op;
	for (char *at = from; at < from + w->length; at += w->unit) {
		if (!try_write(at)) {
			errno = EFAULT;
			return -1;
		}
	}
	return 0;
}

static long unmap_elsewhere(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, w->source, (size_t)w->units * w->unit);
}

static long remove_elsewhere(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_madvise, w->source + (w->start - w->base), w->length, ADV_REMOVE);
}

#define R_OBJECTS \
	(SET(CLEAN_R) | SET(COPIED_R) | SET(FILE_SHARED_RW) | SET(FILE_SHARED_R) | SET(MEMFD_SHARED_RW) | \
		SET(MEMFD_PRIVATE_RW))

#define R_MEMFDS (SET(MEMFD_SHARED_RW) | SET(MEMFD_PRIVATE_RW))

static const struct operation file_operations[] = {
	{.name = "file-truncate", .perform = truncate_object,
	 .covers = {{R_OBJECTS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "file-truncate-part", .perform = truncate_object, .a = 1, .covers = {{R_OBJECTS, SET(EXACT)}}},
	{.name = "file-punch-hole", .perform = punch_object, .covers = {{R_OBJECTS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "file-grow", .perform = truncate_object, .a = UNITS_MAX, .covers = {{R_OBJECTS, SET(EXACT)}}},
	{.name = "file-collapse-range", .perform = allocate_object, .a = 0x08, .covers = {{R_OBJECTS, SET(HEAD)}}},
	{.name = "file-zero-range", .perform = allocate_object, .a = 0x10, .covers = {{R_OBJECTS, SET(EXACT)}}},
	{.name = "file-insert-range", .perform = allocate_object, .a = 0x20, .covers = {{R_OBJECTS, SET(HEAD)}}},
	{.name = "file-seal-size", .perform = seal_object, .a = 2 | 4 /* F_SEAL_SHRINK, F_SEAL_GROW */,
	 .covers = {{R_MEMFDS, SET(EXACT)}}},
	{.name = "file-seal-write", .perform = seal_object, .a = 8 /* F_SEAL_WRITE */,
	 .covers = {{R_MEMFDS, SET(EXACT)}}},
	{.name = "file-seal-future-write", .perform = seal_object, .a = 0x10 /* F_SEAL_FUTURE_WRITE */,
	 .covers = {{R_MEMFDS, SET(EXACT)}}},
	{.name = "file-write-elsewhere", .prepare = map_elsewhere, .perform = write_elsewhere,
	 .covers = {{R_OBJECTS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "file-unmap-elsewhere", .prepare = map_elsewhere, .perform = unmap_elsewhere,
	 .covers = {{R_OBJECTS, SET(EXACT)}}},
	{.name = "file-remove-elsewhere", .prepare = map_elsewhere, .perform = remove_elsewhere,
	 .covers = {{R_OBJECTS, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "file-write", .perform = write_object, .covers = {{R_OBJECTS, SET(EXACT)}}},
};

const struct family family_file = {.name = "file", .operations = file_operations, .count = COUNT(file_operations)};
