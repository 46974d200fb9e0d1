/* SPDX-License-Identifier: MIT */
/*
 * A batch of programs. Sealed memory cannot be unmapped, so a process (a worker) has a budget: it runs one chunk of the
 * batch and ends. Lanes, a process for each CPU, take chunks in turn; which lane ran one is no fact of it, and as each
 * chunk has a process to itself, a batch gives the same facts however its lanes went.
 *
 * What is written are frames of at most PIPE_BUF bytes, so that none is torn by another lane's:
 *	KIND (1 byte) LANE (1) LENGTH (2) BYTES		KIND: 'P' plan (JSON), 'F' a lane's records, 'E' end (JSON),
 *							'C' the index of a program, and pairs of blocks that it ran
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "explore.h"
#include "payload.h"
#include "sys.h"

enum { LANES = 2, RECORDS_SIZE = 512 << 10, FRAME = 4096, CANNOT = 3, NO_ROOM = 4, FRESH = 5 };

struct batch {
	const struct x_batch *head;
	const struct x_program **programs;
	_Atomic uint32_t *next; /* the first program of the next chunk */
	struct x_progress *progress;
	int lane, kmsg;
	const char *name;
	uint8_t *seen; /* which pairs of blocks are known (coverage_unseen()); NULL: nobody asks */
};

/* A call that failed, with what it was about and its errno. */
static _Noreturn void call_failed(const char *call, const char *about)
{
	dprintf(STDERR_FILENO, "payload: explore: %s %s: %s\n", call, about, strerror(errno));
	_exit(CANNOT);
}

/* A file that is not what it should be. */
static _Noreturn void bad_file(const char *path, const char *why)
{
	dprintf(STDERR_FILENO, "payload: explore: %s: %s\n", path, why);
	_exit(CANNOT);
}

/* ------------------------------------------------------------------ frames */

static void write_frame(char kind, int lane, const void *bytes, size_t length)
{
	uint8_t frame[FRAME];
	ssize_t sent;

	frame[0] = (uint8_t)kind;
	frame[1] = (uint8_t)lane;
	frame[2] = (uint8_t)length;
	frame[3] = (uint8_t)(length >> 8);
	memcpy(frame + 4, bytes, length);
	do
		sent = write(STDOUT_FILENO, frame, length + 4);
	while (sent < 0 && errno == EINTR);
	if (sent != (ssize_t)length + 4)
		_exit(CANNOT); /* nobody reads it */
}

static void flush_records(struct batch *b)
{
	size_t used = b->progress->used;

	for (size_t at = 0; at < used; at += FRAME - 4)
		write_frame('F', b->lane, b->progress->records + at, used - at < FRAME - 4 ? used - at : FRAME - 4);
	b->progress->used = 0;
}

/* ------------------------------------------------------------------ coverage */

enum { PAIRS = 500 };

static struct {
	int lane;
	size_t pairs;
	uint32_t index, pair[PAIRS][2];
} coverage;

static void tell_pairs(void)
{
	if (coverage.pairs)
		write_frame('C', coverage.lane, &coverage.index,
			    sizeof(coverage.index) + coverage.pairs * sizeof(coverage.pair[0]));
	coverage.pairs = 0;
}

static void take_pair(uint32_t from, uint32_t to)
{
	coverage.pair[coverage.pairs][0] = from;
	coverage.pair[coverage.pairs][1] = to;
	if (++coverage.pairs == PAIRS)
		tell_pairs();
}

static void tell_coverage(const struct batch *b, uint32_t index)
{
	coverage.lane = b->lane;
	coverage.index = index;
	coverage_unseen(b->seen, take_pair);
	tell_pairs();
}

/* ------------------------------------------------------------------ a worker */

static _Noreturn void be_worker(struct batch *b, uint32_t from, uint32_t until)
{
	struct x_progress *progress = b->progress;

	/* Where a step has no privilege, what all programs before it have locked is to stand in its way no more. */
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
	x_guard();
	coverage_begin();
	for (uint32_t i = from; i < until; i++) {
		progress->index = i;
		coverage_forget();
		if (!x_run(b->programs[i], progress))
			_exit(i == from ? NO_ROOM : FRESH);
		if (b->seen)
			tell_coverage(b, i);
		progress->used += (uint32_t)x_record_size(b->programs[i]);
	}
	progress->index = until;
	_exit(0);
}

/* The worker's status, or -1 after its deadline. A program has its time, however many have run before it. */
static int wait_for(struct batch *b, pid_t pid)
{
	struct timespec tick = {b->head->deadline_ms / 1000, (long)(b->head->deadline_ms % 1000) * 1000000};
	uint32_t beats = b->progress->beats;
	sigset_t child;
	int status;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status;
		if (sigtimedwait(&child, NULL, &tick) < 0 && errno == EAGAIN) {
			if (beats == b->progress->beats) {
				kill(pid, SIGKILL);
				waitpid(pid, &status, 0);
				return -1;
			}
			beats = b->progress->beats;
		}
	}
}

/* What the worker left unfinished is told as far as it came; the next worker begins behind it. */
static void keep_unfinished(struct batch *b, enum x_status status, int detail)
{
	struct x_progress *progress = b->progress;
	struct x_record *record = (struct x_record *)(progress->records + progress->used);

	record->index = progress->index;
	record->status = (uint8_t)status;
	record->detail = (uint8_t)detail;
	progress->used += (uint32_t)x_record_size(b->programs[progress->index]);
	progress->index++;
}

