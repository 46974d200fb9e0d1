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
#include <unistd.h>

#include "payload.h"
#include "regions.h"

enum { LANES_MAX = 2, STACK_SIZE = 256 << 10 };

struct counts {
	_Atomic size_t next_batch, next_free, observed;
	_Atomic long half_ns, operation_ns, bytes;
	_Atomic int turn; /* to write */
};

struct run {
	const struct plan *plan;
	bool nothing; /* there is no mseal: no probe need be started */
	const struct how *how;
	int kmsg, lane;
	pid_t parent;
	char *stack; /* of each lane, at the same place */
	struct counts *counts; /* shared by the lanes */
};

/*
 * A log that cannot be written is said once, and then let be: the stream tells the same. At the level of an alert:
 * whatever console shows a report of the kernel's shows the mark before it, too, also a quiet one.
 */
static void log_begin(struct run *run, const char *probe, int more)
{
	char line[160], lane[16] = "", others[24] = "";
	int length;

	if (run->kmsg < 0)
		return;
	if (run->lane != NO_LANE)
		snprintf(lane, sizeof(lane), " in lane %d", run->lane);
	if (more)
		snprintf(others, sizeof(others), " and %d more", more);
	length = snprintf(line, sizeof(line), "<1>sealmatrix: begin %s%s%s\n", probe, others, lane);
	if (write(run->kmsg, line, (size_t)length) == length)
		return;
	dprintf(STDERR_FILENO, "payload: /dev/kmsg: %s\n", strerror(errno));
	run->kmsg = -1;
}

static void add_up(struct run *run, long half_ns, const struct facts *control, const struct facts *sealed)
{
	atomic_fetch_add(&run->counts->observed, 1);
	atomic_fetch_add(&run->counts->half_ns, half_ns);
	atomic_fetch_add(&run->counts->operation_ns, control->operation_ns + sealed->operation_ns);
}

/*
 * Without the system call there is nothing to learn from a probe: say so for each, and start no process. Nothing runs,
 * so nothing can be lost, and each write wakes PID 1: many are sent together.
 */
static void observe_nothing(struct run *run, size_t index)
{
	struct facts nothing = {.step = "mseal", .step_errno = ENOSYS, .unit = (size_t)sysconf(_SC_PAGESIZE)};
	struct probe probe = probe_at(run->plan, index);

	report_begin_later(probe.id, run->lane);
	if (index % BATCH_MAX == 0)
		report_flush();
	report_observation(&probe, &nothing, &nothing, 0, false);
	add_up(run, 0, &nothing, &nothing);
}

/* `again`: it has been observed in a batch already. */
static void observe(struct run *run, size_t index, bool again)
{
	struct facts *control, *sealed;
	struct probe probe = probe_at(run->plan, index);
	long started, took;

	log_begin(run, probe.id, 0);
	report_begin(probe.id, run->lane);
	started = now_ns();
	run_halves(&probe, &control, &sealed);
	took = now_ns() - started;
	report_observation(&probe, control, sealed, took / 1000, again);
	if (run->how->coverage)
		report_coverage(&probe);
	if (!again)
		add_up(run, took, control, sealed);
}

static void observe_all(struct run *run, size_t from, size_t until)
{
	for (; from < until; from++)
		if (run->nothing)
			observe_nothing(run, from);
		else
			observe(run, from, false);
}

/* One in so many of what ran in batches runs alone as well, each time others: both ways have to give the same facts. */
static bool in_sample(const struct run *run, size_t index)
{
	return run->how->sample && (index + run->how->seed) % run->how->sample == 0;
}

