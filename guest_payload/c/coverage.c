/* SPDX-License-Identifier: MIT */
/*
 * Which blocks of the kernel's code a sealed half ran through, for --coverage: KCOV writes the address of each into
 * memory that the engine shares with the half, so that what a half came to survives its end. A kernel has it where it
 * was built with CONFIG_KCOV (Documentation/dev-tools/kcov.rst). Threads and children of a half are not followed.
 *
 * Exploration asks for it, too: of each program, for what the steps of its pass with seals ran through; and only for
 * what the host has not heard of yet.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "payload.h"

/* include/uapi/linux/kcov.h */
#define KCOV_INIT_TRACE _IOR('c', 1, unsigned long)
#define KCOV_ENABLE _IO('c', 100)
enum { KCOV_TRACE_PC = 0 };

enum {
	AREA_WORDS = 1 << 16, /* the first of them counts the others */
	TABLE_SIZE = 1 << 14, /* of pairs, a power of two */
	PAIRS_MAX = TABLE_SIZE - TABLE_SIZE / 4,
	SEEN_SHIFT = 64 - COVERAGE_SEEN_BITS,
};

static struct {
	int fd;
	uint64_t *area; /* NULL: nobody wants to know */
	uint64_t *table;
	uint64_t kept; /* words of the area that hold, since coverage_pause() */
} kcov;

static _Noreturn void give_up(const char *what)
{
	dprintf(STDERR_FILENO, "payload: coverage: %s: %s\n", what, strerror(errno));
	_exit(3);
}

void coverage_open(void)
{
	if (mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL) && errno != EBUSY)
		give_up("mounting debugfs");
	kcov.fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	if (kcov.fd < 0)
		give_up("/sys/kernel/debug/kcov");
	if (ioctl(kcov.fd, KCOV_INIT_TRACE, AREA_WORDS))
		give_up("KCOV_INIT_TRACE");
	kcov.area = mmap(NULL, AREA_WORDS * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, kcov.fd, 0);
	if (kcov.area == MAP_FAILED)
		give_up("mmap");
	kcov.table = map_memory(TABLE_SIZE * sizeof(uint64_t), MAP_PRIVATE);
	madvise(kcov.table, TABLE_SIZE * sizeof(uint64_t), MADV_DONTFORK);
}

void coverage_forget(void)
{
	kcov.kept = 0;
	if (kcov.area)
		__atomic_store_n(kcov.area, 0, __ATOMIC_RELAXED);
}

/* What is gathered from here to coverage_resume() will be written over. */
void coverage_pause(void)
{
	if (kcov.area)
		kcov.kept = __atomic_load_n(kcov.area, __ATOMIC_RELAXED);
}

void coverage_resume(void)
{
	if (kcov.area)
		__atomic_store_n(kcov.area, kcov.kept, __ATOMIC_RELAXED);
}

/* By a child, which is not followed and must not write into the area of its parent. */
void coverage_leave(void)
{
	kcov.area = NULL;
}

/* For the process that calls, until it ends. One that ended before has given it free by then. */
void coverage_begin(void)
{
	if (kcov.area)
		ioctl(kcov.fd, KCOV_ENABLE, KCOV_TRACE_PC); /* where it fails, there are no blocks, and that is told */
}

static uint64_t spread(uint64_t pair)
{
	return pair * 0x9E3779B97F4A7C15ull;
}

/* Whether a pair is new; pairs are never 0. */
static bool enter(uint64_t pair)
{
	size_t at = (size_t)(spread(pair) >> 50) % TABLE_SIZE;

	while (kcov.table[at] && kcov.table[at] != pair)
		at = (at + 1) % TABLE_SIZE;
	if (kcov.table[at])
		return false;
	kcov.table[at] = pair;
	return true;
}

/*
 * Each block with the one before it, by the lower halves of their addresses; 0 is before the first. Calls `take` for
 * each pair once, and says whether that is all there was.
 */
bool coverage_pairs(void (*take)(uint32_t from, uint32_t to))
{
	uint64_t count = __atomic_load_n(kcov.area, __ATOMIC_RELAXED), before = 0;
	size_t pairs = 0;

	memset(kcov.table, 0, TABLE_SIZE * sizeof(uint64_t));
	for (uint64_t i = 1; i <= count && i < AREA_WORDS; i++) {
		uint64_t to = kcov.area[i] & UINT32_MAX, pair = before << 32 | to;

		before = to;
		if (!pair || !enter(pair))
			continue;
		if (++pairs > PAIRS_MAX)
			return false;
		take((uint32_t)(pair >> 32), (uint32_t)to);
	}
	return count + 1 < AREA_WORDS;
}

/*
 * Of what was gathered until coverage_pause(): each pair that `seen` has no bit for, which it has afterwards. Two pairs
 * may share a bit; then the second is never told.
 */
void coverage_unseen(uint8_t *seen, void (*take)(uint32_t from, uint32_t to))
{
	uint64_t before = 0;

	for (uint64_t i = 1; kcov.area && i <= kcov.kept && i < AREA_WORDS; i++) {
		uint64_t to = kcov.area[i] & UINT32_MAX, bit = spread(before << 32 | to) >> SEEN_SHIFT;

		if (!(seen[bit / 8] & 1 << bit % 8)) {
			seen[bit / 8] |= (uint8_t)(1 << bit % 8);
			take((uint32_t)before, (uint32_t)to);
		}
		before = to;
	}
}
