/* SPDX-License-Identifier: MIT */
/* Processes and threads an operation makes for itself. The engine kills whatever is left of them. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

/* fork(2) without a C library's handlers and signal masks. Returns 0 in the child, which dies with its parent. */
long child_process(void)
{
	long parent = getpid();
	long pid = sys(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
	}
	return pid;
}

/* Wait for a child; its exit status, or 128 + the signal that killed it, or -1. */
int await(long pid)
{
	int status;

	while (waitpid((pid_t)pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void keep_child_view(struct window *w)
{
	struct unit_fact seen[UNITS_MAX];
	char text[EXTRA_TEXT];
	char *end = text;

	take_own_snapshot(w, seen);
	for (int i = 0; i < w->units; i++) {
		if (i)
			end = stpcpy(end, "; ");
		describe_unit(&seen[i], end);
		end += strlen(end);
	}
	add_text(w, "child_after", text);
}

/* Let a forked child act on the window it inherited. Its result and errno become the operation's. */
long in_child(struct window *w, const struct operation *op)
{
	struct facts *f = w->facts;
	long pid = child_process();
	int status;

	if (pid < 0)
		fail_step(w, "fork", errno);
	if (pid == 0) {
		errno = 0;
		f->result = op->act(w, op);
		f->error = f->result == -1 ? errno : 0;
		keep_child_view(w);
		_exit(0);
	}
	status = await(pid);
	if (status)
		add_extra(w, "child_status", status);
	errno = f->error;
	return f->result;
}

struct errand {
	struct window *w;
	const struct operation *op;
	long result;
	int error;
};

static void *run_errand(void *argument)
{
	struct errand *e = argument;

	errno = 0;
	e->result = e->op->act(e->w, e->op);
	e->error = errno;
	return NULL;
}

static int run_errand_and_exit(void *argument)
{
	run_errand(argument);
	_exit(0);
}

/* A process of its own, and no thread of ours, that has the same memory; we wait for it as for any child. */
long in_sharing_child(struct window *w, const struct operation *op)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct errand errand = {.w = w, .op = op, .result = -1, .error = ECHILD};
	long pid = clone(run_errand_and_exit, stack + sizeof(stack), CLONE_VM | SIGCHLD, &errand);

	if (pid < 0)
		fail_step(w, "clone", errno);
	await(pid);
	errno = errand.error;
	return errand.result;
}

/* Let another thread of this process act. */
long in_thread(struct window *w, const struct operation *op)
{
	struct errand errand = {.w = w, .op = op, .result = -1};
	pthread_t thread;
	int error = pthread_create(&thread, NULL, run_errand, &errand);

	if (error)
		fail_step(w, "pthread_create", error);
	pthread_join(thread, NULL);
	errno = errand.error;
	return errand.result;
}
