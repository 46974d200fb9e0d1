/* SPDX-License-Identifier: MIT */
/*
 * Programs nobody wrote: sequences of operations over a window of up to 16 units, made by the host, run here,
 * judged there (docs/use/exploration.md). This side records facts only, in the bytes described there;
 * harness/explore/wire.py is the other end of the same description, and a test holds the two against each other.
 *
 *	explore.c          the batch: lanes, workers with a budget, deadlines, the stream of records
 *	explore_program.c  one program: its window, its steps, its end; with seals and without
 *	explore_ops.c      the operations: one table
 *	explore_who.c      who does a step: this process, a thread, another process, one without privilege
 *	explore_look.c     what a window looks like
 */
#ifndef SEALMATRIX_EXPLORE_H
#define SEALMATRIX_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { X_VERSION = 1, X_UNITS = 16, X_STEPS = 32, X_SEGMENTS = 16 };

/* ------------------------------------------------------------------ what arrives */

struct x_batch {
	char magic[4]; /* "SMXP" */
	uint16_t version, chunk; /* chunk: programs that share a process */
	uint32_t count;
	uint32_t deadline_ms; /* of one program */
} __attribute__((packed));

enum x_flag { X_QUIET = 1, X_CROWD = 2 };

enum x_place { X_USUAL, X_LOW, X_FOUR_GIB, X_TOP, X_TABLES, X_PLACES };

struct x_segment {
	uint8_t kind, prot, units, traits;
} __attribute__((packed));

enum x_kind { X_HOLE, X_ANON, X_SHARED_ANON, X_SHARED_FILE, X_PRIVATE_FILE, X_ZERO, X_KINDS };

enum x_trait {
	X_SEALED = 1, X_WRITTEN = 2, X_LOCKED = 4, X_NAMED = 8, X_COMB = 16,
	X_GROWSDOWN = 32, X_NORESERVE = 64, /* what mmap is given */
	X_UNWRITABLE = 128, /* the shared file was opened for reading only; nothing where the protection lets write */
};

/*
 * Of a step's `by`: another thread of the process does it; the twin does it whatever the other pass was answered;
 * another process does it that shares this one's memory; it is done without capabilities. And how: with a length
 * that is no multiple of a page, and rounds up to one.
 */
enum { X_BY_THREAD = 1, X_TWIN_TOO = 2, X_BY_PROCESS = 4, X_POWERLESS = 8, X_UNROUNDED = 16 };

/* Of a fork's `a`: the child forks again, and its child goes on. */
enum { X_GRANDCHILD = 3 };

struct x_step {
	uint8_t op, start, units, a, b, c, times, by;
} __attribute__((packed));

struct x_program {
	uint16_t size;
	uint8_t units, scale, place, flags, segments, steps;
	uint8_t rest[]; /* segments, then steps */
} __attribute__((packed));

/* ------------------------------------------------------------------ what is said */

enum x_status { X_DONE, X_NO_WINDOW, X_SIGNAL, X_TIMEOUT, X_CHILD };

struct x_record {
	uint32_t index;
	uint8_t status, detail, pass, step;
	uint8_t rest[];
} __attribute__((packed));

enum { X_LEFT_OUT = 0xfe, X_NOT_TRIED = 0xff, X_ELSEWHERE = 0xff };

enum x_seen { X_MAPPED = 1, X_R = 2, X_W = 4, X_X = 8, X_SHARED = 16, X_FILE = 32, X_RAGGED = 128 };

enum x_content { X_UNREAD = 0xf0, X_SEGV = 0xf1, X_BUS = 0xf2, X_MIX = 0xf3 };

/* ------------------------------------------------------------------ one pass over a program */

struct x_window {
	char *base;
	size_t page, unit;
	int units;
	/* where this pass's part of the worker's file begins: for what is made first, then for what steps map */
	long file;
	uint32_t stamped; /* a bit for each unit of those two parts that has its contents */
	bool made, seals, quiet;
	int maps; /* /proc/self/maps of whoever looks */
	uint8_t rights; /* of the protection key, as the program set them */
	bool future;    /* mlockall(MCL_FUTURE) is in force */
	bool merges;    /* PR_SET_MEMORY_MERGE may be */
	unsigned long persona; /* personality(2), as the program set it */
	long parked;    /* a child that stays, 0 without */
	/* forks, and has the child go on with this pass: explore_program.c */
	long (*fork)(struct x_window *w, const struct x_step *step, uint8_t *extra);
};

static inline char *x_unit(const struct x_window *w, int i)
{
	return w->base + (size_t)i * w->unit;
}

/*
 * A unit's contents are looked at on its first, its middle and its last page. These are filled, too: what else a large
 * unit has comes when the program brings it in, so that its page tables have gaps, and half the price of a window is
 * not for memory that nobody looks at.
 */
static inline int x_looked_at(const struct x_window *w)
{
	return w->unit == w->page ? 1 : w->unit == 2 * w->page ? 2 : 3;
}

static inline size_t x_look_offset(const struct x_window *w, int which)
{
	return which == 0 ? 0 : which == 2 ? w->unit - w->page : w->unit / 2;
}

/* explore_look.c */
void x_guard(void);
int x_open_maps(void);
void x_look(const struct x_window *w, uint8_t *into); /* division (2), seen (units), contents (units) */
size_t x_look_size(const struct x_window *w);
uint8_t x_read(const char *at);
bool x_write(char *at, uint8_t value); /* false: it faulted */

/* explore_ops.c */
/* Of the file by a descriptor that is for reading only. */
long x_map_unwritable(struct x_window *w, int start, int units, uint8_t prot, unsigned long flags);
long x_map(struct x_window *w, int start, int units, uint8_t kind, uint8_t prot, unsigned long flags);
long x_operate(struct x_window *w, const struct x_step *step, uint8_t *extra); /* this thread does */
long x_key(void); /* the protection key of this worker, -1 where there is none */
void x_set_rights(uint8_t rights);
void x_after_fault(void);
void x_close_userfaultfd(void);
int x_prot(uint8_t prot);

/* explore_who.c */
long x_perform(struct x_window *w, const struct x_step *step, uint8_t *extra); /* whoever is to do it does */
void x_thread_gone(void);

enum x_op {
	X_MUNMAP = 1, X_MMAP, X_MPROTECT, X_PKEY_MPROTECT, X_MREMAP, X_MADVISE, X_MSEAL, X_MLOCK, X_MLOCKALL, X_FORK,
	X_WRITE, X_READ, X_MBIND, X_MSYNC, X_NAME, X_MINCORE, X_RIGHTS, X_CLEAR_REFS, X_REMAP_FILE, X_SHMAT,
	X_USERFAULTFD, X_BRK, X_PERSONALITY, X_SHMDT, X_MOVE_PAGES, X_MERGE_ALL, X_OPS
};

/* explore_program.c */
struct x_progress {
	volatile uint32_t index; /* of the program that runs */
	volatile uint32_t beats; /* grows with every step */
	volatile uint32_t used;  /* bytes of whole records */
	uint8_t records[];
};
bool x_run(const struct x_program *p, struct x_progress *progress); /* false: no room for its window in this process */
size_t x_record_size(const struct x_program *p);
bool x_valid(const struct x_program *p, size_t left);

/* explore.c */
int explore(const char *path, const char *seen); /* seen: NULL, or what is known of the coverage */

#endif
