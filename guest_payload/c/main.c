/* SPDX-License-Identifier: MIT */
/* Options, and what the system offers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "arch.h"
#include "explore.h"
#include "ops.h"
#include "payload.h"
#include "sys.h"

#ifndef PAYLOAD_ID
#define PAYLOAD_ID "unknown"
#endif

enum { USAGE = 2, DEADLINE_MS = 10000, PATTERNS_MAX = 4096, SAMPLE = 256 };

long started_by, half_deadline_ms;

/* ------------------------------------------------------------------ what the system offers */

static int opens(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
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

/* CapEff of /proc/PID/status: what the kernel may refuse to this caller and not to another. */
static void read_capabilities(char *into, size_t size)
{
	char text[4096], *line;

	read_text("/proc/self/status", text, sizeof(text));
	line = strstr(text, "CapEff:\t");
	if (!line)
		return;
	line += strlen("CapEff:\t");
	line[strcspn(line, "\n")] = 0;
	strncpy(into, line, size - 1);
}

static struct system look_around(void)
{
	struct statfs here = {0};
	struct system system = {
		.mseal = sys_mseal(NULL, 0, 0) ? errno : 0,
		.cpus = cpus(),
		.nodes = nodes(),
		.swap = swap_kib(),
		.hugepages = (long)number_in("/proc/sys/vm/nr_hugepages", ""),
		.seccomp = (long)number_in("/proc/self/status", "Seccomp:"),
		.smaps = opens("/proc/self/smaps"),
		.pagemap = opens("/proc/self/pagemap"),
		.tagged_pointers = ARCH_POINTER_TAG != 0,
	};

	read_capabilities(system.capabilities, sizeof(system.capabilities));
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
	bool list, kmsg, lone, coverage;
	unsigned sample;
	const char *trace;
};

static const char help[] =
	"usage: payload [--list] [--run GLOB]... [--exclude GLOB]... [--deadline-ms N] [--kmsg]\n"
	"               [--lone] [--sample N] [--coverage]\n"
	"       payload --trace PROBE | --explore BATCH [--seen FILE] | --id | --help\n"
	"Exercise mseal(2) and write what happened as JSON lines on standard output (docs/reference/protocol.md).\n"
	"  --list           print the probes, one JSON object a line, and stop\n"
	"  --run GLOB       only the probes whose id (operation/region/span) matches; repeatable\n"
	"  --exclude GLOB   not those; repeatable\n"
	"  --deadline-ms N  how long one half of a probe may take (default 10000)\n"
	"  --kmsg           write the id of each probe to the kernel log before it starts\n"
	"  --lone           each half of a probe in a process of its own, never many in one\n"
	"  --coverage       say which blocks of the kernel's code each sealed half ran through (CONFIG_KCOV)\n"
	"  --sample N       of the probes that share a process, one in N alone as well (default 256)\n"
	"  --trace PROBE    run the control half of one probe and print its system calls\n"
	"  --explore BATCH  run the programs of a file and write what they saw (docs/use/exploration.md)\n"
	"  --seen FILE      also the pairs of blocks they ran through that the file has no bit for (CONFIG_KCOV)\n"
	"  --leaks          have the kernel look for memory it has lost, and log it (CONFIG_DEBUG_KMEMLEAK)\n"
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

static long parse_number(const char *text, long least, long most, const char *complaint)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < least || value > most)
		usage(complaint, text);
	return value;
}

static void parse_options(int argc, char **argv, struct options *o)
{
	static char *run[PATTERNS_MAX], *exclude[PATTERNS_MAX];

	o->selection.run = run;
	o->selection.exclude = exclude;
	o->deadline_ms = DEADLINE_MS;
	o->sample = SAMPLE;
	if (argc > 2 * PATTERNS_MAX)
		usage("too many", "options");
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		bool last = i + 1 == argc;

		if (!strcmp(name, "--list"))
			o->list = true;
		else if (!strcmp(name, "--kmsg"))
			o->kmsg = true;
		else if (!strcmp(name, "--lone"))
			o->lone = true;
		else if (!strcmp(name, "--coverage"))
			o->coverage = o->lone = true;
		else if (!strcmp(name, "--id"))
			print_and_stop(PAYLOAD_ID "\n");
		else if (!strcmp(name, "--help"))
			print_and_stop(help);
		else if (!strcmp(name, "--sample") && !last)
			o->sample =
				(unsigned)parse_number(argv[++i], 1, 1000000, "--sample wants a number, not");
		else if (!strcmp(name, "--run") && !last)
			run[o->selection.runs++] = argv[++i];
		else if (!strcmp(name, "--exclude") && !last)
			exclude[o->selection.excludes++] = argv[++i];
		else if (!strcmp(name, "--trace") && !last)
			o->trace = argv[++i];
		else if (!strcmp(name, "--deadline-ms") && !last)
			o->deadline_ms = parse_number(argv[++i], 1, 86400000,
						      "--deadline-ms wants milliseconds from 1 to 86400000, not");
		else
			usage(name[0] == '-' && last ? "unknown option, or one without its value:" : "unknown option",
				name);
	}
}

/* ------------------------------------------------------------------ the run */

static _Noreturn void trace_probe(const char *id)
{
	struct selection all = {0};
	struct plan plan = make_plan(&all);

	for (size_t i = 0; i < plan.count; i++) {
		struct probe probe = probe_at(&plan, i);

		if (!strcmp(probe.id, id))
			trace(&probe);
	}
	usage("there is no probe", id);
}

/* Another sample each time; any number will do. */
static unsigned random_number(void)
{
	unsigned number = 0;

	syscall(SYS_getrandom, &number, sizeof(number), GRND_NONBLOCK);
	return number % 1000000;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	struct system system;
	struct plan plan;
	int kmsg = -1, lanes;

	if (argc == 4 && !strcmp(argv[1], "--after-exec"))
		return after_exec(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "--at-page-zero"))
		return at_page_zero(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "--explore"))
		return explore(argv[2], NULL);
	if (argc == 5 && !strcmp(argv[1], "--explore") && !strcmp(argv[3], "--seen"))
		return explore(argv[2], argv[4]);
	if (argc == 2 && !strcmp(argv[1], "--leaks"))
		return tell_leaks();
	parse_options(argc, argv, &o);
	report_start(NULL);
	if (o.trace)
		trace_probe(o.trace);
	plan = make_plan(&o.selection);
	if (o.list) {
		report_list(&plan);
		return 0;
	}
	started_by = getppid();
	half_deadline_ms = o.deadline_ms;
	system = look_around();
	lanes = o.coverage ? 1 : lanes_for(&system);
	if (o.kmsg && (kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC)) < 0)
		dprintf(STDERR_FILENO, "payload: /dev/kmsg: %s\n", strerror(errno));
	report_plan(&plan, &system, lanes);
	run_plan(&plan, &system, &(struct how){.lanes = lanes, .lone = o.lone, .coverage = o.coverage,
		.sample = o.sample, .seed = random_number(), .deadline_ms = o.deadline_ms,
		.kmsg = kmsg});
	return 0;
}
