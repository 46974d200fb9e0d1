/* SPDX-License-Identifier: MIT */
/*
 * What system calls on memory cost, in values of the processor's clock. Prints facts as lines of JSON and judges
 * nothing. A row of the table is measured in a process of its own, as often as it takes for what the kernel keeps
 * ready (slabs, page tables, lists of free pages) to be ready:
 *
 *	cost --list		the rows
 *	cost [ROW]...		measure these, or all
 *	cost --symbols		the kernel's functions and their addresses, as /proc/kallsyms has them
 *
 * A row's name is OPERATION/MAPPINGS/SEALS. For operations on a range, the range is MAPPINGS mappings of one page each,
 * alternately read-only and writable so that no two become one; for others, so many mappings lie beside the one that
 * the operation is about. SEALS is "none", "beside" (a sealed mapping on either side of the range) or "refused" (the
 * last mapping in the range is sealed).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "counter.h"

#ifndef SYS_mseal
#define SYS_mseal 462 /* 6.10: 8be7258aad44 */
#endif

enum {
	CALLS = 48,	      /* of one operation, and */
	CALLS_LARGE = 24,     /* where there are many mappings */
	LARGE = 500,
	PHASES = 24,	      /* places between two values of the counter at which a stretch begins */
	DEADLINE_S = 60,      /* for a row, in the guest's time */
	MOST_MAPPINGS = 1000,
	MEMBARRIER_GLOBAL = 1, /* include/uapi/linux/membarrier.h: MEMBARRIER_CMD_GLOBAL */
	NS = 1000000000,
	ROUND_NS = 20000000,   /* a multiple of the timer's period at HZ 100, 250 and 1000 */
	AFTER_NS = 200000,     /* what the interrupt itself may take */
};

enum seals { SEALS_NONE, SEALS_BESIDE, SEALS_REFUSED };
static const char *const seals_names[] = {
	[SEALS_NONE] = "none",
	[SEALS_BESIDE] = "beside",
	[SEALS_REFUSED] = "refused",
};
static const int mappings_counts[] = {1, 2, 8, 64, MOST_MAPPINGS};

/* Where the operation is to happen. */
struct place {
	char *range;	  /* of mappings pages */
	size_t page;
	int mappings;
	enum seals seals;
	int file;	  /* of one page */
	char *moved;	  /* where a mapping was moved to */
};

struct row_kind {
	const char *name;
	const char *what;
	bool over_range;      /* the range is made of the mappings, and not of one beside them */
	bool seals;	      /* so each call needs a new place, for what it leaves cannot be taken away */
	bool refused;	      /* where memory is sealed */
	bool cold;	      /* the page is not there when the stretch begins */
	bool file;	      /* it is about a page of a file */
	size_t pages;	      /* of the one mapping, where the operation is not over a range */
	long (*run)(struct place *p);
	void (*undo)(struct place *p);
};

static struct results {
	int calls;
	long answer;
	int error;
	uint64_t spent[CALLS];
} *results;

