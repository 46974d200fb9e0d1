/* SPDX-License-Identifier: MIT */
/* For testing the engine and the host, never a kernel: processes that hang, die, flee, flood or write garbage. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

static long hang(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	for (;;)
		pause();
	return 0;
}

static long crash(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	*(volatile int *)8 = 1;
	return 0;
}

static long calm(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	return 0;
}

static long loop(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	for (volatile int i = 0;; i++)
		;
	return 0;
}

/* From under its own feet. */
static long unmap_stack(struct window *w, const struct operation *op)
{
	char here;
	uintptr_t page = w->unit, from = ((uintptr_t)&here & ~(page - 1)) - 2 * page;

	(void)op;
	return sys(SYS_munmap, from, 4 * page);
}

static long close_everything(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	return sys(SYS_close_range, 0, ~0u, 0);
}

/* Leaves processes behind: in our session, and in one of their own. */
static long flee(struct window *w, const struct operation *op)
{
	(void)w;
	for (int i = 0; i < 4; i++) {
		if (sys(SYS_clone, SIGCHLD, 0, 0, 0, 0))
			continue;
		if (i % 2)
			setsid();
		hang(w, op);
	}
	return 0;
}

/* a: lines to write on standard output, of bytes that are no record */
static long babble(struct window *w, const struct operation *op)
{
	static const char garbage[] = "\x1b[31m\x01\x02 not a record \xff\xfe<&>]]>\n";

	(void)w;
	for (unsigned long i = 0; i < op->a; i++)
		if (write(STDOUT_FILENO, garbage, sizeof(garbage) - 1) < 0)
			return -1;
	return 0;
}

/* Kills the payload itself. */
static long die(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	return kill(getppid(), SIGKILL);
}

/* Takes the machine down, if the machine is ours. */
static long panic(struct window *w, const struct operation *op)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	(void)w, (void)op;
	return fd < 0 ? -1 : write(fd, "c", 1);
}

/* ------------------------------------------------------------------ what things cost here; bench/payload.py asks */

enum { TIMES = 200 };

static long mean_ns(struct window *w, void (*act)(struct window *w))
{
	long from = now_ns();

	for (int i = 0; i < TIMES; i++)
		act(w);
	return (now_ns() - from) / TIMES;
}

static void fork_and_wait(struct window *w)
{
	long pid = child_process();

	(void)w;
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		await(pid);
}

static void look(struct window *w)
{
	struct unit_fact seen[UNITS_MAX];

	take_snapshot(w, seen);
}

static void call_system(struct window *w)
{
	(void)w;
	sys(SYS_getppid);
}

/* A page of the window goes and comes back: two system calls and a fault. */
static void fault(struct window *w)
{
	sys(SYS_madvise, w->start, w->unit, ADV_DONTNEED);
	*(volatile char *)w->start = 1;
}

/* A store that faults, and is survived: a signal, and a jump out of its handler. */
static void faulting_store(struct window *w)
{
	(void)w;
	try_write((char *)8);
}

/* Changes the protection of a page there and back: two flushes of what the processor knows of addresses. */
static void reprotect(struct window *w)
{
	sys(SYS_mprotect, w->start, w->unit, 1);
	sys(SYS_mprotect, w->start, w->unit, 3);
}

static void kernel_store(struct window *w)
{
	sys(SYS_getcpu, w->start, 0, 0);
}

static long measure(struct window *w, const struct operation *op)
{
	(void)op;
	add_extra(w, "fork_ns", mean_ns(w, fork_and_wait));
	add_extra(w, "snapshot_ns", mean_ns(w, look));
	add_extra(w, "syscall_ns", mean_ns(w, call_system));
	add_extra(w, "fault_ns", mean_ns(w, fault));
	return 0;
}

static long measure_more(struct window *w, const struct operation *op)
{
	(void)op;
	add_extra(w, "signal_ns", mean_ns(w, faulting_store));
	add_extra(w, "reprotect_ns", mean_ns(w, reprotect));
	add_extra(w, "kernel_store_ns", mean_ns(w, kernel_store));
	return 0;
}

#define ONCE {{SET(ANON_RW), SET(EXACT)}}

#define OFTEN {{SET(ANON_RW), S_INSIDE | S_MIXED}}

/* In this order, so that the others can be the first, the last, or among calm ones. */
static const struct operation operations[] = {
	{.name = "selftest-calm", .perform = calm, .traits = SELFTEST, .covers = OFTEN},
	{.name = "selftest-loop", .perform = loop, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-unmap-stack", .perform = unmap_stack, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-close-all", .perform = close_everything, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-hang", .perform = hang, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-crash", .perform = crash, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-flee", .perform = flee, .traits = SELFTEST | LONE, .covers = ONCE},
	{.name = "selftest-garbage", .perform = babble, .a = 3, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-flood", .perform = babble, .a = 1000000, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-die", .perform = die, .traits = SELFTEST, .covers = ONCE},
	{.name = "selftest-costs-more", .perform = measure_more, .traits = SELFTEST | LONE, .covers = ONCE},
	{.name = "selftest-costs", .perform = measure, .traits = SELFTEST | LONE, .covers = ONCE},
	{.name = "selftest-panic", .perform = panic, .traits = SELFTEST, .needs = NEED(MACHINE),
	 .covers = ONCE},
	{.name = "selftest-calm-after", .perform = calm, .traits = SELFTEST, .covers = OFTEN},
};

const struct family family_selftest = {.name = "selftest", .operations = operations, .count = COUNT(operations)};
