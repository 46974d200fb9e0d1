/* SPDX-License-Identifier: MIT */
/* One process: make a window, seal its sealed units (or not), look, operate, look again, and try what is left. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

long sys_mseal(void *start, size_t length, unsigned long flags)
{
	return sys(SYS_mseal, start, length, flags);
}

/* Of a process that runs many: where it goes on with the next. */
static struct {
	sigjmp_buf next;
	pid_t many; /* that process, and not a child of it */
	const char *table; /* that is kept; see keep_table() */
} own;

_Noreturn void leave_half(void)
{
	if (own.many && own.many == getpid())
		siglongjmp(own.next, 1);
	_exit(0);
}

_Noreturn void fail_step(struct window *w, const char *step, int error)
{
	w->facts->step = step;
	w->facts->step_errno = error;
	leave_half();
}

static void add(struct window *w, struct extra extra)
{
	struct facts *f = w->facts;

	if (f->extras == EXTRAS_MAX)
		return;
	f->extra[f->extras] = extra;
	f->extras++; /* last: the engine may read this after our death */
}

void add_extra(struct window *w, const char *key, long number)
{
	add(w, (struct extra){key, number, false});
}

void add_text(struct window *w, const char *key, const char *text)
{
	strncpy(w->facts->text, text, sizeof(w->facts->text) - 1);
	add(w, (struct extra){key, 0, true});
}

static bool is_sealed(char c)
{
	return c == 's' || c == 'S';
}

