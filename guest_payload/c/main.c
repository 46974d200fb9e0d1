/* SPDX-License-Identifier: MIT */
/* Options, what the system offers, and the loop over operation x region x span. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

#ifndef PAYLOAD_ID
#define PAYLOAD_ID "unknown"
#endif

enum { USAGE = 2, DEADLINE_MS = 10000, PATTERNS_MAX = 4096 };

long started_by;

static const struct family *const families[] = {
	&family_arguments, &family_munmap,          &family_mmap_fixed,  &family_mprotect, &family_mremap,
	&family_madvise,   &family_process_madvise, &family_fork,        &family_threads,  &family_heap,
	&family_shm,       &family_pages,           &family_userfaultfd, &family_force,    &family_file,
	&family_sequences, &family_system,          &family_races,       &family_selftest,
};

/* ------------------------------------------------------------------ which probes there are */

static bool covered(const struct operation *op, size_t region, size_t span)
{
	for (int i = 0; i < COVERS_MAX; i++)
		if (op->covers[i].regions >> region & 1 && op->covers[i].spans >> span & 1)
			return true;
	return false;
}

static bool matches(const char *id, char **globs, int count)
{
	for (int i = 0; i < count; i++)
		if (fnmatch(globs[i], id, 0) == 0)
			return true;
	return false;
}

/* A selftest is run only when a pattern names it: "*" must not take a machine down. */
static bool asked_for(const struct selection *s, const char *id)
{
	for (int i = 0; i < s->runs; i++)
		if (strncmp(s->run[i], "selftest-", 9) == 0 && fnmatch(s->run[i], id, 0) == 0)
			return true;
	return false;
}

static bool selected(const struct selection *s, const struct probe *p)
{
	if (p->operation->traits & SELFTEST)
		return asked_for(s, p->id);
	return (!s->runs || matches(p->id, s->run, s->runs)) && !matches(p->id, s->exclude, s->excludes);
}

static void name_probe(struct probe *p)
{
	char *end = stpcpy(p->id, p->operation->name);

	*end++ = '/';
	end = stpcpy(end, p->region->name);
	*end++ = '/';
	strcpy(end, p->span->name);
}

/* The cursor counts through all combinations, chosen or not: span fastest, then region, operation, family. */
bool next_probe(const struct selection *s, struct probe *p, size_t *cursor)
{
	size_t skipped = 0;

	for (size_t f = 0; f < sizeof(families) / sizeof(*families); f++) {
		size_t size = families[f]->count * REGIONS * SPANS;

		while (*cursor < skipped + size) {
			size_t n = (*cursor)++ - skipped;
			size_t span = n % SPANS, region = n / SPANS % REGIONS;
			const struct operation *op = &families[f]->operations[n / SPANS / REGIONS];

			if (!covered(op, region, span))
				continue;
			*p = (struct probe){families[f], op, &regions[region], &spans[span], ""};
			name_probe(p);
			if (selected(s, p))
				return true;
		}
		skipped += size;
	}
	return false;
}

/* ------------------------------------------------------------------ what the system offers */

static int opens(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static void read_text(const char *path, char *into, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, into, size - 1);

	if (fd >= 0)
		close(fd);
	into[got > 0 ? got : 0] = 0;
}

static long read_number(const char *path)
{
	char text[32];

	read_text(path, text, sizeof(text));
	return atol(text);
}

static long cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
}

/* Nodes with memory: "0-1" or "0,2-3" counts to the end of its ranges; without CONFIG_NUMA there is one. */
static long nodes(void)
{
	char text[256], *p = text;
	long count = 0;

	read_text("/sys/devices/system/node/has_memory", text, sizeof(text));
	while (*p >= '0' && *p <= '9') {
		long first = strtol(p, &p, 10), last = *p == '-' ? strtol(p + 1, &p, 10) : first;

		count += last - first + 1;
		p += *p == ',';
	}
	return count ? count : 1;
}

/* /proc/swaps: a heading, then for each area its path, type, size in KiB ... */
static long swap_kib(void)
{
	char text[4096], *line = text;
	long total = 0, size;

	read_text("/proc/swaps", text, sizeof(text));
	while ((line = strchr(line, '\n')) && *++line)
		if (sscanf(line, "%*s %*s %ld", &size) == 1)
			total += size;
	return total;
}

static struct system look_around(void)
{
	struct statfs here = {0};
	struct system system = {
		.mseal = sys_mseal(NULL, 0, 0) ? errno : 0,
		.cpus = cpus(),
		.nodes = nodes(),
		.swap = swap_kib(),
		.hugepages = read_number("/proc/sys/vm/nr_hugepages"),
		.smaps = opens("/proc/self/smaps"),
		.pagemap = opens("/proc/self/pagemap"),
#ifdef __aarch64__
		.tagged_pointers = true,
#endif
	};

	read_text("/proc/cmdline", system.cmdline, sizeof(system.cmdline));
	system.cmdline[strcspn(system.cmdline, "\n")] = 0;
	statfs(".", &here);
	system.filesystem = (long)here.f_type;
	return system;
}

/*
 * The new image of ops_fork.c's exec: nothing of the old one may be left at the window's place, and no mapping of ours
 * may be sealed. The exit status says which of it failed.
 */
