/* SPDX-License-Identifier: MIT */
/*
 * One program, twice in one process: with its seals, then, at another place of the same sort, without. The second
 * pass, the twin, leaves out what the first was refused with EPERM, so that both stay alike as long as the kernel
 * treats them alike. Each pass looks at its window after every step and in the end tries what is left, unit by
 * unit: behaviour is the proof of a seal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include "arch.h"
#include "explore.h"
#include "payload.h"
#include "sys.h"

enum { CROWD = 1500, GAP_PAGES = 16, TRIES = 64 };

static const struct x_segment *segments(const struct x_program *p)
{
	return (const struct x_segment *)p->rest;
}

static const struct x_step *steps(const struct x_program *p)
{
	return (const struct x_step *)(p->rest + p->segments * sizeof(struct x_segment));
}

/* ------------------------------------------------------------------ sizes */

static int first_fork(const struct x_program *p)
{
	for (int i = 0; i < p->steps; i++)
		if (steps(p)[i].op == X_FORK && (steps(p)[i].a == 0 || steps(p)[i].a == X_GRANDCHILD))
			return i;
	return -1;
}

static size_t look_size(const struct x_program *p)
{
	return 2 + 2 * (size_t)p->units;
}

/* What each of them begins with: the result of sealing, or how a child ended; then a look, the steps, the end. */
static size_t pass_size(const struct x_program *p, int steps_left)
{
	return 2 + look_size(p) + (size_t)steps_left * (2 + look_size(p)) + 2 * (size_t)p->units;
}

size_t x_record_size(const struct x_program *p)
{
	int fork = first_fork(p);
	size_t child = fork < 0 ? 0 : pass_size(p, p->steps - fork - 1);

	return sizeof(struct x_record) + 2 * (pass_size(p, p->steps) + child);
}

bool x_valid(const struct x_program *p, size_t left)
{
	size_t size;
	int units = 0;

	if (left < sizeof(*p) || p->size > left)
		return false;
	size = sizeof(*p) + p->segments * sizeof(struct x_segment) + p->steps * sizeof(struct x_step);
	if (p->size != size || !p->units || p->units > X_UNITS || p->segments > X_SEGMENTS || p->steps > X_STEPS ||
	    p->scale > 9 || p->place >= X_PLACES)
		return false;
	for (int i = 0; i < p->segments; i++) {
		units += segments(p)[i].units;
		if (segments(p)[i].kind >= X_KINDS)
			return false;
	}
	for (int i = 0; i < p->steps; i++)
		if (steps(p)[i].start + steps(p)[i].units > p->units || steps(p)[i].op >= X_OPS)
			return false;
	return units == p->units;
}

/* ------------------------------------------------------------------ places */

/*
 * What this process has used up of each place. The windows there are of all lengths, and none may come to where another
 * has left sealed memory. Counted in STRIDE pages; at borders of page tables in tables, of 4 GiB in borders.
 */
static size_t used[X_PLACES];

enum { STRIDE = 32 };

static uintptr_t top_of_memory(size_t page)
{
	return ARCH_MEMORY_TOP - page;
}

static size_t strides(const struct x_window *w)
{
	size_t pages = (size_t)w->units * w->unit / w->page + GAP_PAGES;

	return (pages + STRIDE - 1) / STRIDE;
}

static size_t table_size(const struct x_window *w) /* of the memory that one page of the page table maps */
{
	return w->page * (w->page / 8);
}

/* How much of its place a window uses up. */
static size_t share(const struct x_window *w, enum x_place place)
{
	if (place == X_FOUR_GIB)
		return 1;
	return place == X_TABLES ? 2 * ((size_t)w->units * w->unit / table_size(w)) + 3 : strides(w);
}

/* 0 when this process has no such place left. */
static uintptr_t place_for(const struct x_window *w, enum x_place place)
{
	size_t length = (size_t)w->units * w->unit, half = (size_t)(w->units / 2) * w->unit;
	size_t before = used[place] * STRIDE * w->page;

	switch (place) {
	case X_LOW:
		return 0x20000 + before + strides(w) * STRIDE * w->page > 0x1000000 ? 0 : 0x20000 + before;
	case X_FOUR_GIB:
		return ((used[place] + 1) << 32) - half;
	case X_TOP:
		return top_of_memory(w->page) - length - before;
	case X_TABLES:
		return 0x2000000000 + (used[place] + length / table_size(w) + 1) * table_size(w) - half;
	default:
		return 0x1000000000 + before;
	}
}

