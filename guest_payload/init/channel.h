/* SPDX-License-Identifier: MIT */
/* The guest's end of the channel (docs/reference/protocol.md): frames over one virtio-serial port. */
#ifndef SEALMATRIX_CHANNEL_H
#define SEALMATRIX_CHANNEL_H

#include <stddef.h>

#define FRAME_LIMIT (16u << 20) /* bytes of a body; the host holds the same number */
#define CHUNK (64u << 10)       /* bytes moved at once: the most of a stream PID 1 ever holds */

/* A frame whose header has been read and whose body is still on its way. */
struct frame {
	char kind[16];
	size_t left; /* bytes of the body not yet read */
};

/*
 * Adopt what is open to read from and to write to, a blocking port or two pipes, and say hello there in at most 32
 * KiB; returns once the host is connected. `patience`: milliseconds after which a host that is waited for counts
 * as gone, or -1.
 */
void channel_open(int from, int into, int patience, const char *hello, size_t length);

/* Each of these ends the guest when the host is gone or breaks the protocol. A body sent fits a chunk. */
void channel_send(const char *kind, const void *body, size_t length);
void channel_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct frame channel_receive(void);
size_t channel_read(struct frame *frame, void *into, size_t most); /* 0 only at the body's end */
void channel_skip(struct frame *frame);

/* Reads one NUL-ended field of a body; 0 when it is longer than the room for it, or the body ends first. */
int channel_field(struct frame *frame, char *into, size_t size);

int channel_fd(void);
int channel_pending(void); /* bytes already taken off the port wait to be read */

#endif
