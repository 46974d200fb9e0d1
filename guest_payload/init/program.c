/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "program.h"
#include "channel.h"
#include "log.h"
#include "power.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH_SIZE = 256 }; /* of the work directory's path; main() holds to it */

#define KEPT_ERR (2u << 20) /* bytes of standard error forwarded; more than any sane diagnosis */

struct pipe_end {
	const char *kind;
	int fd;
	size_t left, dropped; /* bytes still to forward, bytes thrown away */
};

static volatile sig_atomic_t child_died;

static void on_child(int signal)
{
	(void)signal; /* exists so that epoll_pwait() is interrupted */
	child_died = 1;
}

/* Never returns; an exec that fails is told through `report`, which a working exec closes. */
static _Noreturn void become(char **argv, int out, int err, int report, const sigset_t *mask)
{
	static char path[PATH_SIZE + 64], home[PATH_SIZE + 8], tmp[PATH_SIZE + 8];
	static char *environment[] = {path, home, tmp, NULL};
	int null = open("/dev/null", O_RDONLY), reason;

	snprintf(path, sizeof(path), "PATH=%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", work);
	snprintf(home, sizeof(home), "HOME=%s", work);
	snprintf(tmp, sizeof(tmp), "TMPDIR=%s", work);
	setsid();
	setpriority(PRIO_PROCESS, 0, 0);
	signal(SIGPIPE, SIG_DFL);
	if (chdir(work) == 0 && dup2(null, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2) {
		sigprocmask(SIG_SETMASK, mask, NULL);
		execve(argv[0], argv, environment);
	}
	reason = errno;
	if (write(report, &reason, sizeof(reason)) < 0)
		_exit(126);
	_exit(127);
}

/* Forwards what one read gives; 0 when there is nothing now, -1 when every writer is gone. */
static struct {
	unsigned long frames, bytes; /* of what the program wrote */
} forwarded;

static int forward(struct pipe_end *end)
{
	static char chunk[CHUNK];
	ssize_t n = read(end->fd, chunk, sizeof(chunk));
	size_t kept;

	if (n < 0)
		return errno == EINTR;
	if (n == 0)
		return -1;
	kept = (size_t)n < end->left ? (size_t)n : end->left;
	if (kept) {
		channel_send(end->kind, chunk, kept);
		forwarded.frames++;
		forwarded.bytes += kept;
	}
	end->left -= kept;
	end->dropped += (size_t)n - kept;
	return 1;
}

/* Reaps whatever has died; 1 when the program itself was among it. */
static int reap(pid_t program, int *status, int options)
{
	int seen = 0, one;
	pid_t pid;

	while ((pid = waitpid(-1, &one, options)) > 0 || (pid < 0 && errno == EINTR))
		if (pid == program) {
			*status = one;
			seen = 1;
		}
	return seen;
}

/* Between frames the host may only say stop while a program runs. */
static void hear_host(void)
{
	struct frame frame = channel_receive();

	if (!strcmp(frame.kind, "stop"))
		power_off("asked to stop");
	power_off("the host broke the protocol: '%s' while a program runs", frame.kind);
}

enum { LOOK_MS = 100 };

/*
 * Now and then: whoever traces the program can have it say anything. Its own children may be traced, by itself for one
 * (strace). Reading it costs 0.1 ms of emulated time.
 */
static void refuse_tracer(pid_t program)
{
	static struct timespec last;
	char path[40], status[4096];
	struct timespec now;
	const char *tracer;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < LOOK_MS)
		return;
	last = now;
	snprintf(path, sizeof(path), "/proc/%d/status", program);
	read_file(path, status, sizeof(status));
	tracer = strstr(status, "\nTracerPid:\t");
	if (tracer && atoi(tracer + strlen("\nTracerPid:\t")))
		power_off("another process traces the program");
}

