/* SPDX-License-Identifier: MIT */
/* Seals and processes: inherited by fork, shared by vfork, gone with exec and exit. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* ------------------------------------------------------------------ a child acts on what it inherited */

long unmap_here(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_munmap, w->start, w->length);
}

long protect_here(struct window *w, const struct operation *op)
{
	return sys(SYS_mprotect, w->start, w->length, op->a);
}

long map_here(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mmap, w->start, w->length, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)op;
	return at == (long)w->start ? 0 : at;
}

long move_here(struct window *w, const struct operation *op)
{
	long at = sys(SYS_mremap, w->start, w->length, w->length, MREMAP_MAYMOVE | MREMAP_FIXED, w->destination);

	(void)op;
	return at == (long)w->destination ? 0 : at;
}

long advise_here(struct window *w, const struct operation *op)
{
	return sys(SYS_madvise, w->start, w->length, op->a);
}

/* ------------------------------------------------------------------ a child seals, the parent unmaps */

long seal_here(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start, w->length, 0);
}

/* The child's own mseal goes into the extras; the result is the parent's munmap. */
static long child_seals(struct window *w, const struct operation *op)
{
	long sealed = in_child(w, op);

	add_extra(w, "child_mseal", sealed ? errno : 0);
	return unmap_here(w, op);
}

static int seal_and_exit(void *argument)
{
	struct window *w = argument;

	_exit(sys_mseal(w->start, w->length, 0) ? errno : 0);
}

/* vfork by clone(2), with a stack of its own: the C library's vfork may be a fork. The child shares our memory. */
static long vforked_child_seals(struct window *w, const struct operation *op)
{
	static char stack[16384] __attribute__((aligned(16)));
	long pid = clone(seal_and_exit, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, w);

	if (pid < 0)
		fail_step(w, "vfork", errno);
	add_extra(w, "child_mseal", await(pid));
	return unmap_here(w, op);
}

/* ------------------------------------------------------------------ exec and exit */

/*
 * A child with the window runs this program anew (main.c, AFTER_EXEC), which looks for seals and maps and unmaps the
 * window's place. The result is its exit status: 0 when it found no trace of the old image.
 */
static void *run_anew(void *argument)
{
	struct window *w = argument;
	char base[24], length[24];
	char *const arguments[] = {"payload", "--after-exec", base, length, NULL};
	char *const environment[] = {NULL};

	snprintf(base, sizeof(base), "%lu", (unsigned long)w->base);
	snprintf(length, sizeof(length), "%lu", (unsigned long)w->units * w->unit);
	sys(SYS_execve, "/proc/self/exe", arguments, environment);
	w->facts->error = errno;
	_exit(127);
}

/* a: whether by a thread that is not the first */
static long child_execs(struct window *w, const struct operation *op)
{
	long pid = child_process();
	pthread_t thread;
	int status;

	if (pid < 0)
		fail_step(w, "fork", errno);
	if (pid == 0) {
		if (!op->a)
			run_anew(w);
		w->facts->error = pthread_create(&thread, NULL, run_anew, w);
		while (!w->facts->error)
			pause();
		_exit(127);
	}
	status = await(pid);
	errno = w->facts->error;
	return status == 127 ? -1 : status;
}

/* Seals must not keep a process from ending, nor its memory from going with it. */
static long child_exits(struct window *w, const struct operation *op)
{
	long pid = child_process();

	(void)op;
	if (pid < 0)
		fail_step(w, "fork", errno);
	if (pid == 0)
		_exit(0);
	return await(pid);
}

/* ------------------------------------------------------------------ what a child sees */

enum { NOTHING_THERE = 256 }; /* and no byte */

static long read_here(struct window *w, const struct operation *op)
{
	unsigned char byte = 0;
	struct iovec into = {&byte, 1}, from = {w->start, 1};

	(void)op;
	if (sys(SYS_process_vm_readv, getpid(), &into, 1, &from, 1, 0) == 1)
		return byte;
	return errno == EFAULT ? NOTHING_THERE : -1;
}

/* a: advice, which the parent gives first */
static long child_looks(struct window *w, const struct operation *op)
{
	return advise_here(w, op) ? -1 : in_child(w, op);
}

#define SEAL_SPANS (SET(PLAIN) | SET(BESIDE))
#define R_FEW (SET(ANON_RW) | SET(ANON_R) | SET(CLEAN_R) | SET(SHARED_ANON_RW))

static const struct operation operations[] = {
	{.name = "fork-munmap", .perform = in_child, .act = unmap_here,
	 .covers = {{R_ALL | R_TRAITS, SET(EXACT) | SET(INTO)}, {R_TYPICAL, SET(MIDDLE) | SET(BESIDE)}}},
	{.name = "fork-mprotect-none", .perform = in_child, .act = protect_here, .a = PROT_NONE,
	 .covers = {{R_ALL, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "fork-mprotect-rw", .perform = in_child, .act = protect_here, .a = PROT_READ | PROT_WRITE,
	 .traits = LONE, .covers = {{R_ALL, SET(EXACT)}}},
	{.name = "fork-mmap-fixed", .perform = in_child, .act = map_here,
	 .covers = {{R_ALL, SET(EXACT)}}},
	{.name = "fork-mremap-move", .perform = in_child, .act = move_here,
	 .covers = {{R_ALL, SET(EXACT)}}},
	{.name = "fork-madvise-dontneed", .perform = in_child, .act = advise_here, .a = ADV_DONTNEED,
	 .covers = {{R_ALL | R_READ_ONLY_SPECIAL | R_KEYS | R_TRAITS, SET(EXACT)}}},
	{.name = "fork-look", .perform = child_looks, .act = read_here, .a = ADV_NORMAL,
	 .covers = {{R_TYPICAL | SET(MEMFD_SHARED_RW) | SET(CLEAN_R) | SET(WIPED_R) | SET(NOT_COPIED_R),
	 	SET(EXACT) | SET(MIDDLE)}}},
	{.name = "fork-look-keeponfork", .perform = child_looks, .act = read_here, .a = ADV_KEEPONFORK,
	 .covers = {{SET(WIPED_R), SET(EXACT) | SET(MIDDLE) | SET(INTO)}}},
	{.name = "fork-look-dofork", .perform = child_looks, .act = read_here, .a = ADV_DOFORK,
	 .covers = {{SET(NOT_COPIED_R), SET(EXACT) | SET(MIDDLE) | SET(INTO)}}},
	{.name = "fork-mseal", .perform = child_seals, .act = seal_here, .traits = SEALS,
	 .covers = {{R_FEW, SEAL_SPANS}}},
	{.name = "vfork-mseal", .perform = vforked_child_seals, .traits = SEALS,
	 .covers = {{R_FEW, SEAL_SPANS}}},
	{.name = "fork-exec", .perform = child_execs, .traits = NEW_IMAGE, .covers = {{R_FEW, SET(EXACT)}}},
	{.name = "fork-exec-thread", .perform = child_execs, .a = 1, .traits = NEW_IMAGE,
	 .covers = {{SET(ANON_RW) | SET(ANON_R), SET(EXACT)}}},
	{.name = "fork-exit", .perform = child_exits, .covers = {{R_FEW, SET(EXACT)}}},
};

const struct family family_fork = {.name = "fork", .operations = operations, .count = COUNT(operations)};
