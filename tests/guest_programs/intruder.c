/* SPDX-License-Identifier: MIT */
/*
 * A program that does to the machine's PID 1 what no program should: it writes to its channel, or traces it. Or it is
 * traced itself, which shall not be taken for what the program says.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* PID 1's descriptor of the channel's port; opening the port again is refused. */
static int channel(void)
{
	char path[64], target[64];
	int pid1 = (int)syscall(SYS_pidfd_open, 1, 0);

	for (int fd = 0; fd < 32; fd++) {
		ssize_t length;

		snprintf(path, sizeof(path), "/proc/1/fd/%d", fd);
		length = readlink(path, target, sizeof(target) - 1);
		if (length > 0 && (target[length] = 0, strstr(target, "/vport")))
			return (int)syscall(SYS_pidfd_getfd, pid1, fd, 0);
	}
	return -1;
}

static int forge(const char *frames)
{
	int fd = channel();

	if (fd < 0 || write(fd, frames, strlen(frames)) < 0) {
		perror("the channel");
		return 1;
	}
	return 0;
}

static int trace(void)
{
	int status;

	if (ptrace(PTRACE_ATTACH, 1, 0, 0) < 0 || waitpid(1, &status, __WALL) < 0 || ptrace(PTRACE_DETACH, 1, 0, 0) < 0) {
		perror("ptrace");
		return 1;
	}
	return 0;
}

/* Another process traces the program that PID 1 started. */
static int trace_program(void)
{
	pid_t program = getpid(), pid = fork();

	if (pid == 0) {
		if (ptrace(PTRACE_SEIZE, program, 0, 0) < 0)
			_exit(1);
		usleep(300000);
		_exit(0);
	}
	usleep(400000);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 1;

	if (argc > 1 && !strcmp(argv[1], "out"))
		failed = forge("out 6\nforged");
	if (argc > 1 && !strcmp(argv[1], "exit"))
		failed = forge("exit 47\n{\"status\":0,\"signal\":null,\"frames\":0,\"bytes\":0}");
	if (argc > 1 && !strcmp(argv[1], "trace"))
		failed = trace();
	if (argc > 1 && !strcmp(argv[1], "trace-program"))
		failed = trace_program();
	if (failed)
		return failed;
	usleep(300000); /* what PID 1 does about it, it does by itself */
	puts("undisturbed");
	return 0;
}