static int after_exec(const char *base, const char *length)
{
	char *at = (char *)strtoul(base, NULL, 10);
	size_t bytes = strtoul(length, NULL, 10);
	long got = sys(SYS_mmap, at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (got != (long)at)
		return 1;
	if (sys(SYS_munmap, at, bytes))
		return 2;
	return count_seals() ? 3 : 0;
}

/* ------------------------------------------------------------------ options */

struct options {
	struct selection selection;
	long deadline_ms;
	bool list, kmsg;
	const char *trace;
};

static const char help[] =
	"usage: payload [--list] [--run GLOB]... [--exclude GLOB]... [--deadline-ms N] [--kmsg] [--id] [--help]\n"
	"       payload --trace PROBE\n"
	"Exercise mseal(2) and write what happened as JSON lines on standard output (docs/protocol.md).\n"
	"  --list           print the probes, one JSON object a line, and stop\n"
	"  --run GLOB       only the probes whose id (operation/region/span) matches; repeatable\n"
	"  --exclude GLOB   not those; repeatable\n"
	"  --deadline-ms N  how long one half of a probe may take (default 10000)\n"
	"  --kmsg           write the id of each probe to the kernel log before it starts\n"
	"  --trace PROBE    run the control half of one probe and print its system calls\n"
	"  --id             print the payload's id and stop\n"
	"Exit status: 0 the stream is complete, whatever the kernel did; 2 usage; 3 nobody reads the stream.\n";

static _Noreturn void usage(const char *problem, const char *what)
{
	dprintf(STDERR_FILENO, "payload: %s %s; --help lists the options\n", problem, what);
	_exit(USAGE);
}

static _Noreturn void print_and_stop(const char *text)
{
	dprintf(STDOUT_FILENO, "%s", text);
	_exit(0);
}

static long parse_deadline(const char *text)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < 1 || value > 86400000)
		usage("--deadline-ms wants milliseconds from 1 to 86400000, not", text);
	return value;
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static char *run[PATTERNS_MAX], *exclude[PATTERNS_MAX];

	o->selection.run = run;
	o->selection.exclude = exclude;
	o->deadline_ms = DEADLINE_MS;
	if (argc > 2 * PATTERNS_MAX)
		usage("too many", "options");
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		bool last = i + 1 == argc;

		if (!strcmp(name, "--list"))
			o->list = true;
		else if (!strcmp(name, "--kmsg"))
			o->kmsg = true;
		else if (!strcmp(name, "--id"))
			print_and_stop(PAYLOAD_ID "\n");
		else if (!strcmp(name, "--help"))
			print_and_stop(help);
		else if (!strcmp(name, "--run") && !last)
			run[o->selection.runs++] = argv[++i];
		else if (!strcmp(name, "--exclude") && !last)
			exclude[o->selection.excludes++] = argv[++i];
		else if (!strcmp(name, "--trace") && !last)
			o->trace = argv[++i];
		else if (!strcmp(name, "--deadline-ms") && !last)
			o->deadline_ms = parse_deadline(argv[++i]);
		else
			usage(name[0] == '-' && last ? "unknown option, or one without its value:" : "unknown option", name);
	}
}

/* ------------------------------------------------------------------ the run */

static _Noreturn void trace_probe(const char *id)
{
	struct selection all = {0};
	struct probe probe;

	for (size_t cursor = 0; next_probe(&all, &probe, &cursor);)
		if (!strcmp(probe.id, id))
			trace(&probe);
	usage("there is no probe", id);
}

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* A log that cannot be written is said once, and then let be: the stream tells the same. */
static void log_begin(int *kmsg, const char *probe)
{
	char line[160];
	int length = snprintf(line, sizeof(line), "<6>sealmatrix: begin %s\n", probe);

	if (*kmsg < 0 || write(*kmsg, line, (size_t)length) == length)
		return;
	dprintf(STDERR_FILENO, "payload: /dev/kmsg: %s\n", strerror(errno));
	close(*kmsg);
	*kmsg = -1;
}

/* Without the system call there is nothing to learn from a probe: say so for each, and start no process. */
static void observe_nothing(const struct probe *probe, int error)
{
	struct facts nothing = {.step = "mseal", .step_errno = error, .unit = (size_t)sysconf(_SC_PAGESIZE)};

	report_begin(probe->id);
	report_observation(probe, &nothing, &nothing, 0);
}

static void observe(const struct probe *probe, int *kmsg)
{
	struct facts *control, *sealed;
	long started;

	log_begin(kmsg, probe->id);
	report_begin(probe->id);
	started = now_us();
	run_halves(probe, &control, &sealed);
	report_observation(probe, control, sealed, now_us() - started);
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct system system;
	struct probe probe;
	long observations = 0;
	int kmsg = -1;

	if (argc == 4 && !strcmp(argv[1], "--after-exec"))
		return after_exec(argv[2], argv[3]);
	parse_options(argc, argv, &o);
	if (o.list) {
		report_list(&o.selection);
		return 0;
	}
	if (o.trace)
		trace_probe(o.trace);
	started_by = getppid();
	system = look_around();
	if (o.kmsg && (kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC)) < 0)
		dprintf(STDERR_FILENO, "payload: /dev/kmsg: %s\n", strerror(errno));
	engine_start(o.deadline_ms);
	report_plan(&o.selection, &system);
	for (size_t cursor = 0; next_probe(&o.selection, &probe, &cursor); observations++) {
		if (system.mseal == ENOSYS)
			observe_nothing(&probe, system.mseal);
		else
			observe(&probe, &kmsg);
	}
	report_end(observations);
	return 0;
}
