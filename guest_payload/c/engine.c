/* SPDX-License-Identifier: MIT */
/*
 * Runs the two halves of a probe, each in a process of its own, each under a deadline, leaving nothing behind.
 *
 * What a fork costs is, for the most part, the pages that parent or child write to afterwards: each is copied, and
 * where CPUs are emulated all of them stop for each change of a page table entry. So the two write to different
 * mappings. The engine's stack and its output (lanes.c, report.c) are not there in a half, and a half has a stack
 * and statics (snapshot.c) that the engine has never touched.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

enum {
	GRACE_MS = 5000, /* for a process that was killed to be gone; more means that the kernel holds on to it */
	TICK_MS = 250,   /* at most */
};

/* What both see: what a process is to do, and its facts. A probe that runs alone is a batch of one, without a slot. */
struct shared {
	struct probe_batch batch;
	bool sealed, alone;
	int count; /* of the probes whose halves it runs */
	long engine;
};

enum { NEST_SIZE = 128 << 10 }; /* the stack of a half */

static struct {
	struct shared *shared[2]; /* of a batch; of a probe that runs alone */
	char *nest;
	long deadline, grace; /* in ticks */
	bool held; /* there is a process that SIGKILL did not end; waiting for it again would only cost time */
} engine;

/*
 * Time passes in ticks, which interrupt whatever we wait in. One timer for the whole run costs nothing; a clock that is
 * read, or a timer that is set, costs every half a part of what its fork does.
 */
static volatile sig_atomic_t ticks;

static void on_tick(int signal_number)
{
	(void)signal_number;
	ticks++;
}

void start_ticking(long deadline_ms)
{
	struct sigaction action = {.sa_handler = on_tick};
	long ms = deadline_ms / 4 < 1 ? 1 : deadline_ms / 4 < TICK_MS ? deadline_ms / 4 : TICK_MS;
	struct timeval period = {ms / 1000, ms % 1000 * 1000};
	struct itimerval timer = {period, period};

	engine.deadline = (deadline_ms + ms - 1) / ms;
	engine.grace = GRACE_MS / ms;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

void *map_memory(size_t size, int flags)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED) {
		perror("payload: mmap");
		_exit(3);
	}
	return at;
}

static void map_shared(void)
{
	for (int alone = 0; alone < 2; alone++)
		engine.shared[alone] = map_memory(sizeof(struct shared), MAP_SHARED);
}

/* A process cannot be killed. It keeps the facts it has, for it may yet write into them. */
static void hold(void)
{
	engine.held = true;
	map_shared();
}

static cpu_set_t allowed; /* before we confined ourselves to one CPU */

static void use_one_cpu(int number)
{
	cpu_set_t one;

	if (!CPU_COUNT(&allowed) && sched_getaffinity(0, sizeof(allowed), &allowed))
		return;
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &allowed) && number-- == 0)
			CPU_SET(i, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

void use_all_cpus(void)
{
	if (CPU_COUNT(&allowed))
		sched_setaffinity(0, sizeof(allowed), &allowed);
}

bool first_two_cpus(int cpus[2])
{
	cpu_set_t set;
	int found = 0;

	use_all_cpus();
	if (sched_getaffinity(0, sizeof(set), &set))
		return false;
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET(i, &set))
			cpus[found++] = i;
	return found == 2;
}