static bool is_covered(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_gap(char c)
{
	return c == 'g' || c == 'G';
}

static void set_up(struct window *w, const struct probe *probe)
{
	int first = 0, covered = 0;

	w->region->make(w);
	trace_window(w);
	for (int i = 0; i < w->units; i++)
		if (is_gap(w->layout[i]) && sys(SYS_munmap, unit_at(w, i), w->unit))
			fail_step(w, "munmap of a gap", errno);
	while (first < w->units && !is_covered(w->layout[first]))
		first++;
	while (first + covered < w->units && is_covered(w->layout[first + covered]))
		covered++;
	w->start = unit_at(w, first);
	w->length = (size_t)covered * w->unit;
	w->facts->unit = w->unit;
	meet_needs(w, probe->operation->needs);
	if (probe->operation->prepare)
		probe->operation->prepare(w, probe->operation);
}

/* Each run of sealed units with one call, as a program would. A refusal ends the half: its facts say all there is. */
static void seal(struct window *w)
{
	struct facts *f = w->facts;

	for (int i = 0; i < w->units;) {
		int end = i;

		while (end < w->units && is_sealed(w->layout[end]))
			end++;
		if (end == i) {
			i++;
			continue;
		}
		f->seal[f->seals++] = sys_mseal(unit_at(w, i), (size_t)(end - i) * w->unit, 0) ? errno : 0;
		if (f->seal[f->seals - 1])
			leave_half();
		i = end;
	}
}

/* An address is kept relative to the window, so that two runs, and two kernels, give the same fact. */
static void locate(struct window *w, char *address)
{
	char *text = w->facts->where;
	long offset = offset_in(w, address), near = 16 * (long)w->unit, units;

	if (address == w->destination) {
		strcpy(text, "destination");
		return;
	}
	if (offset < -near || offset >= near + w->units * (long)w->unit || offset % (long)w->unit) {
		strcpy(text, "elsewhere");
		return;
	}
	units = offset / (long)w->unit;
	strcpy(text, units < 0 ? "base-" : "base+");
	units = units < 0 ? -units : units;
	text += strlen(text);
	if (units > 9)
		*text++ = (char)('0' + units / 10);
	*text++ = (char)('0' + units % 10);
	*text = 0;
}

static void operate(struct window *w, const struct operation *op)
{
	struct facts *f = w->facts;
	long result;

	errno = 0;
	result = op->perform(w, op);
	f->error = result == -1 ? errno : 0;
	f->result = result;
	if (op->traits & ADDRESS && result != -1)
		locate(w, (char *)result);
}

static int protection_of(const char *perms)
{
	return (perms[0] == 'r' ? PROT_READ : 0) | (perms[1] == 'w' ? PROT_WRITE : 0) |
	       (perms[2] == 'x' ? PROT_EXEC : 0);
}

static bool protected_alike(const struct facts *f, int units)
{
	for (int i = 1; i < units; i++)
		if (protection_of(f->after[i].perms) != protection_of(f->after[0].perms))
			return false;
	return true;
}

/*
 * What the units let be done to them, behaviour being the proof of a seal. Destroys what it can. Where nobody
 * sealed, what can be done to all at once can be done to each: one flush of the TLB instead of many, each of which
 * stops all CPUs where they are emulated.
 */
static void try_units(struct window *w)
{
	struct facts *f = w->facts;
	size_t length = (size_t)w->units * w->unit;

	for (int i = 0; i < w->units; i++)
		f->write[i] = store_works(unit_at(w, i)) ? 'w' : '-';
	if (w->look || !protected_alike(f, w->units) ||
	    sys(SYS_mprotect, w->base, length, protection_of(f->after[0].perms)))
		for (int i = 0; i < w->units; i++)
			f->mprotect[i] =
				sys(SYS_mprotect, unit_at(w, i), w->unit, protection_of(f->after[i].perms)) ? errno : 0;
	if (w->look || sys(SYS_munmap, w->base, length))
		for (int i = 0; i < w->units; i++)
			f->munmap[i] = sys(SYS_munmap, unit_at(w, i), w->unit) ? errno : 0;
}

/* By the system call: a probe may have taken the vdso away, and on a broken kernel a lane may lack it. */
long now_ns(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Slots begin with 1; it is 0 for a probe that has a process of its own. */
static char *window_of(int slot)
{
	return beyond(WINDOW_BASE,
		      (slot ? FIRST_SLOT + BATCH_MAX - slot : 0) * (long)sysconf(_SC_PAGESIZE) * SLOT_UNITS);
}

static _Noreturn void run(const struct probe *probe, bool sealed, struct facts *facts, int slot)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	long apart = (long)page * SLOT_UNITS;
	struct window w = {
		.region = probe->region,
		.layout = probe->span->layout,
		.units = (int)strlen(probe->span->layout),
		.unit = page,
		.base = window_of(slot),
		.destination = beyond(DESTINATION_BASE, slot * apart),
		.object = -1,
		.other = -1,
		.sealed = sealed,
		.look = sealed || probe->operation->traits & SEALS,
		.facts = facts,
	};
	long before;

	facts->unit = w.unit;
	set_up(&w, probe);
	facts->stage = STAGE_SEAL;
	if (sealed) {
		coverage_begin();
		seal(&w);
	}
	facts->stage = STAGE_BEFORE;
	take_snapshot(&w, facts->before);
	facts->stage = STAGE_OPERATION;
	before = now_ns();
	operate(&w, probe->operation);
	facts->operation_ns = now_ns() - before;
	facts->stage = STAGE_AFTER;
	take_snapshot(&w, facts->after);
	try_units(&w);
	facts->stage = STAGE_DONE;
	leave_half();
}

_Noreturn void half(const struct probe *probe, bool sealed, struct facts *facts)
{
	run(probe, sealed, facts, 0);
}

/* So that a report of the kernel's tells which probe it was; the host knows the plan. */
static void be_named(size_t place)
{
	char name[16] = "probe-", *to = name + 6;
	size_t power = 1;

	while (place / power > 9)
		power *= 10;
	for (; power; power /= 10)
		*to++ = (char)('0' + place / power % 10);
	prctl(PR_SET_NAME, name);
}

/*
 * Something that stays, at the end of what one page table describes: where nothing is left that a table describes, the
 * kernel gives it back and flushes the whole TLB. As far from windows as they are from each other, and never touched.
 */
static void keep_table(const char *window)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), described = page * (page / sizeof(uint64_t));
	const char *table = window - (uintptr_t)window % described;

	if (table == own.table)
		return;
	own.table = table;
	sys(SYS_mmap, beyond(table, (long)(described - page)), page, PROT_NONE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

/*
 * What a half leaves behind stays until the process ends: sealed memory cannot be unmapped, and the next window is far
 * from it. Nothing that is left is of a kind that the next could notice; operations that leave such are LONE.
 */
_Noreturn void halves(struct probe_batch *batch, int count, bool sealed)
{
	volatile int i = 0;
	volatile long began = now_ns();

	own.many = getpid();
	if (sigsetjmp(own.next, 0)) {
		long now = now_ns();

		give_back_key();
		batch->facts[sealed][i].half_ns = now - began;
		began = now;
		i++;
	}
	batch->at = i;
	if (i == count)
		_exit(0);
	be_named(batch->first + (size_t)i);
	if (!(batch->probes[i].region->traits & (FAR | FARTHEST))) /* whose page tables are elsewhere */
		keep_table(window_of(i + 1));
	run(&batch->probes[i], sealed, &batch->facts[sealed][i], i + 1);
}
