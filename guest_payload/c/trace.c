/* SPDX-License-Identifier: MIT */
/*
 * Every system call of sys() passes here; with --trace those that make the window and operate on it are written
 * down.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

static const struct facts *traced; /* of the half that is traced, whose stage says what matters; NULL: nothing does */

static const struct {
	const char *name;
	int text, iovec; /* which argument is a string, or a single iovec; -1: none */
} pointers[] = {
	{"SYS_openat", 1, -1},       {"SYS_unlinkat", 1, -1},       {"SYS_memfd_create", 0, -1},
	{"SYS_process_madvise", -1, 1}, {"SYS_process_vm_writev", -1, 1},
};

/* A line is put together first and written at once: a parent and its child write to the same pipe. */
struct line {
	char text[1024];
	size_t length;
};

static void __attribute__((format(printf, 2, 3))) append(struct line *line, const char *format, ...)
{
	size_t room = sizeof(line->text) - line->length;
	va_list values;
	int length;

	va_start(values, format);
	length = vsnprintf(line->text + line->length, room, format, values);
	va_end(values);
	if (length > 0)
		line->length += (size_t)length < room ? (size_t)length : room - 1;
}

static void append_pointer(struct line *line, const char *name, const long arguments[6])
{
	for (size_t i = 0; i < sizeof(pointers) / sizeof(*pointers); i++) {
		if (strcmp(name, pointers[i].name))
			continue;
		if (pointers[i].text >= 0)
			append(line, ",\"text\":[%d,\"%s\"]", pointers[i].text,
			       (const char *)arguments[pointers[i].text]);
		if (pointers[i].iovec >= 0) {
			const struct iovec *v = (const struct iovec *)arguments[pointers[i].iovec];

			append(line, ",\"iovec\":[%d,%ld,%ld]", pointers[i].iovec, (long)v->iov_base, (long)v->iov_len);
		}
	}
}

static void record(const char *name, const long a[6], int count, long result, int error)
{
	struct line line = {.length = 0};

	append(&line, "{\"call\":\"%s\",\"stage\":\"%s\",\"pid\":%d,\"result\":%ld,\"errno\":%d", name,
	       traced->stage == STAGE_SETUP ? "setup" : "operation", (int)getpid(), result, error);
	append_pointer(&line, name, a);
	append(&line, ",\"arguments\":[");
	for (int i = 0; i < count; i++)
		append(&line, "%s%ld", i ? "," : "", a[i]);
	append(&line, "]}\n");
	if (write(STDOUT_FILENO, line.text, line.length) != (ssize_t)line.length)
		_exit(3);
}

static bool matters(void)
{
	return traced && (traced->stage == STAGE_SETUP || traced->stage == STAGE_OPERATION);
}

long call(const char *name, int count, long number, long a, long b, long c, long d, long e, long f)
{
	long result = syscall(number, a, b, c, d, e, f);

	if (matters()) {
		int error = errno;

		record(name, (const long[]){a, b, c, d, e, f}, count, result, result == -1 ? error : 0);
		errno = error;
	}
	return result;
}

void *fill(void *at, int value, size_t length)
{
	if (matters())
		dprintf(STDOUT_FILENO,
			"{\"call\":\"memset\",\"stage\":\"setup\",\"pid\":%d,\"arguments\":[%ld,%d,%zu]}\n",
			(int)getpid(), (long)at, value, length);
	return memset(at, value, length);
}

void trace_window(const struct window *w)
{
	bool chosen = !(w->region->traits & SINGULAR); /* and not found there */

	if (traced && chosen && (w->base != WINDOW_BASE || w->unit != (size_t)sysconf(_SC_PAGESIZE)))
		dprintf(STDOUT_FILENO, "{\"window\":%ld,\"unit\":%zu,\"destination\":%ld}\n", (long)w->base, w->unit,
			(long)w->destination);
}

bool tracing(void)
{
	return traced;
}

/* The control half: it goes through on any kernel, and where the seals belong the layout says. */
_Noreturn void trace(const struct probe *probe)
{
	static struct facts facts;

	report_trace(probe);
	traced = &facts;
	arm_fault_handler();
	half(probe, false, &facts);
}