/* A kernel that checks all mappings at each change of one takes many seconds for them. */
static void crowd_once(struct x_progress *progress, size_t page)
{
	static bool there;
	char *at;

	if (there)
		return;
	there = true;
	at = (char *)sys(SYS_mmap, 0x3000000000, 2 * CROWD * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		-1, 0);
	for (size_t i = 0; at == (char *)0x3000000000 && i < CROWD; i++) {
		sys(SYS_mprotect, at + 2 * i * page, page, PROT_READ);
		progress->beats++;
	}
}

/* ------------------------------------------------------------------ the window */

static bool fill_units(const struct x_window *w, int start, int units)
{
	for (int i = start; i < start + units; i++)
		for (int which = 0; which < x_looked_at(w); which++)
			if (!x_write(x_unit(w, i) + x_look_offset(w, which), (uint8_t)(0xa0 + i)))
				return false;
	return true;
}

static bool make_segment(struct x_window *w, const struct x_segment *s, int start)
{
	bool unwritable = s->traits & X_UNWRITABLE && s->kind == X_SHARED_FILE && !(s->prot & PROT_WRITE);
	bool written = s->traits & X_WRITTEN && !unwritable;
	char *at = x_unit(w, start);
	size_t length = s->units * w->unit;
	uint8_t prot = written ? PROT_READ | PROT_WRITE : s->prot;
	unsigned long flags = (s->traits & X_GROWSDOWN ? MAP_GROWSDOWN : 0) |
			      (s->traits & X_NORESERVE ? MAP_NORESERVE : 0);

	if (s->kind == X_HOLE)
		return true;
	/* What is touched at once anyway costs a tenth of its faults so. */
	if (w->unit == w->page && (written || (!w->quiet && prot & PROT_READ)))
		flags |= MAP_POPULATE;
	flags |= MAP_FIXED_NOREPLACE;
	if ((unwritable ? x_map_unwritable(w, start, s->units, prot, flags)
			: x_map(w, start, s->units, s->kind, prot, flags)) != (long)at)
		return false;
	if (written && !fill_units(w, start, s->units))
		return false;
	if (prot != s->prot && sys(SYS_mprotect, at, length, x_prot(s->prot)))
		return false;
	if (s->traits & X_COMB)
		for (size_t page = w->page; page < length; page += 2 * w->page)
			sys(SYS_madvise, at + page, w->page, ADV_SEQUENTIAL);
	if (s->traits & X_LOCKED)
		sys(SYS_mlock, at, length);
	if (s->traits & X_NAMED)
		sys(SYS_prctl, 0x53564d41, 0, at, length, "named"); /* PR_SET_VMA, PR_SET_VMA_ANON_NAME */
	return true;
}

static bool make_at(struct x_window *w, const struct x_program *p)
{
	int start = 0;

	for (int i = 0; i < p->segments; i++) {
		if (!make_segment(w, &segments(p)[i], start))
			return false;
		start += segments(p)[i].units;
	}
	return true;
}

enum made { MADE, FAILED, NO_PLACE };

/* At the next place of its sort that is free. */
static enum made make_window(struct x_window *w, const struct x_program *p)
{
	for (int tries = 0; tries < TRIES; tries++) {
		w->base = (char *)place_for(w, p->place);
		if (!w->base)
			return NO_PLACE;
		if (make_at(w, p))
			return MADE;
		if (errno != EEXIST)
			return FAILED;
		/* Somebody's mapping is in the way. Ours before it, if any, stays where nobody looks. */
		used[p->place] += share(w, p->place);
	}
	return NO_PLACE;
}

/* Each run of sealed units with one call, as a program would; the first refusal is what is told. */
static int seal_window(const struct x_window *w, const struct x_program *p)
{
	int start = 0, end, refused = 0;

	for (int i = 0; i < p->segments;) {
		end = start;
		while (i < p->segments && segments(p)[i].traits & X_SEALED && segments(p)[i].kind != X_HOLE)
			end += segments(p)[i++].units;
		if (end == start)
			end += segments(p)[i++].units;
		else if (sys(SYS_mseal, x_unit(w, start), (size_t)(end - start) * w->unit, 0) && !refused)
			refused = errno;
		start = end;
	}
	return refused;
}

/* ------------------------------------------------------------------ a pass */

