/* SPDX-License-Identifier: MIT */
/*
 * Memory that the kernel has allocated and nothing points to any more. A kernel with kmemleak looks for it when it is
 * told to, and names what two searches have found: what is about to be stored somewhere is not there in both. It names
 * nothing younger than five seconds (mm/kmemleak.c: MSECS_MIN_AGE). What it names is written to the kernel's log, as
 * it stands, where the host looks for whatever the kernel says of itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "listing.h"
#include "payload.h"

#define LIST "/sys/kernel/debug/kmemleak"

enum { OLD_ENOUGH_S = 6, LINES_MAX = 3000, STACKS = 16 };

/* The log drops lines that come fast unless it was told not to, and says that they were written. */
static bool log_takes_all(void)
{
	char setting[32];

	read_text("/proc/sys/kernel/printk_devkmsg", setting, sizeof(setting));
	return begins(setting, "on");
}

static int cannot(const char *what)
{
	dprintf(STDERR_FILENO, "payload: %s: %s\n", what, strerror(errno));
	return 3;
}

/*
 * The kernel keeps stacks of processes that have ended for the next ones, and what such a process pointed to seems in
 * use as long as nobody has its stack. So that many processes at once get them, clean.
 */
static bool reuse_stacks(void)
{
	int line[2], started = 0;
	char byte;

	if (pipe(line))
		return false;
	for (pid_t pid; started < STACKS && (pid = fork()) >= 0; started++) {
		if (pid)
			continue;
		close(line[1]);
		_exit(read(line[0], &byte, 1) != 0); /* until the last of us is there */
	}
	close(line[0]);
	close(line[1]);
	for (int i = 0; i < started; i++)
		wait(NULL);
	return started == STACKS;
}

static bool search(int list)
{
	return write(list, "scan", 4) == 4;
}

/* Of each object the first bytes are shown, which nobody reads. */
static bool shows_bytes(const char *line)
{
	return begins(line, "  hex dump") || (begins(line, "    ") && line[4] && line[5] && line[6] == ' ');
}

/* Each line of the list as one of the log. What was lost last stands last: a list that is cut would not tell it. */
static bool tell(int list, int log)
{
	char text[4096], line[160];
	size_t length = 0;
	int lines = 0;
	ssize_t got;

	while ((got = read(list, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < got; i++) {
			if (text[i] != '\n') {
				if (length < sizeof(line) - 1)
					line[length++] = text[i];
				continue;
			}
			line[length] = 0;
			length = 0;
			if (shows_bytes(line))
				continue;
			if (lines++ == LINES_MAX) {
				errno = E2BIG;
				return false;
			}
			if (dprintf(log, "<1>kmemleak: %s\n", line) < 0)
				return false;
		}
	return got == 0;
}

int tell_leaks(void)
{
	const struct timespec wait = {.tv_sec = OLD_ENOUGH_S};
	int list, log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (log < 0)
		return cannot("/dev/kmsg");
	if (!log_takes_all()) {
		errno = EBUSY;
		return cannot("/proc/sys/kernel/printk_devkmsg is not \"on\"");
	}
	if (mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL) && errno != EBUSY)
		return cannot("mounting debugfs");
	list = open(LIST, O_RDWR | O_CLOEXEC);
	if (list < 0)
		return cannot(LIST);
	if (!reuse_stacks())
		return cannot("processes for the stacks of those that ended");
	if (!search(list))
		return cannot("the first search for lost memory");
	nanosleep(&wait, NULL);
	if (!search(list) || lseek(list, 0, SEEK_SET)) /* what was written counts as read */
		return cannot("the second search for lost memory");
	return tell(list, log) ? 0 : cannot(LIST);
}
