/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "listing.h"
#include "sys.h"

/*
 * The kernel prepares as many mappings as were asked for bytes, so asking for little spares it, and us, those behind
 * the window: half the cost of a snapshot.
 */
enum { READ_AT_ONCE = 256 };

bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

void open_listing(struct listing *l, bool smaps)
{
	l->next = l->have = 0;
	l->broken = false;
	l->fd = smaps ? (int)sys(SYS_openat, AT_FDCWD, "/proc/self/smaps", O_RDONLY | O_CLOEXEC) : -1;
	l->smaps = l->fd >= 0;
	if (!l->smaps)
		l->fd = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

void rewind_listing(struct listing *l)
{
	l->next = l->have = 0;
	sys(SYS_lseek, l->fd, 0, SEEK_SET);
}

void close_listing(struct listing *l)
{
	sys(SYS_close, l->fd);
}

/* A line, ended by NUL instead of a newline, or NULL. One that is longer than the buffer is cut. */
static char *next_line(struct listing *l)
{
	for (;;) {
		char *line = l->buffer + l->next;
		char *end = memchr(line, '\n', l->have - l->next);
		long got;

		if (end) {
			*end = 0;
			l->next = (size_t)(end - l->buffer) + 1;
			return line;
		}
		l->have -= l->next;
		memmove(l->buffer, line, l->have);
		l->next = 0;
		if (l->have + READ_AT_ONCE > sizeof(l->buffer))
			l->have = 0;
		got = sys(SYS_read, l->fd, l->buffer + l->have, READ_AT_ONCE);
		l->broken |= got < 0;
		if (got <= 0)
			return NULL;
		l->have += (size_t)got;
	}
}

static uint64_t parse_hex(const char **p)
{
	uint64_t value = 0;

	for (;; ++*p) {
		char c = **p;

		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return value;
	}
}

static const char *skip_field(const char *p)
{
	while (*p && *p != ' ')
		p++;
	while (*p == ' ')
		p++;
	return p;
}

/* "400000-403000 rw-p 00000000 00:00 0    [path]"; other lines of smaps begin with a capital letter. */
static bool parse_mapping(const char *line, struct mapping *m)
{
	const char *p = line;

	if (*p >= 'A' && *p <= 'Z')
		return false;
	m->start = (char *)parse_hex(&p);
	p = *p ? p + 1 : p;
	m->end = (char *)parse_hex(&p);
	p = skip_field(p);
	strncpy(m->perms, p, 4);
	m->perms[4] = 0;
	p = skip_field(p);
	m->offset = parse_hex(&p);
	m->path = skip_field(skip_field(skip_field(p)));
	m->sealed = false;
	return true;
}

/* "VmFlags: rd wr mr mw me ac sl": the flag follows a space and is followed by a space or the end. */
static bool flags_say_sealed(const char *line)
{
	for (const char *p = strstr(line, " sl"); p; p = strstr(p + 1, " sl"))
		if (p[3] == ' ' || p[3] == 0)
			return true;
	return false;
}

enum listed next_listed(struct listing *l, struct mapping *m)
{
	char *line;

	while ((line = next_line(l))) {
		if (parse_mapping(line, m))
			return LISTED_MAPPING;
		if (begins(line, "VmFlags:")) {
			m->sealed = flags_say_sealed(line);
			return LISTED_FLAGS;
		}
	}
	return LISTED_END;
}