static void die(const char *what)
{
	fprintf(stderr, "cost: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static inline uint64_t stretch_begins(void)
{
	uint64_t now = counter();

	__asm__ volatile(MARK_BEGIN : : : "memory");
	return now;
}

static inline uint64_t stretch_ends(void)
{
	__asm__ volatile(MARK_END : : : "memory");
	return counter();
}

static char *map(char *at, size_t length, int protection, int flags, int fd)
{
	char *got = mmap(at, length, protection, flags, fd, 0);

	if (got == MAP_FAILED)
		die("mmap");
	return got;
}

static size_t range_length(const struct place *p)
{
	return p->page * (size_t)p->mappings;
}

static void touch(char *at, bool write)
{
	if (write)
		*(volatile char *)at = 1;
	else
		(void)*(volatile char *)at;
}

static void map_alternately(char *at, size_t page, int count)
{
	for (int i = 0; i < count; i++) {
		bool writable = i & 1;

		map(at + page * (size_t)i, page, PROT_READ | (writable ? PROT_WRITE : 0),
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
		touch(at + page * (size_t)i, writable);
	}
}

static void seal(char *at, size_t length)
{
	if (syscall(SYS_mseal, at, length, 0ul))
		die("mseal");
}

/* Each operation: what is measured, and how the next call finds the place as this one did. */

static long run_munmap(struct place *p)
{
	return munmap(p->range, range_length(p));
}

static void undo_range(struct place *p)
{
	map_alternately(p->range, p->page, p->mappings);
}

static long run_mmap_fixed(struct place *p)
{
	void *got = mmap(p->range, range_length(p), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	return got == MAP_FAILED ? -1 : 0;
}

static long run_mprotect(struct place *p)
{
	return mprotect(p->range, range_length(p), PROT_NONE);
}

static long run_dontneed(struct place *p)
{
	return madvise(p->range, range_length(p), MADV_DONTNEED);
}

static void undo_touch(struct place *p)
{
	for (int i = 0; i < p->mappings; i++)
		touch(p->range + p->page * (size_t)i, i & 1);
}

static long run_cold(struct place *p)
{
	return madvise(p->range, range_length(p), MADV_COLD);
}

static long run_dontfork(struct place *p)
{
	return madvise(p->range, range_length(p), MADV_DONTFORK);
}

static void undo_dontfork(struct place *p)
{
	madvise(p->range, range_length(p), MADV_DOFORK);
}

static long run_mlock(struct place *p)
{
	return mlock(p->range, range_length(p));
}

static void undo_mlock(struct place *p)
{
	munlock(p->range, range_length(p));
}

static long run_mseal(struct place *p)
{
	return syscall(SYS_mseal, p->range, range_length(p), 0ul);
}

static long run_mmap(struct place *p)
{
	p->moved = mmap(NULL, p->page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p->moved == MAP_FAILED ? -1 : 0;
}

static void undo_mmap(struct place *p)
{
	munmap(p->moved, p->page);
}

static long run_move(struct place *p)
{
	p->moved = mremap(p->range, p->page, p->page, MREMAP_MAYMOVE | MREMAP_FIXED, p->range + 8 * p->page);
	return p->moved == MAP_FAILED ? -1 : 0;
}

static void undo_move(struct place *p)
{
	mremap(p->range + 8 * p->page, p->page, p->page, MREMAP_MAYMOVE | MREMAP_FIXED, p->range);
}

static long run_grow(struct place *p)
{
	return mremap(p->range, p->page, 2 * p->page, 0) == MAP_FAILED ? -1 : 0;
}

static void undo_grow(struct place *p)
{
	munmap(p->range + p->page, p->page);
}

static long run_shrink(struct place *p)
{
	return mremap(p->range, 2 * p->page, p->page, 0) == MAP_FAILED ? -1 : 0;
}

static void undo_shrink(struct place *p)
{
	mremap(p->range, p->page, 2 * p->page, 0);
	touch(p->range + p->page, true);
}

static long run_brk(struct place *p)
{
	p->moved = (char *)syscall(SYS_brk, 0ul);
	return (char *)syscall(SYS_brk, p->moved + p->page) == p->moved + p->page ? 0 : -1;
}

static void undo_brk(struct place *p)
{
	syscall(SYS_brk, p->moved);
}

static long run_fork(struct place *p)
{
	pid_t pid = fork();
	int status;

	(void)p;
	if (!pid)
		_exit(0);
	return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : 0;
}

static long run_fault_write(struct place *p)
{
	touch(p->range, true);
	return 0;
}

static long run_fault_read(struct place *p)
{
	touch(p->range, false);
	return 0;
}

static void undo_fault(struct place *p)
{
	madvise(p->range, p->page, MADV_DONTNEED);
}

static void undo_fault_copy(struct place *p)
{
	madvise(p->range, p->page, MADV_DONTNEED);
	touch(p->range, false);
}

static void undo_fault_file(struct place *p)
{
	madvise(p->moved, p->page, MADV_DONTNEED);
}

static long run_fault_file(struct place *p)
{
	touch(p->moved, false);
	return 0;
}

static void undo_nothing(struct place *p)
{
	(void)p;
}

static const struct row_kind kinds[] = {
	{.name = "munmap", .what = "munmap of the range", .over_range = true, .refused = true, .run = run_munmap,
	 .undo = undo_range},
	{.name = "mmap-fixed", .what = "mmap(MAP_FIXED) of one mapping over the range", .over_range = true,
	 .refused = true, .run = run_mmap_fixed, .undo = undo_range},
	{.name = "mprotect", .what = "mprotect(PROT_NONE) of the range", .over_range = true, .refused = true,
	 .run = run_mprotect, .undo = undo_range},
	{.name = "madvise-dontneed", .what = "madvise(MADV_DONTNEED) of the range", .over_range = true,
	 .run = run_dontneed, .undo = undo_touch},
	{.name = "madvise-cold", .what = "madvise(MADV_COLD) of the range", .over_range = true, .run = run_cold,
	 .undo = undo_touch},
	{.name = "madvise-dontfork", .what = "madvise(MADV_DONTFORK) of the range", .over_range = true,
	 .run = run_dontfork, .undo = undo_dontfork},
	{.name = "mlock", .what = "mlock of the range", .over_range = true, .run = run_mlock, .undo = undo_mlock},
	{.name = "mseal", .what = "mseal of the range", .over_range = true, .seals = true, .run = run_mseal,
	 .undo = undo_nothing},
	{.name = "mmap", .what = "mmap of one page, where the kernel likes", .pages = 1, .run = run_mmap,
	 .undo = undo_mmap},
	{.name = "mremap-move", .what = "mremap(MREMAP_FIXED) of one page", .pages = 1, .refused = true,
	 .run = run_move, .undo = undo_move},
	{.name = "mremap-grow", .what = "mremap of one page to two, in place", .pages = 1, .refused = true,
	 .run = run_grow, .undo = undo_grow},
	{.name = "mremap-shrink", .what = "mremap of two pages to one", .pages = 2, .run = run_shrink,
	 .undo = undo_shrink},
	{.name = "brk", .what = "brk by one page", .pages = 1, .run = run_brk, .undo = undo_brk},
	{.name = "fork-exit", .what = "fork, the child's exit, and waiting for it", .pages = 1, .run = run_fork,
	 .undo = undo_nothing},
	{.name = "fault-anon-read", .what = "first read of an anonymous page", .pages = 1, .cold = true,
	 .run = run_fault_read, .undo = undo_fault},
	{.name = "fault-anon-write", .what = "first write to an anonymous page", .pages = 1, .cold = true,
	 .run = run_fault_write, .undo = undo_fault},
	{.name = "fault-copy", .what = "write to an anonymous page that was read", .pages = 1, .cold = true,
	 .run = run_fault_write, .undo = undo_fault_copy},
	{.name = "fault-file", .what = "first read of a page of a file, in memory", .pages = 1, .file = true,
	 .run = run_fault_file, .undo = undo_fault_file},
};

/*
 * A place far from everything else, with nothing mapped for a gigabyte around it. Memory that was sealed stays, so each
 * call that seals gets the next.
 */
static void prepare(const struct row_kind *kind, struct place *p, int number)
{
	char *base = (char *)0x200000000000ul + (size_t)number * (64ul << 20);
	char *beside = base + (32ul << 20);

	p->range = base + 16 * p->page;
	if (kind->over_range) {
		map_alternately(p->range, p->page, p->mappings);
	} else {
		map(p->range, kind->pages * p->page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		    -1);
		memset(p->range, 1, kind->pages * p->page);
		map_alternately(beside, p->page, p->mappings);
	}
	if (kind->cold)
		kind->undo(p);
	if (kind->file)
		p->moved = map(base + (48ul << 20), p->page, PROT_READ, MAP_SHARED | MAP_FIXED, p->file);
	if (p->seals == SEALS_BESIDE) {
		size_t length = kind->over_range ? range_length(p) : kind->pages * p->page;
		char *sides[] = {p->range - p->page, p->range + length + (kind->over_range ? 0 : 16 * p->page)};

		for (int i = 0; i < 2; i++) {
			map(sides[i], p->page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
			touch(sides[i], false);
			seal(sides[i], p->page);
		}
	}
	if (p->seals == SEALS_REFUSED)
		seal(p->range + (kind->over_range ? range_length(p) - p->page : 0), p->page);
}

/*
 * What earlier calls left behind is done (what they freed is freed after a grace period of RCU), and the timer's
 * interrupt has just been: neither falls into the stretch that follows. While all sleep, the guest's clock jumps.
 */
static void settle(void)
{
	struct timespec at;

	for (int i = 0; i < 2; i++) {
		syscall(SYS_membarrier, MEMBARRIER_GLOBAL, 0, 0);
		clock_gettime(CLOCK_MONOTONIC, &at);
		at.tv_nsec = (at.tv_nsec / ROUND_NS + 2) * ROUND_NS + AFTER_NS;
		at.tv_sec += at.tv_nsec / NS;
		at.tv_nsec %= NS;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	}
}

static void measure(const struct row_kind *kind, struct place *p, int calls)
{
	for (int i = 0; i < calls; i++) {
		uint64_t begun, ended;
		long answer;

		if (!i || kind->seals)
			prepare(kind, p, i);
		settle();
		for (volatile int phase = i * 7 % PHASES; phase > 0; phase--)
			;
		errno = 0;
		begun = stretch_begins();
		answer = kind->run(p);
		ended = stretch_ends();
		results->spent[i] = ended - begun;
		results->answer = answer;
		results->error = answer ? errno : 0;
		results->calls = i + 1;
		if (!answer)
			kind->undo(p);
	}
}

static bool has_row(const struct row_kind *kind, enum seals seals, bool mseal)
{
	if (!mseal && (kind->seals || seals != SEALS_NONE))
		return false;
	return seals != SEALS_REFUSED || kind->refused;
}

static void one(const struct row_kind *kind, int mappings, enum seals seals)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct place place = {
		.page = (size_t)sysconf(_SC_PAGESIZE), .mappings = mappings, .seals = seals, .file = file,
	};
	int status;
	pid_t pid;

	memset(results, 0, sizeof(*results));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		alarm(DEADLINE_S);
		measure(kind, &place, mappings >= LARGE ? CALLS_LARGE : CALLS);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	close(file);
	printf("{\"row\":\"%s/%d/%s\",\"ended\":%d,\"result\":%ld,\"errno\":%d,\"spent\":[", kind->name, mappings,
	       seals_names[seals], status, results->answer, results->error);
	for (int i = 0; i < results->calls; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)results->spent[i]);
	printf("]}\n");
}

static bool asked(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(name, argv[i]))
			return true;
	return argc < 2;
}

static int print_symbols(void)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	char line[512], type;

	if (!file)
		die("/proc/kallsyms");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%*s %c", &type) == 1 && (type == 't' || type == 'T'))
			fputs(line, stdout);
	fclose(file);
	return 0;
}

int main(int argc, char **argv)
{
	bool list = argc == 2 && !strcmp(argv[1], "--list");
	bool mseal = list || !syscall(SYS_mseal, 0ul, 0ul, 0ul);

	if (argc == 2 && !strcmp(argv[1], "--symbols"))
		return print_symbols();
	results = mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (results == MAP_FAILED)
		die("mmap");
	if (!list)
		printf("{\"plan\":1,\"frequency\":%llu,\"mseal\":%s}\n", (unsigned long long)counter_frequency(),
		       mseal ? "true" : "false");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		for (size_t m = 0; m < sizeof(mappings_counts) / sizeof(mappings_counts[0]); m++)
			for (enum seals s = SEALS_NONE; s <= SEALS_REFUSED; s++) {
				char name[64];

				if (!has_row(&kinds[k], s, mseal))
					continue;
				snprintf(name, sizeof(name), "%s/%d/%s", kinds[k].name, mappings_counts[m],
					 seals_names[s]);
				if (list)
					printf("{\"row\":\"%s\",\"what\":\"%s\"}\n", name, kinds[k].what);
				else if (asked(name, argc, argv))
					one(&kinds[k], mappings_counts[m], s);
			}
	if (!list)
		printf("{\"end\":1}\n");
	return 0;
}
