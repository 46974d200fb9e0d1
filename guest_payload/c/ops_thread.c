/* SPDX-License-Identifier: MIT */
/* Another thread of the same process: a seal is the address space's, not the caller's. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

struct errand {
	struct window *w;
	const struct operation *op;
	long (*act)(struct window *w, const struct operation *op);
	long result;
	int error;
};

static void *run_errand(void *argument)
{
	struct errand *e = argument;

	errno = 0;
	e->result = e->act(e->w, e->op);
	e->error = errno;
	return NULL;
}

static long in_thread(struct window *w, const struct operation *op, long (*act)(struct window *, const struct operation *))
{
	struct errand errand = {w, op, act, -1, 0};
	pthread_t thread;
	int error = pthread_create(&thread, NULL, run_errand, &errand);

	if (error)
		fail_step(w, "pthread_create", error);
	pthread_join(thread, NULL);
	errno = errand.error;
	return errand.result;
}

static long thread_unmaps(struct window *w, const struct operation *op)
{
	return in_thread(w, op, unmap_here);
}

static long thread_protects(struct window *w, const struct operation *op)
{
	return in_thread(w, op, protect_here);
}

static long thread_maps(struct window *w, const struct operation *op)
{
	return in_thread(w, op, map_here);
}

static long thread_moves(struct window *w, const struct operation *op)
{
	return in_thread(w, op, move_here);
}

static long thread_advises(struct window *w, const struct operation *op)
{
	return in_thread(w, op, advise_here);
}

static long seal_here(struct window *w, const struct operation *op)
{
	(void)op;
	return sys_mseal(w->start, w->length, 0);
}

static long thread_seals(struct window *w, const struct operation *op)
{
	return in_thread(w, op, seal_here);
}

#define R_FEW (SET(ANON_R) | SET(SHARED_ANON_RW))

static const struct operation operations[] = {
	{"thread-munmap", NULL, thread_unmaps, 0, 0, 0, {{R_FEW, SET(EXACT) | SET(INTO)}}},
	{"thread-mprotect", NULL, thread_protects, PROT_NONE, 0, 0, {{R_FEW, SET(EXACT)}}},
	{"thread-mmap-fixed", NULL, thread_maps, 0, 0, 0, {{R_FEW, SET(EXACT)}}},
	{"thread-mremap", NULL, thread_moves, 0, 0, 0, {{R_FEW, SET(EXACT)}}},
	{"thread-madvise-dontneed", NULL, thread_advises, ADV_DONTNEED, 0, 0, {{SET(ANON_R), SET(EXACT)}}},
	{"thread-mseal", NULL, thread_seals, 0, 0, SEALS, {{R_FEW, SET(PLAIN) | SET(EXACT)}}},
};

const struct family family_threads = {"threads", operations, COUNT(operations)};
