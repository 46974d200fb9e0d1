/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "renew.h"
#include "hello.h"
#include "log.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

#define ENTROPY 512 /* bytes taken at most */

/* Every restored copy would draw the same numbers; what the host gives is mixed in, and the generator seeded anew. */
static const char *renew_entropy(const char *bytes, size_t length)
{
	static _Alignas(struct rand_pool_info) char room[sizeof(struct rand_pool_info) + ENTROPY];
	struct rand_pool_info *pool = (void *)room;
	int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC), result;

	pool->entropy_count = (int)length * 8;
	pool->buf_size = (int)length;
	memcpy(pool->buf, bytes, length);
	result = fd < 0 ? -1 : ioctl(fd, RNDADDENTROPY, pool);
	if (!result)
		result = ioctl(fd, RNDRESEEDCRNG);
	if (fd >= 0)
		close(fd);
	return result < 0 ? strerror(errno) : NULL;
}

static const char *renew_clock(const char *seconds, const char *nanoseconds)
{
	struct timespec now = {.tv_sec = atoll(seconds), .tv_nsec = atol(nanoseconds)};

	return clock_settime(CLOCK_REALTIME, &now) < 0 ? strerror(errno) : NULL;
}

static const char *skip_word(const char *at)
{
	at += strspn(at, " \t");
	return at + strcspn(at, " \t\n");
}

/*
 * The disk is empty again: whatever had been swapped out is gone. A line is name, type, size, what is used,
 * priority.
 */
static int swap_in_use(void)
{
	char text[1024];

	read_file("/proc/swaps", text, sizeof(text));
	for (char *line = strchr(text, '\n'); line; line = strchr(line + 1, '\n'))
		if (strtoul(skip_word(skip_word(skip_word(line + 1))), NULL, 10))
			return 1;
	return 0;
}

void take_renew(struct frame *frame)
{
	static char hello[16384];
	char run[80], seconds[24], nanoseconds[24], entropy[ENTROPY];
	size_t length = 0, n;
	const char *problem;

	if (!channel_field(frame, run, sizeof(run)) || !channel_field(frame, seconds, sizeof(seconds)) ||
	    !channel_field(frame, nanoseconds, sizeof(nanoseconds))) {
		channel_skip(frame);
		channel_fail("renew: a run, seconds and nanoseconds are wanted, each ended by NUL");
		return;
	}
	while (length < sizeof(entropy) && (n = channel_read(frame, entropy + length, sizeof(entropy) - length)))
		length += n;
	channel_skip(frame);
	if ((problem = renew_entropy(entropy, length)))
		channel_fail("renew: /dev/urandom: %s", problem);
	else if ((problem = renew_clock(seconds, nanoseconds)))
		channel_fail("renew: the clock: %s", problem);
	else if (swap_in_use())
		channel_fail("renew: something is swapped out, to a disk that is not saved");
	else {
		say("renewed as %s", run);
		channel_send("hello", hello, describe_machine(hello, sizeof(hello), run));
	}
}
