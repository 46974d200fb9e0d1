/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "hello.h"
#include "log.h"
#include "sysfs.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Appends a JSON string; bytes outside printable ASCII are escaped as if they were Latin-1. */
static size_t put_string(char *into, size_t size, size_t at, const char *text)
{
	if (at + 1 < size)
		into[at++] = '"';
	for (; *text && at + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			at += (size_t)snprintf(into + at, size - at, "\\u%04x", c);
		else
			into[at++] = (char)c;
	}
	if (at + 1 < size)
		into[at++] = '"';
	return at;
}

static size_t put_raw(char *into, size_t size, size_t at, const char *text)
{
	size_t n = strlen(text);

	if (at + n >= size)
		return at;
	memcpy(into + at, text, n);
	return at + n;
}

size_t describe_machine(char *into, size_t size, const char *renewed)
{
	struct utsname self;
	char cmdline[4096], number[64];
	size_t at = 0;

	uname(&self);
	read_file("/proc/cmdline", cmdline, sizeof(cmdline));
	at = put_raw(into, size, at, "{\"protocol\":1,\"release\":");
	at = put_string(into, size, at, self.release);
	at = put_raw(into, size, at, ",\"version\":");
	at = put_string(into, size, at, self.version);
	at = put_raw(into, size, at, ",\"machine\":");
	at = put_string(into, size, at, self.machine);
	snprintf(number, sizeof(number), ",\"page_size\":%ld,\"cmdline\":", sysconf(_SC_PAGESIZE));
	at = put_raw(into, size, at, number);
	at = put_string(into, size, at, cmdline);
	if (*renewed) {
		at = put_raw(into, size, at, ",\"renewed\":");
		at = put_string(into, size, at, renewed);
	}
	at = put_raw(into, size, at, ",\"notes\":[");
	for (size_t i = 0; noted(i); i++) {
		at = put_raw(into, size, at, i ? "," : "");
		at = put_string(into, size, at, noted(i));
	}
	return put_raw(into, size, at, "]}");
}
