/* SPDX-License-Identifier: MIT */
/*
 * Probes side by side. A lane is a process of its own that stays on one CPU with all it starts: where CPUs are
 * emulated, a fork whose child wakes up on another costs four times as much (measured: 6.7 ms against 1.8 ms).
 * Lanes share nothing but the count of what has been taken; where a probe ran is no fact of it.
 *
 * What the machine has little of is for lane 0 alone, which begins with it. What changes the machine, or wants all of
 * its CPUs, is run when the lanes have ended, by one more process like them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "payload.h"

enum { LANES_MAX = 2, STACK_SIZE = 256 << 10 };

struct run {
	const struct plan *plan;
	bool nothing; /* there is no mseal: no probe need be started */
	long deadline_ms;
	int kmsg, lane;
	pid_t parent;
	char *stack; /* of each lane, at the same place */
	_Atomic size_t *next, *observed; /* shared by the lanes */
};

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/*
 * A log that cannot be written is said once, and then let be: the stream tells the same. At the level of an alert:
 * whatever console shows a report of the kernel's shows the mark before it, too, also a quiet one.
 */
static void log_begin(struct run *run, const char *probe)
{
	char line[160], lane[16] = "";
	int length;

	if (run->kmsg < 0)
		return;
	if (run->lane != NO_LANE)
		snprintf(lane, sizeof(lane), " in lane %d", run->lane);
	length = snprintf(line, sizeof(line), "<1>sealmatrix: begin %s%s\n", probe, lane);
	if (write(run->kmsg, line, (size_t)length) == length)
		return;
	dprintf(STDERR_FILENO, "payload: /dev/kmsg: %s\n", strerror(errno));
	run->kmsg = -1;
}

static void observe(struct run *run, size_t index)
{
	/* Without the system call there is nothing to learn from a probe: say so for each, and start no process. */
	struct facts nothing = {.step = "mseal", .step_errno = ENOSYS, .unit = (size_t)sysconf(_SC_PAGESIZE)};
	struct facts *control = &nothing, *sealed = &nothing;
	struct probe probe = probe_at(run->plan, index);
	long started = 0, took = 0;

	if (!run->nothing)
		log_begin(run, probe.id);
	report_begin(probe.id, run->lane);
	if (!run->nothing) {
		started = now_us();
		run_halves(&probe, &control, &sealed);
		took = now_us() - started;
	}
	report_observation(&probe, control, sealed, took);
	atomic_fetch_add(run->observed, 1);
}

static void observe_all(struct run *run, size_t from, size_t until)
{
	while (from < until)
		observe(run, from++);
}

/* What is not among lanes has what they left, or all. */
static void observe_share(struct run *run)
{
	const size_t *until = run->plan->until;
	size_t mine;

	if (run->lane == NO_LANE) {
		observe_all(run, *run->observed, run->plan->count);
		return;
	}
	if (run->lane == 0)
		observe_all(run, 0, until[POOLED_PHASE]);
	while ((mine = atomic_fetch_add(run->next, 1)) < until[FREE_PHASE])
		observe(run, mine);
}

/*
 * The lane's CPU is the one of its number, and so is the name by which the kernel calls its processes in a report.
 * Halves are forked from it; the fewer mappings and pages they take along the better.
 */
static void be_lane(void *argument)
{
	struct run run = *(struct run *)argument;
	char name[16];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != run.parent)
		_exit(0);
	madvise(run.stack, STACK_SIZE, MADV_DONTFORK);
	madvise(run.plan->codes, run.plan->size, MADV_DONTFORK);
	madvise((void *)run.next, 1, MADV_DONTFORK);
	if (run.lane != NO_LANE) {
		snprintf(name, sizeof(name), "sealmatrix-%d", run.lane);
		prctl(PR_SET_NAME, name);
	}
	engine_start(run.deadline_ms, run.lane == NO_LANE ? 0 : run.lane);
	report_start();
	observe_share(&run);
	report_flush();
	_exit(0);
}

static pid_t start_lane(struct run *run, int lane)
{
	pid_t pid;

	run->lane = lane;
	pid = (pid_t)fork_onto(run->stack + STACK_SIZE, be_lane, run);
	if (pid < 0) {
		perror("payload: fork of a lane");
		clear_orphans();
		_exit(3);
	}
	return pid;
}

/* End as the lane did that broke: who started us is to know how. */
static _Noreturn void end_like(int status)
{
	clear_orphans();
	if (WIFSIGNALED(status)) {
		signal(WTERMSIG(status), SIG_DFL);
		raise(WTERMSIG(status));
	}
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
}

static void await_lanes(const pid_t *pids, int count)
{
	for (int running = count; running;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 && errno != EINTR)
			_exit(3);
		for (int i = 0; i < count; i++) {
			if (pid != pids[i])
				continue;
			running--;
			if (status)
				end_like(status);
		}
	}
}

int lanes_for(const struct system *system)
{
	return system->cpus < 1 ? 1 : system->cpus < LANES_MAX ? (int)system->cpus : LANES_MAX;
}

void run_plan(const struct plan *plan, const struct system *system, int lanes, long deadline_ms, int kmsg)
{
	_Atomic size_t *counts = map_memory(2 * sizeof(*counts), MAP_SHARED);
	struct run run = {
		.plan = plan,
		.nothing = system->mseal == ENOSYS,
		.deadline_ms = deadline_ms,
		.kmsg = kmsg,
		.parent = getpid(),
		.stack = map_memory(STACK_SIZE, MAP_PRIVATE),
		.next = &counts[0],
		.observed = &counts[1],
	};
	pid_t pids[LANES_MAX];

	*run.next = plan->until[POOLED_PHASE];
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	start_ticking(deadline_ms);
	if (lanes > 1 && !run.nothing) {
		for (int i = 0; i < lanes; i++)
			pids[i] = start_lane(&run, i);
		await_lanes(pids, lanes);
	}
	pids[0] = start_lane(&run, NO_LANE);
	await_lanes(pids, 1);
	report_end((long)*run.observed);
}