struct pass {
	const struct x_program *p;
	struct x_window w;
	struct x_record *record;
	struct x_progress *progress;
	uint8_t *mine, *other; /* where this pass's facts go; those of the pass with seals, NULL in that pass itself */
	uint8_t *child, *other_child;
	int fork;
};

static struct pass *pass_of(struct x_window *w)
{
	return (struct pass *)((char *)w - offsetof(struct pass, w));
}

/* userfaultfd has an EPERM of its own, for shared memory that can never be written, and no seal forbids it. */
static bool left_out(const struct pass *pass, const struct x_step *step, const uint8_t *other)
{
	bool refused = other && other[0] == EPERM && step->op != X_USERFAULTFD;

	return pass->other && (step->op == X_MSEAL || (refused && !(step->by & X_TWIN_TOO)));
}

static void end_pass(struct pass *pass, const uint8_t *last, uint8_t *end)
{
	const struct x_window *w = &pass->w;
	const uint8_t *seen = last + 2;
	int units = w->units;

	memset(end, X_NOT_TRIED, 2 * (size_t)units);
	if (pass->other && !sys(SYS_munmap, w->base, (size_t)units * w->unit)) {
		memset(end + units, 0, (size_t)units);
		return;
	}
	for (int i = 0; i < units; i++)
		if (seen[i] & X_MAPPED)
			end[i] = sys(SYS_mprotect, x_unit(w, i), w->unit, (seen[i] & X_R ? PROT_READ : 0) |
				     (seen[i] & X_W ? PROT_WRITE : 0) |
				     	(seen[i] & X_X ? PROT_EXEC : 0)) ? (uint8_t)errno : 0;
	for (int i = 0, next; i < units; i = next) {
		/* What can be reprotected is taken away in one go, where that works. */
		for (next = i; next < units && end[next] == 0; next++)
			;
		if (next > i && !sys(SYS_munmap, x_unit(w, i), (size_t)(next - i) * w->unit)) {
			memset(end + units + i, 0, (size_t)(next - i));
			continue;
		}
		next = next > i ? next : i + 1;
		for (int each = i; each < next; each++)
			if (seen[each] & X_MAPPED)
				end[units + each] = sys(SYS_munmap, x_unit(w, each), w->unit) ? (uint8_t)errno : 0;
	}
}

static void go_on(struct pass *pass, int from, uint8_t *facts, const uint8_t *other);

/* The child goes on with the steps that are left, and has an end of its own. */
static void be_child(struct pass *pass, int from)
{
	struct x_window *w = &pass->w;
	uint8_t *facts = pass->child;

	x_thread_gone();
	w->maps = x_open_maps();
	w->parked = 0;
	x_look(w, facts + 2);
	go_on(pass, from, facts + 2, pass->other_child ? pass->other_child + 2 : NULL);
	_exit(0);
}

static long do_fork(struct x_window *w, const struct x_step *step, uint8_t *extra)
{
	struct pass *pass = pass_of(w);
	int at = (int)(step - steps(pass->p));
	bool goes_on = at == pass->fork && pass->child;
	long pid = child_process();
	int status;

	if (pid < 0)
		return -1;
	if (pid == 0)
		coverage_leave();
	if (pid == 0 && goes_on) {
		pass->fork = -1;
		if (step->a == X_GRANDCHILD && (pid = child_process()))
			_exit(pid < 0 ? 1 : await(pid));
		be_child(pass, at + 1);
	}
	if (pid == 0) {
		while (step->a == 1)
			sys(SYS_ppoll, NULL, 0, NULL, NULL, 8);
		_exit(0);
	}
	if (step->a == 1 && !pass->w.parked) {
		pass->w.parked = pid;
		return 0;
	}
	if (step->a == 1)
		kill((pid_t)pid, SIGKILL);
	status = await(pid);
	if (goes_on) {
		pass->child[0] = (uint8_t)status;
		if (status)
			pass->record->status = X_CHILD;
		*extra = (uint8_t)status;
	}
	return 0;
}

/* A quiet program's contents are looked at in the end only. */
static void look_at_last(const struct x_window *w, uint8_t *into)
{
	struct x_window last = *w;

	last.quiet = false;
	x_look(&last, into);
}

/* Coverage is of what is done to sealed memory, not of our looking at it. */
static void follow(const struct x_window *w)
{
	if (w->seals)
		coverage_resume();
}

static void unfollow(const struct x_window *w)
{
	if (w->seals)
		coverage_pause();
}

