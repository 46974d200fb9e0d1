/* SPDX-License-Identifier: MIT */
/* A payload that says and does what its arguments tell it, pair by pair: "say TEXT", "kmsg TEXT", "do FAULT". */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void put(int fd, const char *text, size_t length)
{
	while (length) {
		ssize_t written = write(fd, text, length);

		if (written < 0)
			_exit(9);
		text += written;
		length -= (size_t)written;
	}
}

static void put_into(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		_exit(8);
	put(fd, text, strlen(text));
	close(fd);
}

/*
 * What was said is to be with the host before the machine goes. The agent takes it from the pipe and then stays runnable,
 * on the machine's only CPU, until the host has it; so it is let run until it has nothing to do.
 */
static void be_heard(void)
{
	int unread;

	while (ioctl(1, FIONREAD, &unread) == 0 && unread)
		sched_yield();
	for (int i = 0; i < 1000; i++)
		sched_yield();
}

static void misbehave(const char *fault)
{
	static const char noise[] = "\x1b[2J\x00\x01\xff]]>\x07<x>&\r\n{\"type\":\"observation\"}\n";
	char block[4096];

	memset(block, 'x', sizeof(block));
	if (strcmp(fault, "panic") == 0) {
		be_heard();
		put_into("/proc/sysrq-trigger", "c");
	}
	if (strcmp(fault, "die") == 0)
		raise(SIGSEGV);
	if (strcmp(fault, "noise") == 0)
		put(1, noise, sizeof(noise) - 1);
	while (strcmp(fault, "flood") == 0)
		put(1, block, sizeof(block));
	while (strcmp(fault, "hang") == 0)
		pause();
}

int main(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "say") == 0) {
			put(1, argv[i + 1], strlen(argv[i + 1]));
			put(1, "\n", 1);
		} else if (strcmp(argv[i], "kmsg") == 0) {
			put_into("/dev/kmsg", argv[i + 1]);
		} else {
			misbehave(argv[i + 1]);
		}
	}
	return 0;
}
