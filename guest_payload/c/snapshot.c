/* SPDX-License-Identifier: MIT */
/* Looking at the window: what the kernel lists, what pagemap says, and what reading and writing do. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arch.h"
#include "listing.h"
#include "payload.h"
#include "sys.h"

/* ------------------------------------------------------------------ touching memory that may fault */

/* What only halves write to, on pages of its own (engine.c says why). The largest page is one of 64 KiB. */
static struct {
	sigjmp_buf landing;
	volatile sig_atomic_t armed;
	bool has_keys;
	unsigned rights;
	long key;
	/* What a process looks with is opened when it looks first, and closed by its end. */
	bool open[2];	/* smaps, or the quicker maps; by window.look */
	struct listing listing[2];
	bool open_pagemap;
	int pagemap;
} own __attribute__((aligned(65536)));

static void on_fault(int signal_number)
{
	if (!own.armed) { /* not ours: a second fault kills us, and the engine reports it */
		signal(signal_number, SIG_DFL);
		return;
	}
	own.armed = 0;
	siglongjmp(own.landing, signal_number);
}

/*
 * A signal is delivered with the default rights of protection keys, and since the handler is left by a jump nobody
 * gives the thread its own back: we do.
 */
void keep_key_rights(long key)
{
	own.key = key;
	own.rights = arch_key_rights();
	own.has_keys = ARCH_HAS_KEY_RIGHTS;
}

long window_key(void)
{
	return own.key;
}

/* There are 15 of them in a process. What it was given to, and cannot be unmapped, is not looked at any more. */
void give_back_key(void)
{
	if (own.has_keys || own.key)
		sys(SYS_pkey_free, own.key);
	own.has_keys = own.key = 0;
}

static void restore_key_rights(void)
{
	if (own.has_keys)
		arch_set_key_rights(own.rights);
}

void arm_fault_handler(void)
{
	/* SA_NODEFER: leaving by siglongjmp, the handler need not have a signal mask restored. */
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* "a0" when every byte is a0, "mix" when they differ, "segv" or "bus" when reading faults. */
static void read_unit(const char *address, size_t unit, size_t stride, char text[5])
{
	static const char digits[] = "0123456789abcdef";
	int signal_number = sigsetjmp(own.landing, 0);

	if (signal_number == 0) {
		const volatile uint64_t *words = (const volatile uint64_t *)address;
		uint64_t first, differing = 0;
		size_t step = stride / sizeof(*words);

		own.armed = 1;
		first = words[0];
		/* four at once, and a unit has a multiple of four */
		for (size_t i = 0; i < unit / sizeof(*words); i += 4 * step)
			differing |= (words[i] ^ first) | (words[i + step] ^ first) | (words[i + 2 * step] ^ first) |
				     (words[i + 3 * step] ^ first);
		own.armed = 0;
		differing |= first ^ (first << 8 | first >> 56);
		if (differing) {
			strcpy(text, "mix");
		} else {
			text[0] = digits[first >> 4 & 15];
			text[1] = digits[first & 15];
			text[2] = 0;
		}
		return;
	}
	restore_key_rights();
	strcpy(text, signal_number == SIGBUS ? "bus" : "segv");
}

bool try_write(char *address)
{
	if (sigsetjmp(own.landing, 0)) {
		restore_key_rights();
		return false;
	}
	own.armed = 1;
	*(volatile char *)address = 0x77;
	own.armed = 0;
	return true;
}

/*
 * The kernel stores and loads for us, by our rights, and says when it cannot: a hundred times quicker than a
 * signal, where the processor is emulated. getcpu(2) stores a number; futex(2) loads one, and finds it is not the
 * one to wait for.
 */
bool store_works(char *address)
{
	return sys(SYS_getcpu, address, 0, 0) == 0;
}

static bool load_works(const char *address)
{
	static const struct timespec at_once;

	return sys(SYS_futex, address, 128 /* FUTEX_WAIT_PRIVATE */, 1, &at_once) == 0 || errno != EFAULT;
}

bool try_call(void (*act)(void))
{
	if (sigsetjmp(own.landing, 0))
		return false;
	own.armed = 1;
	act();
	own.armed = 0;
	return true;
}

/* ------------------------------------------------------------------ what the kernel lists */

/* A name as it can stand in a record: what would have to be escaped there is told as '?'. */
static void copy_name(char *to, const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		to[i] = name[i] > ' ' && name[i] <= '~' && name[i] != '"' && name[i] != '\\' ? name[i] : '?';
	to[length] = 0;
}

/*
 * A short name for what backs a mapping. Objects of our own have the name they were created with as the last part of
 * their path, before or after a dot ("sealmatrix.123.other (deleted)", "/memfd:memfd (deleted)").
 */
static void name_backing(const struct mapping *m, struct unit_fact *fact)
{
	static const struct {
		const char *prefix, *name;
	} known[] = {
		{"", "anon"},
		{"[anon:", "anon"},
		{"/dev/zero (", "shared"}, /* the kernel's own object behind shared anonymous memory */
		{"[anon_shmem:", "shared"},
		{"/dev/zero", "zero"},
		{"/SYSV", "sysv"},
		{"[heap]", "heap"},
		{"[stack", "stack"},
	};
	const char *name = m->path;
	size_t length;

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (known[i].prefix[0] ? begins(m->path, known[i].prefix) : !m->path[0]) {
			strcpy(fact->backing, known[i].name);
			return;
		}
	}
	for (const char *p = m->path; *p && *p != ' '; p++)
		if (*p == '/' || *p == ':' || *p == '.')
			name = p + 1;
	length = strcspn(name, " ");
	if (length >= sizeof(fact->backing))
		length = sizeof(fact->backing) - 1;
	copy_name(fact->backing, name, length);
}

