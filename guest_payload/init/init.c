/* SPDX-License-Identifier: MIT */
/*
 * PID 1 of a guest: sets the machine up, says hello on the channel and then carries out one command at a
 * time (docs/reference/protocol.md, "The channel"). It judges nothing and knows nothing of sealing. One process, one
 * thread, no buffer larger than a chunk; whatever it cannot go on from ends the machine, loudly.
 *
 * Where another PID 1 has set the machine up (`init --resident WORK`), and on machines reached over a pair of pipes
 * (`init --visitor WORK`), the same program is the agent: the protocol is the same, what it may touch is not.
 */
#define _GNU_SOURCE
#include "channel.h"
#include "hello.h"
#include "log.h"
#include "port.h"
#include "power.h"
#include "program.h"
#include "renew.h"
#include "setup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT "org.sealmatrix.channel"
#define VISITOR_PATIENCE (10 * 60 * 1000) /* ms: a connection that died without a word leaves nobody behind for ever */

static int write_content(struct frame *frame, int fd)
{
	static char chunk[CHUNK];
	size_t have;

	while ((have = channel_read(frame, chunk, sizeof(chunk))))
		for (size_t done = 0; done < have;) {
			ssize_t n = write(fd, chunk + done, have - done);

			if (n < 0)
				return -1;
			done += (size_t)n;
		}
	return 0;
}

static void take_file(struct frame *frame)
{
	char path[512], mode[16];
	char *name = path + snprintf(path, 256, "%s/", work);
	int fd, result;

	if (!channel_field(frame, name, 256) || !channel_field(frame, mode, sizeof(mode)) || !*name || *name == '.' ||
	    strchr(name, '/')) {
		channel_skip(frame);
		channel_fail("file: the name must be a plain file name and the mode an octal number");
		return;
	}
	unlink(path); /* never write into a file that may be running */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	result = fd < 0 ? -1 : write_content(frame, fd);
	if (!result)
		result = fchmod(fd, (mode_t)strtoul(mode, NULL, 8) & 07777);
	if (result < 0) {
		int reason = errno;

		unlink(path);
		channel_skip(frame);
		channel_fail("file %s: %s", path, strerror(reason));
	} else {
		channel_send("done", "", 0);
	}
	if (fd >= 0)
		close(fd);
}

/* Splits a body of NUL-ended words in place; 0 when there are none, too many, or the last has no end. */
static int split_words(char *body, size_t length, char **words, size_t most)
{
	size_t count = 0;

	if (!length || body[length - 1])
		return 0;
	for (size_t at = 0; at < length; at += strlen(body + at) + 1) {
		if (count + 1 >= most)
			return 0;
		words[count++] = body + at;
	}
	words[count] = NULL;
	return 1;
}

static void take_run(struct frame *frame)
{
	static char body[CHUNK];
	static char *argv[1024];
	size_t length = 0, n;

	while (length < sizeof(body) && (n = channel_read(frame, body + length, sizeof(body) - length)))
		length += n;
	channel_skip(frame);
	if (length == sizeof(body) || !split_words(body, length, argv, sizeof(argv) / sizeof(argv[0])))
		channel_fail("run: argv must be 1 to 1023 words, each ended by NUL, under %u bytes", CHUNK);
	else
		run_program(argv);
}

/* Says what we are; 0 when we are nothing. */
static int find_role(int argc, char **argv)
{
	if (getpid() == 1)
		return 1;
	if (argc != 3 || argv[2][0] != '/' || strlen(argv[2]) > 250)
		return 0;
	role = !strcmp(argv[1], "--visitor") ? ROLE_VISITOR : ROLE_RESIDENT;
	work = argv[2];
	return role == ROLE_VISITOR || !strcmp(argv[1], "--resident");
}

int main(int argc, char **argv)
{
	static char hello[16384];

	if (!find_role(argc, argv))
		return 2;
	signal(SIGPIPE, SIG_IGN); /* writing to a host that is gone fails, and is told */
	set_up_machine();
	if (role == ROLE_VISITOR) {
		channel_open(STDIN_FILENO, STDOUT_FILENO, VISITOR_PATIENCE, hello, describe_machine(hello,
			sizeof(hello), ""));
	} else {
		int port = open_port(PORT);

		channel_open(port, port, -1, hello, describe_machine(hello, sizeof(hello), ""));
	}
	for (;;) {
		struct frame frame = channel_receive();

		if (!strcmp(frame.kind, "file"))
			take_file(&frame);
		else if (!strcmp(frame.kind, "run"))
			take_run(&frame);
		else if (role == ROLE_INIT && !strcmp(frame.kind, "renew"))
			take_renew(&frame);
		else if (!strcmp(frame.kind, "still"))
			channel_send("done", "", 0);
		else if (!strcmp(frame.kind, "stop"))
			power_off("asked to stop");
		else
			power_off("the host broke the protocol: frame '%s'", frame.kind);
	}
}
