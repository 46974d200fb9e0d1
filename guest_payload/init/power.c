/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "power.h"
#include "log.h"
#include "sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Sends SIGKILL to each of our children; returns how many there are, dead ones included. */
static int kill_children(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	while (processes && (entry = readdir(processes))) {
		char file[300], line[512], *after;
		pid_t pid = (pid_t)atoi(entry->d_name), parent;

		snprintf(file, sizeof(file), "/proc/%s/stat", entry->d_name);
		/* "PID (NAME) STATE PARENT ...", where NAME may hold anything */
		if (pid <= 0 || !read_file(file, line, sizeof(line)) || !(after = strrchr(line, ')')))
			continue;
		if (sscanf(after + 1, " %*c %d", &parent) == 1 && parent == getpid()) {
			kill(pid, SIGKILL);
			count++;
		}
	}
	if (processes)
		closedir(processes);
	return count;
}

/* for what was killed to be gone, also a fork bomb's thousands; more means the kernel holds on */
enum { GONE_SECONDS = 15 };

static volatile sig_atomic_t overdue;

static void on_overdue(int signal)
{
	(void)signal;
	overdue = 1;
}

/*
 * As PID 1, one signal to everything is enough, however wildly it forks: fork() is refused under the same lock once a
 * fatal signal is pending (kernel/fork.c, copy_process()). Elsewhere others would be hit: there our children are
 * killed until we have none. Whoever loses its parent becomes our child, so there is nobody left when there is nobody
 * to wait for. 0 when somebody is: a process that waits in the kernel for what will never come cannot be killed.
 */
int end_children(void)
{
	struct sigaction action = {.sa_handler = on_overdue}; /* no SA_RESTART: it is to end a wait */
	int ignored;

	sigaction(SIGALRM, &action, NULL);
	overdue = 0;
	alarm(GONE_SECONDS);
	if (role == ROLE_INIT) {
		kill(-1, SIGKILL);
		while (waitpid(-1, &ignored, 0) > 0 || (errno == EINTR && !overdue))
			;
	} else {
		while (!overdue && kill_children() > 0)
			waitpid(-1, &ignored, 0);
	}
	alarm(0);
	return !overdue;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status, (void)kind, (void)place;
	remove(path);
	return 0;
}

/* Nothing stays behind on a machine we visit: neither what was started nor what was written. */
static _Noreturn void leave(void)
{
	end_children();
	if (chdir("/") == 0)
		nftw(work, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	_exit(0);
}

_Noreturn void power_off(const char *format, ...)
{
	char why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	say("power off: %s", why);
	if (role == ROLE_VISITOR)
		leave();
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