/* `facts` begins with a look; so does `other`. */
static void go_on(struct pass *pass, int from, uint8_t *facts, const uint8_t *other)
{
	struct x_window *w = &pass->w;
	const struct x_program *p = pass->p;
	size_t look = look_size(p);
	bool quiet = w->quiet;
	uint8_t *now = facts + look;

	for (int i = from; i < p->steps; i++, now += 2 + look) {
		const struct x_step *step = &steps(p)[i];
		const uint8_t *there = other ? other + (now - facts) : NULL;

		pass->record->step = (uint8_t)i;
		pass->progress->beats++;
		if (left_out(pass, step, there)) {
			now[0] = X_LEFT_OUT;
			memcpy(now + 2, now - look, look); /* nothing was done */
			if (quiet && i + 1 == p->steps)
				look_at_last(w, now + 2);
			continue;
		}
		for (int times = step->times > 1 ? step->times : 1; times--;) {
			long result;

			errno = 0;
			now[1] = 0;
			follow(w);
			result = x_perform(w, step, &now[1]);
			unfollow(w);
			now[0] = result == -1 ? (uint8_t)errno : 0;
		}
		if (i + 1 == p->steps)
			look_at_last(w, now + 2);
		else
			x_look(w, now + 2);
	}
	end_pass(pass, now - look, now);
}

/* The process is to be for the next program what it was for this one, but for what is sealed. */
static void tidy(struct x_window *w)
{
	if (w->rights) {
		w->rights = 0;
		x_set_rights(0);
	}
	if (w->persona)
		sys(SYS_personality, 0ul);
	if (w->future)
		sys(SYS_munlockall);
	if (w->merges)
		sys(SYS_prctl, 67 /* PR_SET_MEMORY_MERGE */, 0ul, 0ul, 0ul, 0ul);
	if (w->parked) {
		kill((pid_t)w->parked, SIGKILL);
		await(w->parked);
	}
}

static int maps_of_worker(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = x_open_maps();
	return fd;
}

static bool run_pass(struct pass *pass)
{
	static long file = 1l << 30; /* also remap_file_pages of other memory is given these offsets: none is in that */
	const struct x_program *p = pass->p;
	struct x_window *w = &pass->w;

	*w = (struct x_window){.page = (size_t)sysconf(_SC_PAGESIZE), .units = p->units, .seals = !pass->other,
			       .quiet = p->flags & X_QUIET, .maps = maps_of_worker(), .file = file,
			       .fork = do_fork};
	w->unit = w->page << p->scale;
	file += 2 * (long)((size_t)p->units * w->unit);
	x_close_userfaultfd();
	if (p->flags & X_CROWD)
		crowd_once(pass->progress, w->page);
	pass->progress->beats++;
	switch (make_window(w, p)) {
	case NO_PLACE:
		return false;
	case FAILED:
		pass->record->status = X_NO_WINDOW;
		pass->record->detail = (uint8_t)errno;
		sys(SYS_munmap, w->base, (size_t)w->units * w->unit);
		return true;
	case MADE:
		break;
	}
	w->made = true;
	if (w->seals) {
		follow(w);
		pass->mine[0] = (uint8_t)seal_window(w, p);
		unfollow(w);
	}
	x_look(w, pass->mine + 2);
	go_on(pass, 0, pass->mine + 2, pass->other ? pass->other + 2 : NULL);
	tidy(w);
	if (w->seals)
		used[p->place] += share(w, p->place);
	return true;
}

bool x_run(const struct x_program *p, struct x_progress *progress)
{
	struct x_record *record = (struct x_record *)(progress->records + progress->used);
	int fork = first_fork(p);
	size_t whole = pass_size(p, p->steps), child = fork < 0 ? 0 : pass_size(p, p->steps - fork - 1);
	uint8_t *sealed = record->rest, *twin = record->rest + whole + child;
	struct pass pass = {.p = p, .record = record, .progress = progress, .mine = sealed, .fork = fork,
			    .child = child ? sealed + whole : NULL};

	memset(record, 0, x_record_size(p));
	record->index = progress->index;
	if (!run_pass(&pass))
		return false;
	if (record->status != X_DONE && record->status != X_CHILD)
		return true;
	record->pass = 1;
	pass.mine = twin;
	pass.other = sealed;
	pass.fork = fork;
	pass.child = child ? twin + whole : NULL;
	pass.other_child = child ? sealed + whole : NULL;
	return run_pass(&pass);
}
