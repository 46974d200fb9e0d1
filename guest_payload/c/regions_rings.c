/* SPDX-License-Identifier: MIT */
/*
 * Memory that a program shares with a part of the kernel that is not memory management: rings of AIO, io_uring and
 * perf. The kernel maps some of them by itself and takes them away again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <string.h>
#include <unistd.h>

#include "regions.h"
#include "sys.h"

enum { EVENTS = 1024, AIO_EVENTS = 2048 }; /* enough for rings of three pages of 16 KiB */

/* So that it is the same before and after a probe looks at it. */
static void touch_ring(const struct window *w)
{
	for (int i = 0; i < w->units; i++)
		(void)*(volatile char *)unit_at(w, i);
}

/* Where the kernel puts it, which is its name as well. */
void make_aio_ring(struct window *w)
{
	aio_context_t context = 0;

	if (sys(SYS_io_setup, AIO_EVENTS, &context))
		fail_step(w, "io_setup", errno);
	w->base = (char *)context;
	touch_ring(w);
}

/* One that never counts. */
static int open_counter(void)
{
	struct perf_event_attr counter = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(counter),
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
	};

	return (int)sys(SYS_perf_event_open, &counter, 0, -1, -1, 0);
}

/*
 * The first counter of a machine has the kernel patch its scheduler, and the last one that is closed has it patched
 * back, which an emulated CPU beside it does not always survive (Oops: int3). While one stays open neither happens.
 */
void keep_counter_open(void)
{
	open_counter();
}

/* A page for the counter's state, and a power of two of them for samples. */
void make_perf_ring(struct window *w)
{
	w->object = open_counter();
	if (w->object < 0)
		fail_step(w, "perf_event_open", errno);
	map_window(w, (size_t)w->units * w->unit, PROT_READ | PROT_WRITE, MAP_SHARED);
	touch_ring(w);
}

/* The kernel wants to choose its place. */
void make_uring(struct window *w)
{
	struct io_uring_params parameters = {0};
	long at;

	w->object = (int)sys(SYS_io_uring_setup, EVENTS, &parameters);
	if (w->object < 0)
		fail_step(w, "io_uring", errno);
	at = sys(SYS_mmap, NULL, (size_t)w->units * w->unit, PROT_READ | PROT_WRITE, MAP_SHARED, w->object, 0);
	if (at == -1)
		fail_step(w, "mmap", errno);
	w->base = (char *)at;
	touch_ring(w);
}
