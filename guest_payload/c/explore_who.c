/* SPDX-License-Identifier: MIT */
/*
 * Who does a step: the process itself, a second thread, or another process that shares its memory; with its privileges
 * or without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "arch.h"
#include "explore.h"
#include "payload.h"
#include "sys.h"

/* ------------------------------------------------------------------ another thread of the process */

static struct {
	int turn; /* 0: nothing to do, 1: the thread's */
	bool there;
	struct x_window *w;
	const struct x_step *s;
	uint8_t *extra;
	bool keys;       /* there are protection keys, and these are the rights of the thread that looks */
	unsigned rights; /* of all keys, those that the kernel keeps for memory that may only be executed, too */
	long result;
	int error;
} other;

static void wait_while(int value)
{
	while (__atomic_load_n(&other.turn, __ATOMIC_ACQUIRE) == value)
		sys(SYS_futex, &other.turn, FUTEX_WAIT, value, NULL);
}

static void hand_over(int value)
{
	__atomic_store_n(&other.turn, value, __ATOMIC_RELEASE);
	sys(SYS_futex, &other.turn, FUTEX_WAKE, 1);
}

static void *thread(void *unused)
{
	(void)unused;
	for (;;) {
		unsigned own = 0;

		wait_while(0);
		sys(SYS_personality, other.w->persona); /* each thread has its own */
		if (other.keys) {
			own = arch_key_rights();
			arch_set_key_rights(other.rights);
		}
		other.result = x_operate(other.w, other.s, other.extra);
		other.error = errno;
		if (other.keys)
			arch_set_key_rights(own);
		hand_over(0);
	}
	return NULL;
}

void x_thread_gone(void)
{
	other.there = false; /* a fork's child has one thread */
	other.turn = 0;
}

static long by_thread(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	pthread_t second;
	int error;

	/* Whoever asks for a key may use it, and this is the thread that looks. */
	if (s->op == X_PKEY_MPROTECT && s->b)
		x_key();
	/* A child has the rights of the thread that forks, and looks as the other one does. */
	other.keys = s->op == X_FORK && ARCH_HAS_KEY_RIGHTS && x_key() > 0;
	other.rights = other.keys ? arch_key_rights() : 0;
	other.w = w;
	other.s = s;
	other.extra = extra;
	if (!other.there && (error = pthread_create(&second, NULL, thread, NULL))) {
		errno = error;
		return -1;
	}
	other.there = true;
	hand_over(1);
	wait_while(1);
	errno = other.error;
	return other.result;
}

/* ------------------------------------------------------------------ another process that shares the memory */

struct errand {
	struct x_window *w;
	const struct x_step *s;
	uint8_t *extra;
	long result;
	int error;
};

static int run_errand(void *of)
{
	struct errand *errand = of;

	errno = 0;
	errand->result = x_operate(errand->w, errand->s, errand->extra);
	errand->error = errno;
	_exit(0);
}

/* No thread of ours: who counts the threads of the process finds one, and who counts the users of the memory, two. */
static long by_process(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct errand errand = {.w = w, .s = s, .extra = extra, .result = -1, .error = ECANCELED};
	long pid;

	if (s->op == X_PKEY_MPROTECT && s->b)
		x_key(); /* as above */
	pid = clone(run_errand, stack + sizeof(stack), CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD, &errand);
	if (pid < 0)
		return -1;
	await(pid);
	errno = errand.error;
	return errand.result;
}

/* ------------------------------------------------------------------ without privilege */

typedef struct __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3];

static long change_capabilities(const capabilities to)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};

	return sys(SYS_capset, &head, to);
}

/* false: it has none to lose, or they cannot be asked for */
static bool give_up_privilege(capabilities had)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	capabilities less;

	if (sys(SYS_capget, &head, had))
		return false;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		less[i] = had[i];
		less[i].effective = 0;
	}
	return !change_capabilities(less);
}

long x_perform(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	/* Touching is guarded, and rights and personality are held, by the thread that looks. */
	bool ours = s->op == X_WRITE || s->op == X_READ || s->op == X_RIGHTS || s->op == X_PERSONALITY;
	/* A userfaultfd belongs to the process that made it, and a child to the one that awaits it. */
	bool shared = s->by & X_BY_PROCESS && !ours && s->op != X_USERFAULTFD && s->op != X_FORK;
	capabilities had;
	bool powerless;
	long result;
	int error;

	if (s->by & X_BY_THREAD && !ours)
		return by_thread(w, s, extra);
	powerless = s->by & X_POWERLESS && s->op != X_FORK && give_up_privilege(had); /* a child would go on so */
	errno = 0;
	result = shared ? by_process(w, s, extra) : x_operate(w, s, extra);
	error = errno;
	if (powerless)
		change_capabilities(had);
	errno = error;
	return result;
}