void engine_start(long deadline_ms, int cpu)
{
	struct rlimit none = {1, 1}; /* not 0: with that, a program that core dumps are piped to would still be run */

	signal(SIGCHLD, SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	use_one_cpu(cpu);
	arm_fault_handler(); /* for the halves, which inherit it */
	start_ticking(deadline_ms);
	map_shared();
	engine.nest = map_memory(NEST_SIZE, MAP_PRIVATE);
}

/*
 * Reap a child, and tell how it ended; false when so many ticks pass first. A process that goes from one probe to the
 * next has as many for each.
 */
static bool reap_within(long patience, pid_t pid, int *status, const volatile int *at)
{
	long first = ticks;
	int seen = at ? *at : 0;

	for (;;) {
		if (waitpid(pid, status, 0) == pid)
			return true;
		if (at && *at != seen) {
			seen = *at;
			first = ticks;
		}
		if (errno != EINTR || ticks - first > patience)
			return false;
	}
}

/* The parent of a process, from /proc/PID/stat; the name in it may hold anything, so read from its last ')'. */
static long parent_of(const char *pid)
{
	char path[32] = "/proc/", text[512], *p;
	ssize_t got;
	int fd;

	strncat(path, pid, 12);
	strcat(path, "/stat");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = 0;
	p = strrchr(text, ')');
	return p && strlen(p) > 4 ? atol(p + 4) : 0;
}

static void kill_children(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	long self = getpid();

	while (proc && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && parent_of(entry->d_name) == self)
			kill((pid_t)atol(entry->d_name), SIGKILL);
	if (proc)
		closedir(proc);
}

/*
 * What a half left behind has become our child (subreaper), whatever session it fled to. Nearly always there is
 * nothing, and one call says so.
 */
void clear_orphans(void)
{
	long first = ticks, grace = engine.held ? 0 : engine.grace;

	if (no_children())
		return;
	do {
		kill_children();
		while (waitpid(-1, NULL, engine.held ? WNOHANG : 0) > 0)
			;
		if (errno == ECHILD)
			return;
	} while (ticks - first < grace);
	if (!engine.held)
		hold();
}

static void be_process(void *argument)
{
	struct shared *shared = argument;
	struct probe_batch *batch = &shared->batch;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != shared->engine)
		_exit(0);
	if (shared->alone)
		half(&batch->probes[0], shared->sealed, &batch->facts[shared->sealed][0]);
	halves(batch, shared->count, shared->sealed);
}

/* One process, from its start to its end; `last` are the facts of the half that ran when it ended. */
static int run_process(struct shared *shared, bool sealed)
{
	struct facts *last = shared->batch.facts[sealed];
	int status = 0;
	pid_t pid;

	shared->batch.at = 0;
	shared->sealed = sealed;
	shared->engine = getpid();
	pid = (pid_t)fork_onto(engine.nest + NEST_SIZE, be_process, shared);
	if (pid < 0) {
		last->step = "fork";
		last->step_errno = errno;
		return -1;
	}
	if (!reap_within(engine.deadline, pid, &status, &shared->batch.at)) {
		last += shared->alone ? 0 : shared->batch.at;
		last->timeout = true;
		kill(pid, SIGKILL);
		last->unkillable = !reap_within(engine.grace, pid, &status, NULL);
		if (last->unkillable)
			hold();
		status = -1;
	} else if (WIFSIGNALED(status) && shared->alone) {
		last->signal = WTERMSIG(status);
	}
	clear_orphans();
	return status;
}

void run_halves(const struct probe *probe, struct facts **control, struct facts **sealed)
{
	struct shared *shared = engine.shared[1]; /* this probe's, even when a half makes the engine map another */

	shared->alone = true;
	shared->batch.probes[0] = *probe;
	*control = &shared->batch.facts[0][0];
	*sealed = &shared->batch.facts[1][0];
	memset(*control, 0, sizeof(**control));
	memset(*sealed, 0, sizeof(**sealed));
	run_process(shared, false);
	coverage_forget();
	run_process(shared, true);
}

/* A half that went as halves go: to its end, or it was told that the kernel or the machine does not offer something. */
static bool went_well(const struct facts *f)
{
	static const int wants[] = {ENOMEM, EAGAIN, EMFILE, ENFILE, ENOSPC, EEXIST};

	if (!f->step)
		return f->stage == STAGE_DONE;
	for (size_t i = 0; i < sizeof(wants) / sizeof(*wants); i++)
		if (f->step_errno == wants[i])
			return false;
	return true;
}

static bool both_went_well(const struct facts *control, const struct facts *sealed)
{
	return went_well(control) && went_well(sealed) && !control->step == !sealed->step;
}

struct probe_batch *run_batch(const struct plan *plan, size_t first, int count)
{
	struct shared *shared = engine.shared[0];
	struct probe_batch *batch = &shared->batch;

	shared->alone = false;
	batch->first = first;
	batch->count = count;
	for (int i = 0; i < count; i++)
		batch->probes[i] = probe_at(plan, first + (size_t)i);
	memset(batch->facts, 0, sizeof(batch->facts));
	shared->count = count;
	for (int sealed = 0; sealed < 2; sealed++)
		if (run_process(shared, sealed) || batch->at != shared->count)
			/* the one that ran then did not come to its end, nor those after it */
			shared->count = batch->at;
	for (int i = 0; i < count; i++)
		batch->doubtful[i] =
			i >= shared->count || !both_went_well(&batch->facts[0][i], &batch->facts[1][i]);
	return batch;
}
