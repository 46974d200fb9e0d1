/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum role role = ROLE_INIT;
const char *work = "/work";

static char notes[16][160];
static size_t note_count;

void say(const char *format, ...)
{
	char line[512] = "<1>sealmatrix: "; /* an alert: also quiet consoles show it */
	size_t level = 3, prefix = strlen(line);
	va_list args;
	int kmsg, n;

	va_start(args, format);
	n = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);
	va_end(args);
	n = (int)strlen(line);
	line[n++] = '\n';
	/* The kernel's log keeps lines whole and in order with what the kernel says; it may not exist yet. */
	kmsg = role == ROLE_VISITOR ? -1 : open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (kmsg < 0 ? write(STDERR_FILENO, line + level, (size_t)n - level) < 0 : write(kmsg, line, (size_t)n) < 0) {
		/* there is nobody left to tell */
	}
	if (kmsg >= 0)
		close(kmsg);
}

void note(const char *format, ...)
{
	char text[sizeof(notes[0])];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say("%s", text);
	if (note_count < sizeof(notes) / sizeof(notes[0]))
		strcpy(notes[note_count++], text);
}

void note_errno(const char *step, const char *subject)
{
	note("%s %s: %s", step, subject, strerror(errno));
}

const char *noted(size_t index)
{
	return index < note_count ? notes[index] : NULL;
}