static void note_seal(const struct window *w, struct unit_fact *facts, const struct mapping *m)
{
	for (int i = 0; i < w->units; i++)
		if (unit_at(w, i) >= m->start && unit_at(w, i) < m->end)
			facts[i].seal = m->sealed ? 's' : '-';
}

static void note_mapping(const struct window *w, struct unit_fact *facts, const struct mapping *m)
{
	for (int i = 0; i < w->units; i++) {
		struct unit_fact *fact = &facts[i];
		char *at = unit_at(w, i);

		if (m->start > at && m->start < unit_at(w, i + 1))
			fact->division = '+';
		if (at < m->start || at >= m->end)
			continue;
		fact->mapped = true;
		fact->division = at == m->start ? '|' : '.';
		memcpy(fact->perms, m->perms, sizeof(fact->perms));
		name_backing(m, fact);
		fact->offset = -1;
		/* A name given by prctl(PR_SET_VMA) hides the path of shared memory, not that it has an object. */
		if (m->path[0] == '/' || begins(m->path, "[anon_shmem:"))
			fact->offset = (long)((m->offset + (uint64_t)(at - m->start)) / w->unit);
		fact->seal = '?';
	}
}

/* The process has lost what it looks with: better no fact than one that is none. */
static _Noreturn void go_blind(void)
{
	_exit(BLIND);
}

/* Read what is mapped in the window, and no further: the rest of the address space is not ours to list. */
static void list_window(const struct window *w, struct unit_fact *facts)
{
	struct listing *listing = &own.listing[w->look];
	char *end = unit_at(w, w->units);
	struct mapping m = {0};
	enum listed what;

	while ((what = next_listed(listing, &m)) != LISTED_END && m.start < end) {
		if (what == LISTED_MAPPING)
			note_mapping(w, facts, &m);
		else
			note_seal(w, facts, &m);
		if (m.end >= end && (what == LISTED_FLAGS || !listing->smaps))
			break;
	}
	if (listing->broken)
		go_blind();
}

/* Mappings of this process that smaps calls sealed, leaving out those of the kernel itself ([vdso] and its like). */
int count_seals(void)
{
	struct mapping m = {0};
	enum listed what;
	bool ours = false;
	struct listing *listing = &own.listing[true];
	int count = 0;

	open_listing(listing, true);
	while ((what = next_listed(listing, &m)) != LISTED_END) {
		if (what == LISTED_MAPPING)
			ours = !begins(m.path, "[v");
		else
			count += ours && m.sealed;
	}
	close_listing(listing);
	return count;
}

/* ------------------------------------------------------------------ the snapshot */

static char presence_of(uint64_t entry)
{
	if (entry & PAGEMAP_SWAPPED)
		return 's';
	if (!(entry & PAGEMAP_PRESENT))
		return 'n';
	return entry & PAGEMAP_FILE_OR_SHARED ? 'f' : 'a';
}

/* One entry per unit, of its first page. */
static void read_pagemap(const struct window *w, struct unit_fact *facts)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), step = w->unit / page;
	int fd = own.pagemap;
	uint64_t entries[UNITS_MAX];

	for (int i = 0; i < w->units; i++)
		facts[i].presence = '?';
	if (fd < 0)
		return;
	if (step == 1) {
		ssize_t got = sys(SYS_pread64, fd, entries, (size_t)w->units * sizeof(*entries),
				      (uintptr_t)w->base / page * sizeof(*entries));

		for (int i = 0; i < w->units && got >= (ssize_t)((size_t)(i + 1) * sizeof(*entries)); i++)
			facts[i].presence = presence_of(entries[i]);
	} else {
		for (int i = 0; i < w->units; i++)
			if (sys(SYS_pread64, fd, entries, sizeof(*entries),
				    (uintptr_t)unit_at(w, i) / page * sizeof(*entries)) == sizeof(*entries))
				facts[i].presence = presence_of(entries[0]);
	}
}

static void open_eyes(const struct window *w)
{
	struct listing *listing = &own.listing[w->look];

	if (own.open[w->look])
		rewind_listing(listing);
	else
		open_listing(listing, w->look);
	own.open[w->look] = true;
	if (!own.open_pagemap)
		own.pagemap = (int)sys(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	own.open_pagemap = true;
}

void take_own_snapshot(struct window *w, struct unit_fact *facts)
{
	own.open[w->look] = own.open_pagemap = false;
	take_snapshot(w, facts);
}

void take_snapshot(struct window *w, struct unit_fact *facts)
{
	memset(facts, 0, sizeof(*facts) * (size_t)w->units);
	open_eyes(w);
	list_window(w, facts);
	read_pagemap(w, facts); /* before touching: reading a page brings it in */
	for (int i = 0; i < w->units; i++) {
		if (!facts[i].mapped)
			continue;
		if (w->region->traits & UNREAD)
			strcpy(facts[i].data, ".");
		else if (facts[i].perms[0] != 'r' && !load_works(unit_at(w, i)))
			strcpy(facts[i].data, "segv"); /* as the reading of what may not be read ends */
		else
			read_unit(unit_at(w, i), w->unit, stride(w), facts[i].data);
	}
}
