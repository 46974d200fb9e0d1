/* SPDX-License-Identifier: MIT */
/*
 * A process that is killed while it waits in mseal. The wait for the lock of the address space ends with such a signal
 * (mmap_write_lock_killable()), and mseal has to give up then: one that goes on has no lock, seals what others are
 * changing, and gives back the lock that another thread holds. Nobody gets it after that, and the process never ends.
 *
 * So a child keeps the lock busy with one thread and seals with another, and is killed as soon as the latter waits.
 * The mappings that keep it busy are made once: each child has them from its parent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

enum {
	KILLS = 3, CONTROL_KILLS = 1,
	CROWD = 2000, /* mappings, to look through all of which takes a while ... */
	MAKE_MS = 50, /* ... but not more than can be made in this time: a kernel that checks itself needs fewer */
};

#define ARENA PLACE(0x2000000000ul)

/* What the child tells. */
struct told {
	int error;   /* why it cannot */
	long sealer; /* its thread that seals */
};

struct sealer {
	struct window *w;
	struct told *told;
};

static _Noreturn void *seal_on(void *argument)
{
	struct sealer *sealer = argument;

	__atomic_store_n(&sealer->told->sealer, sys(SYS_gettid), __ATOMIC_RELEASE);
	for (;;) {
		sys_mseal(sealer->w->start, sealer->w->length, 0);
		sched_yield();
	}
}

static long look_through(size_t length)
{
	return sys(SYS_madvise, ARENA, length, ADV_COLD);
}

/* Neighbours that differ in MAP_NORESERVE do not merge. */
static int make_crowd(size_t unit, size_t *length)
{
	long began = now_ms();

	for (int i = 0; i < CROWD && (i < 2 || now_ms() - began < MAKE_MS); i++) {
		int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (i % 2 ? MAP_NORESERVE : 0);

		if (sys(SYS_mmap, ARENA + (size_t)i * unit, unit, PROT_READ, flags, -1, 0) == -1)
			return errno;
		*length += unit;
	}
	return look_through(*length) ? errno : 0;
}

/*
 * The lock is held for reading: who waits for a writer spins as long as that one runs, and for a reader hardly at all
 * (kernel/locking/rwsem.c: rwsem_optimistic_spin()).
 */
static _Noreturn void contend(struct window *w, struct told *told, const int cpus[2], size_t length)
{
	struct sealer sealer = {.w = w, .told = told};
	pthread_t thread;
	int error;

	error = use_cpu(cpus[1]); /* the thread inherits it */
	if (!error)
		error = pthread_create(&thread, NULL, seal_on, &sealer);
	if (!error)
		error = use_cpu(cpus[0]);
	if (error) {
		__atomic_store_n(&told->error, error, __ATOMIC_RELEASE);
		_exit(1);
	}
	for (;;)
		look_through(length);
}

static bool waits(long pid, const struct told *told)
{
	long thread = __atomic_load_n(&told->sealer, __ATOMIC_ACQUIRE);
	char path[64], text[512] = "";
	const char *name_end;

	if (!thread)
		return false;
	snprintf(path, sizeof(path), "/proc/%ld/task/%ld/stat", pid, thread);
	read_text(path, text, sizeof(text));
	name_end = strrchr(text, ')');
	return name_end && !strncmp(name_end, ") D", 3);
}

long kill_in_mseal(struct window *w, const struct operation *op)
{
	struct told *told = map_memory(sizeof(*told), MAP_SHARED);
	long began = now_ms();
	size_t length = 0;
	int kills = w->sealed ? KILLS : CONTROL_KILLS, cpus[2], error;

	(void)op;
	if (!first_two_cpus(cpus))
		fail_step(w, "two CPUs", EOPNOTSUPP);
	error = make_crowd(w->unit, &length);
	if (error)
		fail_step(w, "a crowd", error);
	error = use_cpu(cpus[1]); /* that of the thread that seals: it is free to look when that one waits */
	if (error)
		fail_step(w, "sched_setaffinity", error);
	for (int i = 0; i < kills; i++) {
		long pid;

		memset(told, 0, sizeof(*told));
		pid = child_process();
		if (pid < 0)
			fail_step(w, "fork", errno);
		if (pid == 0)
			contend(w, told, cpus, length);
		while (!waits(pid, told)) {
			error = __atomic_load_n(&told->error, __ATOMIC_ACQUIRE);
			if (error)
				fail_step(w, "a thread that seals", error);
			if (now_ms() - began > half_deadline_ms / 2)
				fail_step(w, "a thread that waits in mseal", EAGAIN);
		}
		kill((pid_t)pid, SIGKILL);
		await(pid); /* which is what may never happen: that is the half's deadline then */
	}
	add_extra(w, "kills", kills);
	return 0;
}
