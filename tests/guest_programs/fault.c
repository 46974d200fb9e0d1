/* A payload that misbehaves on demand: `fault NAME`. Each name is a way a program or a kernel goes wrong. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(99);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(98);
	}
	close(fd);
}

static void hello(void)
{
	say("hello out\n");
	fprintf(stderr, "hello err\n");
	exit(7);
}

static void die(void)
{
	say("before\n");
	raise(SIGSEGV);
}

static void hang(void)
{
	say("before\n");
	for (;;)
		pause();
}

static void spin(void)
{
	for (;;)
		;
}

static void flood(void)
{
	static char text[65536];

	memset(text, 'x', sizeof(text));
	for (;;)
		if (write(STDOUT_FILENO, text, sizeof(text)) < 0)
			_exit(1);
}

static void flood_err(void)
{
	static char text[65536];

	memset(text, 'e', sizeof(text));
	for (int i = 0; i < 160; i++)
		if (write(STDERR_FILENO, text, sizeof(text)) < 0)
			_exit(1);
	say("done\n");
}

static void garbage(void)
{
	for (int i = 0; i < 4096; i++) {
		unsigned char byte = (unsigned char)(i * 7919 >> 3);

		if (write(STDOUT_FILENO, &byte, 1) < 0)
			_exit(1);
	}
	say("\x1b[2J\x1b]0;title\x07\r\n\xff\xfe\x00 out 99999999999\n");
}

static void mute(void)
{
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	exit(3);
}

/* Leaves a process behind that holds standard output open and has a session of its own. */
static void orphan(void)
{
	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			for (;;)
				pause();
		_exit(0);
	}
	say("left\n");
}

static void bomb(void)
{
	say("forking\n");
	for (int i = 0; i < 6; i++)
		if (fork() == 0)
			for (;;)
				fork();
	setpriority(PRIO_PROCESS, 0, -10); /* or this process would hardly get to its end */
	usleep(300000);
	_exit(5);
}

static void mark(void)
{
	put("/dev/kmsg", "sealmatrix: begin test/probe/one");
}

static void panic(void)
{
	say("before\n");
	mark();
	put("/proc/sys/kernel/sysrq", "1");
	put("/proc/sysrq-trigger", "c");
}

/* PID 1 cannot be killed from below, so this is the nearest thing: the machine is switched off under it. */
static void reset(void)
{
	say("before\n");
	put("/proc/sys/kernel/sysrq", "1");
	put("/proc/sysrq-trigger", "b");
}

/* The channel is PID 1's alone: the driver lets nobody else open a port that is open. */
static void seize(void)
{
	char path[] = "/dev/vport0p1";

	for (; path[10] <= '9'; path[10]++) {
		int fd = open(path, O_RDWR);

		if (fd >= 0 || errno != ENOENT) {
			say(fd >= 0 ? "mine\n" : errno == EBUSY ? "busy\n" : "other\n");
			return;
		}
	}
	say("absent\n");
}

static const struct {
	const char *name;
	void (*perform)(void);
} faults[] = {
	{"hello", hello},         {"die", die},         {"hang", hang},     {"spin", spin}, {"flood", flood},
	{"flood-err", flood_err}, {"garbage", garbage}, {"mute", mute},     {"orphan", orphan}, {"bomb", bomb},
	{"mark", mark},           {"panic", panic},     {"reset", reset},   {"seize", seize},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < sizeof(faults) / sizeof(faults[0]); i++)
		if (!strcmp(argv[1], faults[i].name)) {
			faults[i].perform();
			return 0;
		}
	fprintf(stderr, "usage: fault NAME\n");
	return 2;
}
