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
enum {
	OF_SMAPS = 256, /* less than what is said of any mapping */
	OF_MAPS = 128,  /* two or three */
	FLAG = 3, /* bytes: two letters and a space */
};

bool begins(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

void open_listing(struct listing *l, bool smaps)
{
	l->next = l->have = l->at = l->between = l->flags = l->last = 0;
	l->broken = l->amid = l->rest = false;
	l->fd = smaps ? (int)sys(SYS_openat, AT_FDCWD, "/proc/self/smaps", O_RDONLY | O_CLOEXEC) : -1;
	l->smaps = l->fd >= 0;
	if (!l->smaps)
		l->fd = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC);
}

void rewind_listing(struct listing *l)
{
	l->next = l->have = l->at = 0;
	l->amid = l->rest = false;
}

void close_listing(struct listing *l)
{
	sys(SYS_close, l->fd);
}

/* So many bytes more, with one read; false at the end. */
static bool read_more(struct listing *l, size_t bytes)
{
	long got;

	l->have -= l->next;
	memmove(l->buffer, l->buffer + l->next, l->have);
	l->next = 0;
	if (l->have + bytes > sizeof(l->buffer))
		l->have = 0;
	got = sys(SYS_pread64, l->fd, l->buffer + l->have, bytes, l->at);
	l->broken |= got < 0;
	if (got <= 0)
		return false;
	l->have += (size_t)got;
	l->at += (size_t)got;
	return true;
}

/* A line, ended by NUL instead of a newline, or NULL. One that is longer than the buffer is cut. */
static char *next_line(struct listing *l)
{
	do {
		char *line = l->buffer + l->next;
		char *end = memchr(line, '\n', l->have - l->next);

		if (end) {
			*end = 0;
			l->next = (size_t)(end - l->buffer) + 1;
			return line;
		}
	} while (read_more(l, l->smaps ? OF_SMAPS : OF_MAPS));
	return NULL;
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

/* "VmFlags: rd wr mr mw me ac sl ": where the flag ends, or NULL. It follows a space, and is the last there is. */
static const char *end_of_seal(const char *line)
{
	for (const char *p = strstr(line, " sl"); p; p = strstr(p + 1, " sl"))
		if (p[3] == ' ' || p[3] == 0)
			return p + 3;
	return NULL;
}

static bool is_flags(const char *line)
{
	return begins(line, "VmFlags:");
}

/*
 * Go to the flags of a mapping without reading the lines before them, which are as many bytes for each; false where
 * they are not. The newline that ends a mapping is left unread where it need not be known: with it the kernel would
 * prepare the next mapping, which is most of what looking costs.
 */
static bool go_to_flags(struct listing *l)
{
	size_t least = l->between + l->flags;

	if (!l->between)
		return false;
	while (l->have - l->next < least)
		if (!read_more(l, least - (l->have - l->next)))
			return false;
	if (l->buffer[l->next + l->between - 1] != '\n' || !is_flags(l->buffer + l->next + l->between))
		return false;
	l->next += l->between;
	return true;
}

/* The line of flags, or as much of it as shows a seal. */
static char *flags_line(struct listing *l)
{
	while (!memchr(l->buffer + l->next, '\n', l->have - l->next) && l->have < sizeof(l->buffer)) {
		l->buffer[l->have] = 0;
		if (end_of_seal(l->buffer + l->next)) {
			l->rest = true;
			return l->buffer + l->next;
		}
		if (!read_more(l, FLAG))
			return NULL;
	}
	return next_line(l);
}

static void note_flags(struct listing *l, const char *line, size_t between, struct mapping *m)
{
	const char *seal = end_of_seal(line);
	size_t length = seal ? (size_t)(seal - line) : strlen(line);

	m->sealed = seal != NULL;
	l->between = between;
	l->flags = l->last && l->last < length ? l->last : length;
	l->last = length;
}

enum listed next_listed(struct listing *l, struct mapping *m)
{
	bool there = l->amid && go_to_flags(l);
	size_t between = there ? l->between : 0;
	char *line = there ? flags_line(l) : NULL;

	if (l->rest && !there) {
		l->rest = false;
		next_line(l);
	}
	l->amid = false;
	for (line = line ? line : next_line(l); line; line = next_line(l)) {
		if (parse_mapping(line, m)) {
			l->amid = l->smaps;
			return LISTED_MAPPING;
		}
		if (is_flags(line)) {
			note_flags(l, line, between, m);
			return LISTED_FLAGS;
		}
		between += strlen(line) + 1;
	}
	return LISTED_END;
}