static int watch(int fds[3])
{
	int waiter = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < 3; i++) {
		struct epoll_event want = {.events = EPOLLIN, .data = {.u32 = (unsigned)i}};

		if (waiter < 0 || epoll_ctl(waiter, EPOLL_CTL_ADD, fds[i], &want) < 0)
			power_off("epoll: %s", strerror(errno));
	}
	return waiter;
}

/*
 * Forwards until the program is dead. SIGCHLD is blocked but for inside epoll_pwait(), so that none is missed.
 * That call is one of those that end with EINTR when whoever waits in it was stopped (signal(7)), and nothing
 * stops PID 1 but a tracer: what it would say from then on is not its own word.
 */
static int pump(pid_t program, struct pipe_end ends[2], const sigset_t *unblocked)
{
	int waiter = watch((int[]){ends[0].fd, ends[1].fd, channel_fd()}), status = 0;

	while (!reap(program, &status, WNOHANG)) {
		struct epoll_event ready[3];
		int count;

		child_died = 0;
		refuse_tracer(program);
		count = epoll_pwait(waiter, ready, 3, LOOK_MS, unblocked);
		if (count < 0 && errno != EINTR)
			power_off("epoll_pwait: %s", strerror(errno));
		if (count < 0 && !child_died && role == ROLE_INIT)
			power_off("PID 1 was stopped: something in the guest traces it");
		for (int i = 0; i < count; i++) {
			unsigned which = ready[i].data.u32;

			if (which == 2) {
				hear_host();
			} else if (forward(&ends[which]) < 0) {
				close(ends[which].fd); /* and with it, it is watched no more */
				ends[which].fd = -1;
			}
		}
	}
	close(waiter);
	return status;
}

/* Only when nobody is left are the pipes complete. */
static void sweep(struct pipe_end ends[2])
{
	int gone = end_children();

	for (int i = 0; i < 2; i++) {
		while (ends[i].fd >= 0 && forward(&ends[i]) > 0)
			;
		if (ends[i].fd >= 0)
			close(ends[i].fd);
		if (ends[i].dropped)
			say("dropped %zu bytes of standard error", ends[i].dropped);
	}
	/* What the console shows from here on belongs to no probe. */
	if (role != ROLE_VISITOR)
		say("end");
	if (!gone)
		power_off("what the program started outlives SIGKILL");
}

static void send_exit(int status)
{
	char body[160], how[32];
	int n;

	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "null,\"signal\":%d", WTERMSIG(status));
	else
		snprintf(how, sizeof(how), "%d,\"signal\":null", WEXITSTATUS(status));
	n = snprintf(body, sizeof(body), "{\"status\":%s,\"frames\":%lu,\"bytes\":%lu}", how, forwarded.frames,
		     forwarded.bytes);
	channel_send("exit", body, (size_t)n);
}

void run_program(char **argv)
{
	struct sigaction action = {.sa_handler = on_child};
	int out[2], err[2], report[2], reason = 0, status;
	sigset_t child, before;
	pid_t program;

	forwarded.frames = forwarded.bytes = 0;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	sigdelset(&before, SIGCHLD); /* blocked since the last program, if there was one */
	sigaction(SIGCHLD, &action, NULL);
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 || pipe2(report, O_CLOEXEC) < 0)
		power_off("pipe: %s", strerror(errno));
	program = fork();
	if (program < 0)
		power_off("fork: %s", strerror(errno));
	if (program == 0)
		become(argv, out[1], err[1], report[1], &before);
	close(out[1]);
	close(err[1]);
	close(report[1]);
	/* Ends at once: by the exec that closes the pipe, or by the reason it did not happen. */
	while (read(report[0], &reason, sizeof(reason)) < 0 && errno == EINTR)
		;
	close(report[0]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);

	struct pipe_end ends[2] = {{"out", out[0], (size_t)-1, 0}, {"err", err[0], KEPT_ERR, 0}};

	status = pump(program, ends, &before);
	sweep(ends);
	if (reason)
		channel_fail("run %s: %s", argv[0], strerror(reason));
	else
		send_exit(status);
}
