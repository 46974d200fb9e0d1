/* SPDX-License-Identifier: MIT */
/*
 * 32-bit programs on a 64-bit kernel: what they get of mseal for their own memory, and what they can do to ours. The
 * program (program32/program32.c) is in this one, byte for byte. A kernel that does not execute such, and an
 * architecture for which there is none, have nothing to be asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

#ifdef PROGRAM32
__asm__(".pushsection .rodata.program32,\"a\",%progbits\n"
	".globl sealmatrix_program32, sealmatrix_program32_end\n"
	"sealmatrix_program32: .incbin \"" PROGRAM32 "\"\n"
	"sealmatrix_program32_end:\n"
	".popsection\n");
extern const char sealmatrix_program32[], sealmatrix_program32_end[];
static const char *const program = sealmatrix_program32, *const program_end = sealmatrix_program32_end;
#else
static const char *const program, *const program_end;
#endif

enum { NOT_EXECUTED = 126 };

/* An open file of the program; -1 without one. */
static int open_program(void)
{
	size_t length = (size_t)(program_end - program);
	int fd = length ? (int)sys(SYS_memfd_create, "program32", 1 /* MFD_CLOEXEC */) : -1;

	if (fd < 0 || sys(SYS_write, fd, program, length) == (long)length)
		return fd;
	sys(SYS_close, fd);
	return -1;
}

struct question {
	char what;
	bool seal;
	unsigned long a, b, c;
};

static _Noreturn void execute(int image, int to, const struct question *q)
{
	char text[6][24];
	char *arguments[] = {"program32", text[0], text[1], text[2], text[3], text[4], text[5], NULL};
	char *const environment[] = {NULL};

	snprintf(text[0], sizeof(text[0]), "%d", to);
	snprintf(text[1], sizeof(text[1]), "%c", q->what);
	snprintf(text[2], sizeof(text[2]), "%d", q->seal);
	snprintf(text[3], sizeof(text[3]), "%lu", q->a);
	snprintf(text[4], sizeof(text[4]), "%lu", q->b);
	snprintf(text[5], sizeof(text[5]), "%lu", q->c);
	sys(SYS_execveat, image, "", arguments, environment, 0x1000 /* AT_EMPTY_PATH */);
	_exit(NOT_EXECUTED);
}

/* Start the program and have its two answers; false where it did not run, or not to its end. */
static bool ask(int image, const struct question *q, int told[2])
{
	int ends[2];
	bool there;
	long pid;

	if (image < 0 || pipe2(ends, 0))
		return false;
	pid = child_process();
	if (pid == 0)
		execute(image, ends[1], q);
	close(ends[1]);
	there = pid > 0 && read(ends[0], told, 2 * sizeof(*told)) == 2 * (ssize_t)sizeof(*told);
	close(ends[0]);
	return await(pid) == 0 && there;
}

bool program32_works(void)
{
	static enum { NOT_ASKED, WORKS, FAILS } state; /* of this process, which may run many probes */

	if (state == NOT_ASKED) {
		const struct question nothing = {.what = 'n'};
		int image = open_program(), told[2];

		state = ask(image, &nothing, told) ? WORKS : FAILS;
		if (image >= 0)
			close(image);
	}
	return state == WORKS;
}

static long have_answered(struct window *w, const struct question *q)
{
	int image = open_program(), told[2];

	if (!ask(image, q, told))
		fail_step(w, "a 32-bit program", ECHILD);
	close(image);
	if (told[0] >= 0)
		add_extra(w, "program_mseal", told[0]);
	errno = told[1];
	return told[1] ? -1 : 0;
}

/* a: what it does to memory of its own; it seals where this half does, or always where that is what it is asked */
static long to_its_own(struct window *w, const struct operation *op)
{
	return have_answered(w, &(struct question){.what = (char)op->a, .seal = w->sealed || op->a == 's'});
}

/* a: what it does about a place of ours, which it is told */
static long to_our_place(struct window *w, const struct operation *op)
{
	return have_answered(w, &(struct question){.what = (char)op->a, .a = (unsigned long)w->start, .b = w->length});
}

static long to_our_object(struct window *w, const struct operation *op)
{
	return have_answered(w, &(struct question){.what = (char)op->a, .a = (unsigned long)w->object,
		.b = (size_t)w->units * w->unit});
}

static long to_our_process(struct window *w, const struct operation *op)
{
	return have_answered(w, &(struct question){.what = (char)op->a, .a = (unsigned long)getpid(),
		.b = (unsigned long)w->start, .c = w->length});
}

/* It inherits a descriptor of us. */
static void open_ourselves(struct window *w, const struct operation *op)
{
	(void)op;
	w->other = (int)sys(SYS_pidfd_open, getpid(), 0);
	if (w->other < 0 || sys(SYS_fcntl, w->other, F_SETFD, 0))
		fail_step(w, "pidfd_open", errno);
}

static long advise_us(struct window *w, const struct operation *op)
{
	return have_answered(w, &(struct question){.what = (char)op->a, .a = (unsigned long)w->other,
		.b = (unsigned long)w->start, .c = w->length});
}

static void keep_object(struct window *w, const struct operation *op)
{
	(void)op;
	if (sys(SYS_fcntl, w->object, F_SETFD, 0))
		fail_step(w, "fcntl", errno);
}

#define OWN(what, letter) \
	{.name = "program32-" what, .perform = to_its_own, .a = letter, .traits = NEW_IMAGE, \
	 .needs = NEED(PROGRAM32_RUNS), \
	 .covers = {{SET(ANON_R), SET(EXACT)}}}

static const struct operation operations[] = {
	OWN("mseal", 's'),
	OWN("munmap", 'u'),
	OWN("mprotect", 'p'),
	OWN("mremap", 'm'),
	OWN("mmap-fixed", 'f'),
	OWN("madvise-dontneed", 'd'),
	OWN("mseal-beyond", 'b'),
	{.name = "program32-exec", .perform = to_our_place, .a = 'e', .traits = NEW_IMAGE,
	 .needs = NEED(PROGRAM32_RUNS),
	 .covers = {{SET(ANON_RW) | SET(ANON_R) | SET(SHARED_ANON_RW), SET(EXACT) | SET(INTO)}}},
	{.name = "program32-mseal-object", .prepare = keep_object, .perform = to_our_object, .a = 'o',
	 .traits = NEW_IMAGE | SEALS, .needs = NEED(PROGRAM32_RUNS),
	 .covers = {{SET(MEMFD_SHARED_RW) | SET(FILE_SHARED_R), SET(PLAIN) | SET(EXACT) | SET(INTO)}}},
	{.name = "program32-process-madvise-dontneed", .prepare = open_ourselves, .perform = advise_us, .a = 'a',
	 .traits = NEW_IMAGE, .needs = NEED(PROGRAM32_RUNS),
	 .covers = {{SET(ANON_R) | SET(ANON_NONE), SET(EXACT)}, {SET(ANON_R), SET(INTO)}}},
	{.name = "program32-process-vm-write", .perform = to_our_process, .a = 'w', .traits = NEW_IMAGE,
	 .needs = NEED(PROGRAM32_RUNS),
	 .covers = {{SET(ANON_R) | SET(ANON_NONE), SET(EXACT)}, {SET(ANON_R), SET(INTO)}}},
};

const struct family family_program32 = {.name = "program32", .operations = operations, .count = COUNT(operations)};