static void mark(struct batch *b, uint32_t chunk)
{
	char line[160];
	int length = snprintf(line, sizeof(line), "<1>sealmatrix: begin explore/%s/%u in lane %d\n", b->name,
				      chunk, b->lane);

	if (b->kmsg >= 0 && write(b->kmsg, line, (size_t)length) != length)
		b->kmsg = -1;
}

static void run_chunk(struct batch *b, uint32_t from, uint32_t until)
{
	struct x_progress *progress = b->progress;

	mark(b, from);
	while (from < until) {
		long pid = child_process();
		int status;

		if (pid < 0)
			call_failed("fork", "a worker");
		if (pid == 0)
			be_worker(b, from, until);
		status = wait_for(b, (pid_t)pid);
		if (status < 0)
			keep_unfinished(b, X_TIMEOUT, 0);
		else if (WIFSIGNALED(status))
			keep_unfinished(b, X_SIGNAL, WTERMSIG(status));
		else if (WEXITSTATUS(status) == NO_ROOM)
			keep_unfinished(b, X_NO_WINDOW, ENOSPC);
		else if (WEXITSTATUS(status) && WEXITSTATUS(status) != FRESH)
			keep_unfinished(b, X_SIGNAL, 0);
		from = progress->index;
		flush_records(b);
	}
}

/* ------------------------------------------------------------------ lanes */

static _Noreturn void be_lane(struct batch *b)
{
	uint32_t chunk = b->head->chunk, count = b->head->count, from;
	cpu_set_t cpu;
	sigset_t child;
	char name[16];

	CPU_ZERO(&cpu);
	CPU_SET(b->lane, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu); /* where there is none of that number, anywhere */
	snprintf(name, sizeof(name), "sealmatrix-%d", b->lane);
	prctl(PR_SET_NAME, name);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	b->progress = mmap(NULL, sizeof(*b->progress) + RECORDS_SIZE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->progress == MAP_FAILED)
		call_failed("mmap", "records");
	if (b->seen)
		coverage_open();
	while ((from = atomic_fetch_add(b->next, chunk)) < count)
		run_chunk(b, from, from + chunk < count ? from + chunk : count);
	_exit(0);
}

static const struct x_program **index_programs(const struct x_batch *head, size_t size, const char *path)
{
	const uint8_t *at = (const uint8_t *)(head + 1), *end = (const uint8_t *)head + size;
	const struct x_program **programs;
	size_t records = 0;

	if (size < sizeof(*head) || memcmp(head->magic, "SMXP", 4) || head->version != X_VERSION || !head->chunk ||
	    !head->deadline_ms)
		bad_file(path, "not a batch of version 1");
	programs = mmap(NULL, head->count * sizeof(*programs) + 1, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (programs == MAP_FAILED)
		call_failed("mmap", "an index of programs");
	for (uint32_t i = 0; i < head->count; i++) {
		const struct x_program *p = (const struct x_program *)at;

		if (!x_valid(p, (size_t)(end - at)))
			bad_file(path, "a program is not valid");
		records = (i % head->chunk ? records : 0) + x_record_size(p);
		if (records > RECORDS_SIZE)
			bad_file(path, "a chunk says too much");
		programs[i] = p;
		at += p->size;
	}
	return programs;
}

static long cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

static void write_plan(int lanes)
{
	char text[200];
	int maps = x_open_maps(), length;
	/* An ioctl that is not known is ENOTTY; one that is, with nothing to go by, is not. */
	bool query = sys(SYS_ioctl, maps, 0xc0686611ul, NULL) && errno != ENOTTY;
	long key = sys(SYS_pkey_alloc, 0, 0);
	int keys = key >= 0;

	if (keys)
		sys(SYS_pkey_free, key);
	sys(SYS_close, maps);
	length = snprintf(text, sizeof(text),
			  "{\"explore\":%d,\"lanes\":%d,\"page_size\":%ld,\"procmap_query\":%d,"
			  "\"keys\":%d,\"mseal\":%d}",
			  X_VERSION, lanes, sysconf(_SC_PAGESIZE), query, keys, sys(SYS_mseal, 0, 0, 0) ? errno : 0);
	write_frame('P', 0, text, (size_t)length);
}

/* A file, in memory of our own. */
static void *map_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat facts;
	void *at;

	if (fd < 0)
		call_failed("open", path);
	if (fstat(fd, &facts))
		call_failed("fstat", path);
	*size = (size_t)facts.st_size;
	if (*size == 0)
		bad_file(path, "the file is empty");
	at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		call_failed("mmap", path);
	close(fd);
	return at;
}

int explore(const char *path, const char *seen)
{
	int lanes, failed = 0;
	size_t size;
	struct batch b = {.name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path};

	b.head = map_file(path, &size);
	b.programs = index_programs(b.head, size, path);
	if (seen) {
		b.seen = map_file(seen, &size);
		if (size != (1 << COVERAGE_SEEN_BITS) / 8)
			bad_file(seen, "what is known of the coverage has another size");
	}
	b.next = mmap(NULL, sizeof(*b.next), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if ((void *)b.next == MAP_FAILED)
		call_failed("mmap", "the number of the next program");
	b.kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	lanes = cpus() < LANES ? 1 : LANES;
	write_plan(lanes);
	for (b.lane = 0; b.lane < lanes; b.lane++) {
		long pid = child_process();

		if (pid < 0)
			call_failed("fork", "a lane");
		if (pid == 0)
			be_lane(&b);
	}
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, 0);

		if (pid < 0 && errno == ECHILD)
			break;
		failed |= pid > 0 && status && !WIFSIGNALED(status);
	}
	if (failed)
		return CANNOT;
	write_frame('E', 0, "{}", 2);
	return 0;
}
