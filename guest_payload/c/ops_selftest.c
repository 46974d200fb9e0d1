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
}

static long crash(struct window *w, const struct operation *op)
{
	(void)w, (void)op;
	*(volatile int *)8 = 1;
	return 0;
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

/* Takes the machine down, if the machine is ours: one whose PID 1 started the payload. Asked in prepare(). */
static void need_machine(struct window *w, const struct operation *op)
{
	(void)op;
	if (started_by != 1)
		fail_step(w, "a machine of our own", EPERM);
}

static long panic(struct window *w, const struct operation *op)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	(void)w, (void)op;
	return fd < 0 ? -1 : write(fd, "c", 1);
}

#define ONCE {{SET(ANON_RW), SET(EXACT)}}

static const struct operation operations[] = {
	{"selftest-hang", NULL, hang, 0, 0, SELFTEST, ONCE},
	{"selftest-crash", NULL, crash, 0, 0, SELFTEST, ONCE},
	{"selftest-flee", NULL, flee, 0, 0, SELFTEST, ONCE},
	{"selftest-garbage", NULL, babble, 3, 0, SELFTEST, ONCE},
	{"selftest-flood", NULL, babble, 1000000, 0, SELFTEST, ONCE},
	{"selftest-die", NULL, die, 0, 0, SELFTEST, ONCE},
	{"selftest-panic", need_machine, panic, 0, 0, SELFTEST, ONCE},
};

const struct family family_selftest = {"selftest", operations, COUNT(operations)};
