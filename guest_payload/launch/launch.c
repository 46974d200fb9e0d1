/* SPDX-License-Identifier: MIT */
/*
 * Runs a foreign test program in a folder of its own, and ends it at its deadline with all that it started:
 *
 *   launch [--in DIR] [--place FROM TO]... [--set NAME=VALUE]... [--kmsg ID] [--deadline-ms N] [PROGRAM [ARGUMENT]...]
 *
 * Pushed files have plain names and lie side by side; --place moves one to where the program expects it, below DIR.
 * Ends as the program did: with its status, or by its signal. A program that is out of time is killed, and then this
 * one ends by SIGALRM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOT_RUN = 126, PATH_SIZE = 4096 };

static _Noreturn void fail(const char *what, const char *which)
{
	dprintf(STDERR_FILENO, "launch: %s %s: %s\n", what, which, strerror(errno));
	exit(NOT_RUN);
}

/* Makes every folder of a path but its last part. */
static void make_folders(const char *path)
{
	char part[PATH_SIZE];

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		fail("path", path);
	for (char *end = strchr(part + 1, '/'); end; end = strchr(end + 1, '/')) {
		*end = 0;
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			fail("mkdir", part);
		*end = '/';
	}
}

static void place(const char *folder, const char *from, const char *to)
{
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/%s", folder, to) >= (int)sizeof(path))
		fail("path", to);
	make_folders(path);
	if (rename(from, path) < 0)
		fail("place", path);
}

/* The console tells with this which program ran when the kernel complained (harness/guests/console.py). */
static void mark(const char *id)
{
	char line[512];
	int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	int length = snprintf(line, sizeof(line), "<6>sealmatrix: begin %s\n", id);

	if (kmsg < 0)
		return;
	if (write(kmsg, line, (size_t)length) != length)
		dprintf(STDERR_FILENO, "launch: /dev/kmsg: %s\n", strerror(errno));
	close(kmsg);
}

/* Whatever the program left running is ours, for we are its subreaper: nothing of it outlives this. */
static void end_all(pid_t group)
{
	kill(-group, SIGKILL);
	while (waitpid(-group, NULL, 0) > 0 || errno == EINTR)
		;
}

/* Waits for the program until its deadline; 0 when it is out of time. */
static int await(pid_t program, long milliseconds, int *status)
{
	struct timespec now, end;
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += milliseconds / 1000;
	end.tv_nsec += milliseconds % 1000 * 1000000;
	for (;;) {
		struct timespec left;
		pid_t done = waitpid(program, status, WNOHANG);

		if (done == program)
			return 1;
		clock_gettime(CLOCK_MONOTONIC, &now);
		left.tv_sec = end.tv_sec - now.tv_sec;
		left.tv_nsec = end.tv_nsec - now.tv_nsec;
		while (left.tv_nsec < 0) {
			left.tv_nsec += 1000000000;
			left.tv_sec--;
		}
		while (left.tv_nsec >= 1000000000) {
			left.tv_nsec -= 1000000000;
			left.tv_sec++;
		}
		if (milliseconds && left.tv_sec < 0)
			return 0;
		if (milliseconds)
			sigtimedwait(&child, NULL, &left);
		else
			sigwaitinfo(&child, NULL);
	}
}

static _Noreturn void end_by(int number)
{
	struct rlimit none = {0, 0};
	sigset_t all;

	setrlimit(RLIMIT_CORE, &none);
	signal(number, SIG_DFL);
	sigemptyset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	raise(number);
	_exit(128 + number);
}

static _Noreturn void run(char **argv, long milliseconds)
{
	sigset_t child, before;
	pid_t program;
	int status;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	program = fork();
	if (program < 0)
		fail("fork", argv[0]);
	if (program == 0) {
		setpgid(0, 0);
		sigprocmask(SIG_SETMASK, &before, NULL);
		execv(argv[0], argv);
		fail("exec", argv[0]);
	}
	setpgid(program, program);
	if (!await(program, milliseconds, &status)) {
		end_all(program);
		end_by(SIGALRM);
	}
	end_all(program);
	if (WIFSIGNALED(status))
		end_by(WTERMSIG(status));
	exit(WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	const char *folder = ".", *id = NULL;
	long milliseconds = 0;
	int i = 1;

	for (; i + 1 < argc && !strncmp(argv[i], "--", 2); i += 2) {
		if (!strcmp(argv[i], "--in")) {
			folder = argv[i + 1];
		} else if (!strcmp(argv[i], "--place") && i + 2 < argc) {
			place(folder, argv[i + 1], argv[i + 2]);
			i++;
		} else if (!strcmp(argv[i], "--set")) {
			putenv(argv[i + 1]);
		} else if (!strcmp(argv[i], "--kmsg")) {
			id = argv[i + 1];
		} else if (!strcmp(argv[i], "--deadline-ms")) {
			milliseconds = atol(argv[i + 1]);
		} else {
			errno = EINVAL;
			fail("option", argv[i]);
		}
	}
	if (i >= argc)
		return 0;
	if (chdir(folder) < 0)
		fail("chdir", folder);
	if (id)
		mark(id);
	run(argv + i, milliseconds);
}
