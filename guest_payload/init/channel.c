/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "channel.h"
#include "power.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int incoming = -1, outgoing = -1, host_patience = -1;
static char input[CHUNK];
static size_t input_start, input_end;

/* Waits for the port; a host that has closed it is the end of this guest. */
static void wait_for(short events)
{
	struct pollfd want = {.fd = events == POLLIN ? incoming : outgoing, .events = events};
	int ready;

	while ((ready = poll(&want, 1, host_patience)) < 0)
		if (errno != EINTR)
			power_off("poll on the channel: %s", strerror(errno));
	if (!ready)
		power_off("nothing was heard of the host for %d s", host_patience / 1000);
	/* What a pipe still holds when its writer has gone is to be read first. */
	if (want.revents & (POLLHUP | POLLERR) && !(want.revents & POLLIN))
		power_off("the host closed the channel");
}

static void write_all(const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(outgoing, bytes, length);

		if (n > 0) {
			bytes += n;
			length -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			wait_for(POLLOUT);
		} else if (n < 0 && errno != EINTR) {
			power_off("write to the channel: %s", strerror(errno));
		}
	}
}

/* One write for a whole frame: every write on the port is a buffer of its own on its way through the host. */
void channel_send(const char *kind, const void *body, size_t length)
{
	static char frame[40 + CHUNK];
	int n = snprintf(frame, 40, "%s %zu\n", kind, length);

	memcpy(frame + n, body, length);
	write_all(frame, (size_t)n + length);
}

void channel_fail(const char *format, ...)
{
	char text[512];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (n < 0)
		n = 0;
	channel_send("fail", text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/*
 * Hello is written while the port still blocks: before the host's end is open poll() reports a hang-up, and only
 * a blocking write waits for it (drivers/char/virtio_console.c, will_write_block()). It must be a single write, and
 * from then on the port does not block, because a blocked write would never learn that the host has gone.
 */
void channel_open(int from, int into, int patience, const char *hello, size_t length)
{
	incoming = from;
	outgoing = into;
	host_patience = patience;
	channel_send("hello", hello, length);
	if (fcntl(from, F_SETFL, O_NONBLOCK) < 0 || fcntl(into, F_SETFL, O_NONBLOCK) < 0)
		power_off("O_NONBLOCK on the channel: %s", strerror(errno));
}

int channel_fd(void)
{
	return incoming;
}

int channel_pending(void)
{
	return input_start < input_end;
}

static void refill(void)
{
	for (;;) {
		ssize_t n = read(incoming, input, sizeof(input));

		if (n > 0) {
			input_start = 0;
			input_end = (size_t)n;
			return;
		}
		if (n == 0)
			power_off("the host closed the channel");
		if (errno == EAGAIN)
			wait_for(POLLIN);
		else if (errno != EINTR)
			power_off("read from the channel: %s", strerror(errno));
	}
}

static char next_byte(void)
{
	if (!channel_pending())
		refill();
	return input[input_start++];
}

struct frame channel_receive(void)
{
	struct frame frame = {.left = 0};
	size_t length = 0;
	char c;

	while ((c = next_byte()) != ' ') {
		if (c < 'a' || c > 'z' || length + 1 >= sizeof(frame.kind))
			power_off("the host broke the protocol: no such kind of frame");
		frame.kind[length++] = c;
	}
	while ((c = next_byte()) != '\n') {
		if (c < '0' || c > '9')
			power_off("the host broke the protocol: a length is not a number");
		frame.left = frame.left * 10 + (size_t)(c - '0');
		if (frame.left > FRAME_LIMIT)
			power_off("the host broke the protocol: a frame over %u bytes", FRAME_LIMIT);
	}
	return frame;
}

size_t channel_read(struct frame *frame, void *into, size_t most)
{
	size_t n = frame->left < most ? frame->left : most;

	if (!n)
		return 0;
	if (!channel_pending())
		refill();
	if (n > input_end - input_start)
		n = input_end - input_start;
	memcpy(into, input + input_start, n);
	input_start += n;
	frame->left -= n;
	return n;
}

int channel_field(struct frame *frame, char *into, size_t size)
{
	for (size_t i = 0; i < size && channel_read(frame, into + i, 1); i++)
		if (!into[i])
			return 1;
	return 0;
}

void channel_skip(struct frame *frame)
{
	char scrap[512];

	while (channel_read(frame, scrap, sizeof(scrap)))
		;
}
