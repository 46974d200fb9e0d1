/* SPDX-License-Identifier: MIT */
/* What parts of the kernel do to memory for whoever asked them to: io_uring, AIO, uprobes. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

/* ------------------------------------------------------------------ io_uring reads into the window */

enum { READ_FILL = 0xc0 };

static struct uring {
	int fd, file;
	struct io_uring_params parameters;
	char *rings;
	struct io_uring_sqe *entries;
} uring; /* of the probe that runs */

static void *map_part(struct window *w, size_t length, unsigned long offset)
{
	long at = sys(SYS_mmap, NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd, offset);

	if (at == -1)
		fail_step(w, "mmap of io_uring", errno);
	return (void *)at;
}

static void set_up_uring(struct window *w)
{
	struct io_uring_params *p = &uring.parameters;

	memset(p, 0, sizeof(*p));
	uring.fd = (int)sys(SYS_io_uring_setup, 4, p);
	if (uring.fd < 0)
		fail_step(w, "io_uring", errno);
	uring.rings = map_part(w, p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_SQ_RING);
	uring.entries = map_part(w, p->sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	uring.file = open_object(w, "memfd", "other", w->units);
	for (int i = 0; i < w->units; i++) {
		static char page[65536];

		memset(page, READ_FILL, sizeof(page));
		if (sys(SYS_pwrite64, uring.file, page, w->unit, (size_t)i * w->unit) != (long)w->unit)
			fail_step(w, "write to a new file", errno);
	}
}

static void open_uring(struct window *w, const struct operation *op)
{
	(void)op;
	set_up_uring(w);
}

/* The kernel looks whether the memory may be written when it is registered, and never again. */
static void register_buffer(struct window *w, const struct operation *op)
{
	size_t length = (size_t)w->units * w->unit;
	struct iovec buffer = {w->base, length};

	(void)op;
	set_up_uring(w);
	if (sys(SYS_mprotect, w->base, length, PROT_READ | PROT_WRITE))
		fail_step(w, "mprotect", errno);
	if (sys(SYS_io_uring_register, uring.fd, IORING_REGISTER_BUFFERS, &buffer, 1))
		fail_step(w, "IORING_REGISTER_BUFFERS", errno);
	if (sys(SYS_mprotect, w->base, length, w->region->prot))
		fail_step(w, "mprotect", errno);
}

static unsigned *of_rings(unsigned offset)
{
	return (unsigned *)(void *)(uring.rings + offset);
}

/* a: what to do, one of its operations. Returns 0 when all was read. */
static long read_by_uring(struct window *w, const struct operation *op)
{
	const struct io_sqring_offsets *sq = &uring.parameters.sq_off;
	const struct io_cqring_offsets *cq = &uring.parameters.cq_off;
	struct io_uring_cqe *done = (struct io_uring_cqe *)(void *)(uring.rings + cq->cqes);

	uring.entries[0] = (struct io_uring_sqe){
		.opcode = (unsigned char)op->a,
		.fd = uring.file,
		.addr = (uintptr_t)w->start,
		.len = (unsigned)w->length,
	};
	*of_rings(sq->array) = 0;
	__atomic_store_n(of_rings(sq->tail), 1, __ATOMIC_RELEASE);
	if (sys(SYS_io_uring_enter, uring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		return -1;
	if (__atomic_load_n(of_rings(cq->tail), __ATOMIC_ACQUIRE) != 1) {
		errno = ETIME;
		return -1;
	}
	if (done[0].res < 0) {
		errno = -done[0].res;
		return -1;
	}
	return done[0].res == (int)w->length ? 0 : done[0].res;
}

/* ------------------------------------------------------------------ AIO takes its ring away */

static long destroy_aio(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_io_destroy, w->base);
}

/* The window stays, though nothing else has what it shows. */
static long close_ring(struct window *w, const struct operation *op)
{
	(void)op;
	return sys(SYS_close, w->object);
}

/* ------------------------------------------------------------------ a breakpoint */

static void find_uprobes(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)number_in(UPROBE_TYPE, "");
	if (!w->other)
		fail_step(w, "uprobes", EOPNOTSUPP);
}

/* The kernel writes one into the page that this process has of the file. */
static long place_uprobe(struct window *w, const struct operation *op)
{
	char path[32];
	struct perf_event_attr event = {.size = sizeof(event), .type = (unsigned)w->other};

	(void)op;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", w->object);
	event.config1 = (uintptr_t)path;
	event.config2 = (unsigned long)offset_in(w, w->start);
	return sys(SYS_perf_event_open, &event, 0, -1, -1, 0) < 0 ? -1 : 0;
}

#define R_MEMORY (SET(ANON_RW) | SET(ANON_R))

static const struct operation operations[] = {
	{.name = "uring-read-fixed", .prepare = register_buffer, .perform = read_by_uring, .a = IORING_OP_READ_FIXED,
	 .covers = {{R_MEMORY, SET(EXACT) | SET(MIDDLE)}}},
	{.name = "uring-read", .prepare = open_uring, .perform = read_by_uring, .a = IORING_OP_READ,
	 .covers = {{R_MEMORY | SET(ANON_NONE), SET(EXACT) | SET(MIDDLE)}}},
	{.name = "io-destroy", .perform = destroy_aio, .covers = {{SET(AIO_RING_RW), SET(EXACT)}}},
	{.name = "ring-closed", .perform = close_ring,
	 .covers = {{SET(PERF_RING_RW) | SET(URING_RW), SET(EXACT)}}},
	{.name = "uprobe", .prepare = find_uprobes, .perform = place_uprobe,
	 .covers = {{SET(CLEAN_R) | SET(COPIED_R), SET(EXACT) | SET(MIDDLE)}}},
};

const struct family family_rings = {.name = "rings", .operations = operations, .count = COUNT(operations)};
