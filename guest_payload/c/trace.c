/* SPDX-License-Identifier: MIT */
/* Every system call of sys() passes here; with --trace those that make the window and operate on it are written down. */
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

/* A line, written in one piece: a child may be writing too. What does not fit is cut. */
static char line[1024];
static size_t used;

__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
	va_list arguments;
	int wrote;

	va_start(arguments, format);
	wrote = vsnprintf(line + used, sizeof(line) - used, format, arguments);
	va_end(arguments);
	used += wrote > 0 && (size_t)wrote < sizeof(line) - used ? (size_t)wrote : 0;
}

static void send(void)
{
	if (write(STDOUT_FILENO, line, used) < 0)
		_exit(3);
	used = 0;
}

static void put_pointer(const char *name, const long arguments[6])
{
	for (size_t i = 0; i < sizeof(pointers) / sizeof(*pointers); i++) {
		if (strcmp(name, pointers[i].name))
			continue;
		if (pointers[i].text >= 0)
			put(",\"text\":[%d,\"%s\"]", pointers[i].text,
				(const char *)arguments[pointers[i].text]);
		if (pointers[i].iovec >= 0) {
			const struct iovec *v = (const struct iovec *)arguments[pointers[i].iovec];

			put(",\"iovec\":[%d,%ld,%ld]", pointers[i].iovec, (long)v->iov_base,
				(long)v->iov_len);
		}
	}
}

static void record(const char *name, const long a[6], int count, long result, int error)
{
	put("{\"call\":\"%s\",\"stage\":\"%s\",\"pid\":%d,\"result\":%ld,\"errno\":%d", name,
		traced->stage == STAGE_SETUP ? "setup" : "operation", (int)getpid(), result, error);
	put_pointer(name, a);
	put(",\"arguments\":[");
	for (int i = 0; i < count; i++)
		put("%s%ld", i ? "," : "", a[i]);
	put("]}\n");
	send();
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
	if (matters()) {
		put("{\"call\":\"memset\",\"stage\":\"setup\",\"pid\":%d,\"arguments\":[%ld,%d,%zu]}\n",
			(int)getpid(), (long)at, value, length);
		send();
	}
	return memset(at, value, length);
}

/* The control half: it goes through on any kernel, and where the seals belong the layout says. */
_Noreturn void trace(const struct probe *probe)
{
	static struct facts facts;
	long base = (long)WINDOW_BASE;

	put("{\"trace\":\"%s\",\"layout\":\"%s\",\"base\":%ld,\"destination\":%ld,\"page_size\":%ld}\n",
		probe->id, probe->span->layout, base, (long)DESTINATION, sysconf(_SC_PAGESIZE));
	send();
	traced = &facts;
	half(probe, false, &facts);
}