/* Many at once; those that did not go as probes go are run again, alone, and only that counts. */
static void observe_batch(struct run *run, size_t from, size_t until)
{
	int count = (int)(until - from);
	bool doubtful[BATCH_MAX];
	struct probe_batch *batch;
	struct probe first;

	if (count == 1 || run->nothing || run->how->lone) {
		observe_all(run, from, until);
		return;
	}
	first = probe_at(run->plan, from);
	log_begin(run, first.id, count - 1);
	report_batch(first.id, count, run->lane);
	batch = run_batch(run->plan, from, count);
	for (int i = 0; i < count; i++) {
		const struct facts *control = &batch->facts[0][i], *sealed = &batch->facts[1][i];
		long took = control->half_ns + sealed->half_ns;

		doubtful[i] = batch->doubtful[i];
		if (doubtful[i])
			continue;
		report_observation(&batch->probes[i], control, sealed, took / 1000, false);
		add_up(run, took, control, sealed);
	}
	for (int i = 0; i < count; i++)
		if (doubtful[i] || in_sample(run, from + (size_t)i))
			observe(run, from + (size_t)i, !doubtful[i]);
}

static size_t nearer(size_t one, size_t other)
{
	return one < other ? one : other;
}

static bool among_lanes(const struct run *run)
{
	return run->how->lanes > 1 && !run->nothing;
}

/* Of what runs in batches, so many at once: the lanes are to end together. */
static size_t batch_size(const struct run *run)
{
	const size_t *until = run->plan->until;
	size_t each = (until[BATCH_PHASE] - until[POOLED_PHASE]) / (8 * (size_t)run->how->lanes);

	return each < BATCH_MAX / 2 ? BATCH_MAX / 2 : nearer(each, BATCH_MAX);
}

/* What is not among lanes has what they left, or all. */
static void observe_share(struct run *run)
{
	const size_t *until = run->plan->until;
	struct counts *counts = run->counts;
	size_t mine, size = batch_size(run);

	if (run->lane == 0 || !among_lanes(run))
		observe_all(run, 0, until[POOLED_PHASE]);
	while ((mine = atomic_fetch_add(&counts->next_batch, size)) < until[BATCH_PHASE])
		observe_batch(run, mine, nearer(mine + size, until[BATCH_PHASE]));
	while ((mine = atomic_fetch_add(&counts->next_free, 1)) < until[FREE_PHASE])
		observe_all(run, mine, mine + 1);
	if (run->lane == NO_LANE)
		observe_all(run, until[FREE_PHASE], until[ALONE_PHASE]);
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
	madvise(run.counts, 1, MADV_DONTFORK);
	if (run.lane != NO_LANE) {
		snprintf(name, sizeof(name), "sealmatrix-%d", run.lane);
		prctl(PR_SET_NAME, name);
	}
	engine_start(run.how->deadline_ms, run.lane == NO_LANE ? 0 : run.lane);
	report_start(&run.counts->turn);
	if (run.how->coverage)
		coverage_open();
	observe_share(&run);
	atomic_fetch_add(&run.counts->bytes, report_flush());
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

void run_plan(const struct plan *plan, const struct system *system, const struct how *how)
{
	struct run run = {
		.plan = plan,
		.nothing = system->mseal == ENOSYS,
		.how = how,
		.kmsg = how->kmsg,
		.parent = getpid(),
		.stack = map_memory(STACK_SIZE, MAP_PRIVATE),
		.counts = map_memory(sizeof(struct counts), MAP_SHARED),
	};
	pid_t pids[LANES_MAX];

	run.counts->next_batch = plan->until[POOLED_PHASE];
	run.counts->next_free = plan->until[BATCH_PHASE];
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	start_ticking(how->deadline_ms);
	if (plan->counters)
		keep_counter_open();
	if (among_lanes(&run)) {
		for (int i = 0; i < how->lanes; i++)
			pids[i] = start_lane(&run, i);
		await_lanes(pids, how->lanes);
	}
	pids[0] = start_lane(&run, NO_LANE);
	await_lanes(pids, 1);
	report_end((long)run.counts->observed, run.counts->half_ns, run.counts->operation_ns, run.counts->bytes);
}
