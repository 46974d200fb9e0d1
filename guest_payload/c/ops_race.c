/* SPDX-License-Identifier: MIT */
/*
 * Two threads on two CPUs: one seals a range while the other changes it, again and again, each time on a fresh range
 * (what has been sealed cannot be used twice). The window itself only looks on.
 *
 * A race in which always the same comes first proves nothing. So whoever came first waits a little longer the next
 * time, and much longer once it has always been first; and a slow machine, which does fewer rounds, goes on until both
 * have come first often enough, or until half the time a half of a probe has is over.
 *
 * A round is told by four facts: what mseal answered, what the operation answered, whether the range was as before at
 * the moment mseal had returned, and whether it was so in the end. The facts of all rounds are counted; which of them
 * contradict each other is for the host to say. The control half does the same without mseal.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

enum {
	ROUNDS = 2000, CROWD_ROUNDS = 200,
	CONTROL_ROUNDS = 20,  /* enough to see that the operation works at all */
	ANSWERS = 60,         /* rounds of race-mseal: on a kernel that mixes them up, nearly each shows it */
	PATIENCE_MS = 60,     /* a slow machine does fewer rounds ... */
	WINS = 30,            /* ... but has each side come first so often; rules ask for less (95-races.yaml) */
	RANGE = 2,            /* units */
	LARGE = 512 << 10,    /* bytes of a unit; see below */
	CROWD = 4000, SMALL_CROWD = 2500, /* mappings; see below */
	CONTROL_CROWD = 2 * CONTROL_ROUNDS, /* nobody is to come second there */
	OUTCOMES_MAX = 8,
	STEP = 8, JITTER = 32, LEAD_MAX = 1 << 20, /* turns of an idle loop */
	PATIENT_STREAK = 6,   /* from then on steps double; they are halved when the other side comes first */
	FILL = 0xa5,
};

#define ARENA PLACE(0x2000000000ul)
#define SPARE PLACE(0x3000000000ul) /* where mremap moves to */

enum state { KEPT, CHANGED, PARTLY, NOT_SEEN };

struct outcome {
	int seal, error; /* errno; -1 for an mseal that was not tried, and for an answer that was not seen */
	enum state then, end;
	long count, first;
};

/*
 * A kernel that looks for seals before it takes the lock leaves a window, which is hardly ever hit: who has just
 * let go of the lock is nearly always the first to have it again. So there is a contest for the last of a crowd of
 * mappings, which takes long to look at: what is done is done to all of them, but there is something to do at the
 * last alone, and only this is sealed and looked at. It is each time the one before; the rest can be used again.
 * The thread that seals has a real-time priority, for such a waiter is handed the lock by whoever lets go of it
 * (kernel/locking/rwsem.c: rwsem_try_write_lock()), after 12.5 us in which it spins. A crowd is as large as its
 * operation allows for.
 */
/*
 * A discard locks the mapping it is about and no more (madvise.c: MADVISE_VMA_READ_LOCK, since 6.16), and mseal has to
 * wait for that lock, too. The discard of two pages is over before anybody looks; that of a large range is not.
 */
struct contest {
	int prot[RANGE];
	size_t large; /* bytes of a unit, where those of the window are too few */
	int crowd;   /* 0 for none */
	bool filled; /* look() reads contents */
	long (*act)(char *at, size_t length, char *spare);
	bool (*look)(char *unit, size_t size); /* is the unit as it was made? */
};

struct race {
	const struct contest *contest;
	size_t unit;
	int round, done; /* handed over with acquire and release; the rest of this struct goes with them */
	char *from, *at, *spare; /* acted on from the first, sealed and looked at from the second on, to the same end */
	int units;		 /* sealed and looked at */
	int crowd;		 /* mappings */
	int error;
	int delay; /* turns */
	int lead;  /* turns the sealing thread waits more than the other */
	/* how often the same side has come first, below 0 the other's; how far that was last changed */
	int streak, step;
	long wins[2]; /* of the sealing thread, of the other */
	struct outcome outcomes[OUTCOMES_MAX];
	int outcome_count, left_out;
};

/* ------------------------------------------------------------------ what can be done to a range, and seen of it */

static long act_munmap(char *at, size_t length, char *spare)
{
	(void)spare;
	return sys(SYS_munmap, at, length);
}

static long act_mprotect(char *at, size_t length, char *spare)
{
	(void)spare;
	return sys(SYS_mprotect, at, length, PROT_READ);
}

static long act_madvise(char *at, size_t length, char *spare)
{
	(void)spare;
	return sys(SYS_madvise, at, length, ADV_DONTNEED);
}

static long act_mremap(char *at, size_t length, char *spare)
{
	return sys(SYS_mremap, at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, spare);
}

static long act_mmap(char *at, size_t length, char *spare)
{
	(void)spare;
	return sys(SYS_mmap, at, length, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static bool is_mapped(char *unit, size_t size)
{
	unsigned char pages[16];

	(void)size;
	return sys(SYS_mincore, unit, 1, pages) == 0 || errno != ENOMEM;
}

/* The kernel writes for us and says when it cannot: quicker than a fault, and there is no handler to share. */
static bool is_writable(char *unit, size_t size)
{
	(void)size;
	return sys(SYS_getcpu, unit, 0, 0) == 0;
}

static bool is_filled(char *unit, size_t size)
{
	return ((volatile unsigned char *)unit)[size - 1] == FILL; /* what is reached last */
}

#define RW (PROT_READ | PROT_WRITE)

static const struct contest contest_munmap = {.prot = {RW, PROT_READ}, .act = act_munmap, .look = is_mapped};
static const struct contest contest_mprotect = {.prot = {RW, RW}, .act = act_mprotect, .look = is_writable};
static const struct contest contest_madvise = {
	.prot = {PROT_READ, PROT_READ}, .filled = true, .act = act_madvise, .look = is_filled,
};
/* One mapping: several at once move since 6.17 only, d23cb648e365. */
static const struct contest contest_mremap = {.prot = {RW, RW}, .act = act_mremap, .look = is_mapped};
static const struct contest contest_mmap = {
	.prot = {RW, PROT_READ}, .filled = true, .act = act_mmap, .look = is_filled,
};
static const struct contest contest_mprotect_crowd = {
	.prot = {RW, RW}, .crowd = CROWD, .act = act_mprotect, .look = is_writable,
};
static const struct contest contest_madvise_large = {
	.prot = {PROT_READ, PROT_READ}, .large = LARGE, .filled = true, .act = act_madvise, .look = is_filled,
};
static const struct contest contest_madvise_crowd = {
	.prot = {PROT_READ, PROT_READ}, .crowd = SMALL_CROWD, .filled = true, .act = act_madvise, .look = is_filled,
};

static enum state look(const struct race *race)
{
	int kept = 0;

	for (int i = 0; i < race->units; i++)
		kept += race->contest->look(race->at + (size_t)i * race->unit, race->unit);
	return kept == race->units ? KEPT : kept == 0 ? CHANGED : PARTLY;
}

/* ------------------------------------------------------------------ the two threads */

int use_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? errno : 0;
}

static void stay_on_cpu(struct window *w, int cpu)
{
	int error = use_cpu(cpu);

	if (error)
		fail_step(w, "sched_setaffinity", error);
}

/* Both spin: whoever slept would always come second. On a host that is busy the other may be away for long. */
static void await_number(const int *number, int wanted)
{
	for (unsigned spins = 1; __atomic_load_n(number, __ATOMIC_ACQUIRE) != wanted; spins++)
		if (spins % 4096 == 0)
			sched_yield();
}

static void linger(int turns)
{
	for (volatile int i = 0; i < turns; i++)
		;
}

static void *compete(void *argument)
{
	struct race *race = argument;

	for (int round = 1;; round++) {
		size_t length;

		await_number(&race->round, round);
		if (!race->at)
			return NULL;
		length = (size_t)(race->at - race->from) + (size_t)race->units * race->unit;
		linger(race->delay);
		race->error = race->contest->act(race->from, length, race->spare) == -1 ? errno : 0;
		__atomic_store_n(&race->done, round, __ATOMIC_RELEASE);
	}
}

/* A unit that can be written to gets what it is to have; 0 or the errno. Of a large one the last page is looked at. */
static int make_ready(const struct race *race, char *unit, int prot)
{
	size_t filled = race->contest->large ? (size_t)sysconf(_SC_PAGESIZE) : race->unit;

	if (race->contest->filled)
		memset(unit + race->unit - filled, FILL, filled);
	return prot != RW && sys(SYS_mprotect, unit, race->unit, prot) ? errno : 0;
}

static int set_up_range(struct race *race, int round)
{
	size_t distance = (size_t)round * 2 * RANGE * race->unit; /* a hole behind each, so that none merge */
	/* What takes long to discard are pages, and the kernel brings in many at once in less time than a program. */
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (race->contest->large ? MAP_POPULATE : 0);
	int error;

	race->from = race->at = ARENA + distance;
	race->spare = SPARE + distance;
	race->units = RANGE;
	for (int i = 0; i < RANGE; i++) {
		char *unit = race->at + (size_t)i * race->unit;

		if (sys(SYS_mmap, unit, race->unit, RW, flags, -1, 0) == -1)
			return errno;
		error = make_ready(race, unit, race->contest->prot[i]);
		if (error)
			return error;
	}
	return 0;
}

/* Neighbours that differ in MAP_NORESERVE do not merge. */
static int set_up_crowd(struct race *race, int round)
{
	for (int i = 0; round == 1 && i < race->crowd; i++) {
		int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | (i % 2 ? MAP_NORESERVE : 0);

		if (sys(SYS_mmap, ARENA + (size_t)i * race->unit, race->unit, PROT_READ, flags, -1, 0) == -1)
			return errno;
	}
	race->from = ARENA;
	race->at = ARENA + (size_t)(race->crowd - round) * race->unit;
	race->units = 1;
	if (sys(SYS_mprotect, race->at, race->unit, RW))
		return errno;
	return make_ready(race, race->at, race->contest->prot[0]);
}

static void count_outcome(struct race *race, struct outcome seen)
{
	for (int i = 0; i < race->outcome_count; i++) {
		struct outcome *o = &race->outcomes[i];

		if (o->seal == seen.seal && o->error == seen.error && o->then == seen.then && o->end == seen.end) {
			o->count++;
			return;
		}
	}
	if (race->outcome_count < OUTCOMES_MAX)
		race->outcomes[race->outcome_count++] = seen;
	else
		race->left_out++;
}

static int within(int least, int value, int most)
{
	return value < least ? least : value > most ? most : value;
}

/*
 * Of a kernel that refuses nothing, what mseal left as it was tells who came first; by the answers alone the same side
 * would win for ever.
 */
static void handicap(struct race *race, bool sealed_first)
{
	bool again = race->streak > 0 ? sealed_first : !sealed_first;

	if (!again)
		race->streak = 0;
	race->streak += sealed_first ? 1 : -1;
	if (!again)
		race->step /= 2;
	else if (abs(race->streak) > PATIENT_STREAK)
		race->step *= 2;
	race->step = within(STEP, race->step, LEAD_MAX);
	race->lead = within(-LEAD_MAX, race->lead + (sealed_first ? race->step : -race->step), LEAD_MAX);
	race->wins[sealed_first ? 0 : 1]++;
}

static struct outcome run_round(struct race *race, int round, bool seal)
{
	size_t length = (size_t)race->units * race->unit;
	struct outcome o = {.seal = -1, .then = NOT_SEEN, .count = 1, .first = round};

	race->delay = round * 37 % JITTER + (race->lead < 0 ? -race->lead : 0);
	__atomic_store_n(&race->round, round, __ATOMIC_RELEASE);
	if (seal) {
		linger(round * 11 % JITTER + (race->lead > 0 ? race->lead : 0));
		o.seal = sys_mseal(race->at, length, 0) ? errno : 0;
		o.then = look(race);
	}
	await_number(&race->done, round);
	o.error = race->error;
	o.end = look(race);
	if (seal)
		handicap(race, o.error || o.then == KEPT);
	if (!race->contest->crowd)
		sys(SYS_munmap, race->at, length); /* refused where it is sealed */
	if (race->contest->act == act_mremap && !o.error)
		sys(SYS_munmap, race->spare, length);
	return o;
}

/* ------------------------------------------------------------------ the operation */

long now_ms(void)
{
	return now_ns() / 1000000;
}

/* "MSEAL OPERATION THEN END COUNT FIRST; ...": errnos, "-" for -1, the number of the first. */
static void tell(struct window *w, const struct race *race, long rounds)
{
	static const char *const states[] = {"kept", "changed", "partly", "-"};
	char text[EXTRA_TEXT] = "", seal[16], error[16];
	size_t used = 0;

	for (int i = 0; i < race->outcome_count; i++) {
		const struct outcome *o = &race->outcomes[i];

		snprintf(seal, sizeof(seal), o->seal < 0 ? "-" : "%d", o->seal);
		snprintf(error, sizeof(error), o->error < 0 ? "-" : "%d", o->error);
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s %s %s %ld %ld", i ? "; " : "", seal,
					 error, states[o->then], states[o->end], o->count, o->first);
	}
	add_extra(w, "rounds", rounds);
	add_text(w, "outcomes", text);
	if (race->left_out)
		add_extra(w, "outcomes_left_out", race->left_out);
}

static bool goes_on(const struct race *race, long round, long rounds, bool sealed, long ms)
{
	bool both = race->wins[0] >= WINS && race->wins[1] >= WINS;

	if (!round)
		return true; /* on a busy host all the time may have gone by before the first */
	if (race->crowd && round == race->crowd)
		return false;
	if (!sealed || both)
		return round < rounds && ms < PATIENCE_MS;
	return ms < half_deadline_ms / 2;
}

/* The result is 0 when the race was run. */
static long race(struct window *w, const struct operation *op)
{
	size_t large = op->contest->large;
	struct race race = {.contest = op->contest, .unit = large > w->unit ? large : w->unit};
	long most = op->contest->crowd || large ? CROWD_ROUNDS : ROUNDS;
	long rounds = w->sealed ? most : CONTROL_ROUNDS;
	int crowd = race.contest->crowd;
	long began = now_ms();
	int round = 0;
	pthread_t competitor;
	int cpus[2], error;

	if (!first_two_cpus(cpus))
		fail_step(w, "two CPUs", EOPNOTSUPP);
	stay_on_cpu(w, cpus[1]); /* the thread inherits it */
	error = pthread_create(&competitor, NULL, compete, &race);
	if (error)
		fail_step(w, "a second thread", error);
	stay_on_cpu(w, cpus[0]);
	race.crowd = w->sealed || !crowd ? crowd : CONTROL_CROWD;
	if (crowd)
		sys(SYS_sched_setscheduler, 0, SCHED_FIFO, &(int){1}); /* who may not does what it can */
	while (goes_on(&race, round, rounds, w->sealed, now_ms() - began)) {
		round++;
		error = crowd ? set_up_crowd(&race, round) : set_up_range(&race, round);
		if (error)
			fail_step(w, "a fresh range", error);
		count_outcome(&race, run_round(&race, round, w->sealed));
	}
	race.at = NULL;
	__atomic_store_n(&race.round, round + 1, __ATOMIC_RELEASE);
	pthread_join(competitor, NULL);
	tell(w, &race, round);
	return 0;
}

/* ------------------------------------------------------------------ two that seal */

/*
 * Each must be told what became of its own call. One seals a crowd and the hole behind it, again and again, which takes
 * long and is refused. The other, on the same CPU and with a real-time priority, sleeps and then seals a mapping: it
 * finds the lock taken, and is woken by a call that has let go of the lock and has yet to return.
 *
 * A round in which no call of the first was under way when the other called, or in which that call did not return,
 * tells no answer of it. A thread that may not have the priority may have more such rounds.
 */
static const struct contest contest_mseal = {.prot = {RW}, .crowd = SMALL_CROWD, .look = is_mapped};

enum { NO_ANSWER = -1, PAUSES = 100 };

struct holes {
	const struct race *race;
	int begun, returned; /* calls */
	int answer; /* of the calls since it was last taken: the first that is not ENOMEM, else that; or NO_ANSWER */
	bool done;
};

static void *seal_hole(void *argument)
{
	struct holes *holes = argument;
	size_t length = (size_t)(holes->race->crowd + 1) * holes->race->unit;

	while (!__atomic_load_n(&holes->done, __ATOMIC_ACQUIRE)) {
		int error, none = NO_ANSWER;

		__atomic_add_fetch(&holes->begun, 1, __ATOMIC_ACQ_REL);
		error = sys_mseal(ARENA, length, 0) == -1 ? errno : 0;
		if (error != ENOMEM)
			__atomic_store_n(&holes->answer, error, __ATOMIC_RELEASE);
		else
			__atomic_compare_exchange_n(&holes->answer, &none, error, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_ACQUIRE);
		__atomic_add_fetch(&holes->returned, 1, __ATOMIC_ACQ_REL);
	}
	return NULL;
}

static int calls_returned(const struct holes *holes)
{
	return __atomic_load_n(&holes->returned, __ATOMIC_ACQUIRE);
}

static struct outcome run_answers(struct holes *holes, int round, bool seal)
{
	const struct race *race = holes->race;
	struct timespec pause = {.tv_nsec = 200000 + round * 37 % JITTER * 10000};
	struct outcome o = {.seal = -1, .then = NOT_SEEN, .count = 1, .first = round};
	int call;
	bool under_way;

	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	call = __atomic_load_n(&holes->begun, __ATOMIC_ACQUIRE);
	under_way = calls_returned(holes) < call;
	if (seal) {
		o.seal = sys_mseal(race->at, race->unit, 0) ? errno : 0;
		o.then = look(race);
	}
	for (int i = 0; i < PAUSES && calls_returned(holes) < call; i++) /* it returns, too */
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	o.error = __atomic_exchange_n(&holes->answer, NO_ANSWER, __ATOMIC_ACQ_REL);
	if (o.error == ENOMEM && (!under_way || calls_returned(holes) < call))
		o.error = NO_ANSWER; /* that of an earlier call */
	o.end = look(race);
	return o;
}

static bool asks_on(bool sealed, int round, int answered, long ms)
{
	if (answered < (sealed ? WINS : 1))
		return ms < half_deadline_ms / 2;
	return round < (sealed ? ANSWERS : CONTROL_ROUNDS) && ms < half_deadline_ms / 8;
}

static long race_of_answers(struct window *w, const struct operation *op)
{
	struct race race = {
		.contest = &contest_mseal, .unit = w->unit, .crowd = w->sealed ? SMALL_CROWD : CONTROL_CROWD,
	};
	struct holes holes = {.race = &race, .answer = NO_ANSWER};
	long began = now_ms(), ms = 0;
	int round = 0, answered = 0, cpus[2] = {0}, error;
	pthread_t other;

	(void)op;
	first_two_cpus(cpus);
	stay_on_cpu(w, cpus[0]); /* the thread inherits it */
	error = set_up_crowd(&race, 1);
	if (error)
		fail_step(w, "a fresh range", error);
	error = pthread_create(&other, NULL, seal_hole, &holes);
	if (error)
		fail_step(w, "a second thread", error);
	sys(SYS_sched_setscheduler, 0, SCHED_FIFO, &(int){1}); /* who may not does what it can */
	while (!round || asks_on(w->sealed, round, answered, ms)) {
		struct outcome o = run_answers(&holes, ++round, w->sealed);

		answered += o.error != NO_ANSWER;
		count_outcome(&race, o);
		ms = now_ms() - began;
	}
	__atomic_store_n(&holes.done, true, __ATOMIC_RELEASE);
	pthread_join(other, NULL);
	tell(w, &race, round);
	add_extra(w, "mprotect_after", sys(SYS_mprotect, race.at, race.unit, RW) ? errno : 0);
	return 0;
}

#define RACE(what, between) \
	{.name = "race-" what, .perform = race, .contest = &between, .traits = ALONE | IN_ROUNDS, \
	 .needs = NEED(TWO_CPUS), \
	 .covers = {{SET(ANON_RW), SET(EXACT)}}}

static const struct operation operations[] = {
	RACE("munmap", contest_munmap),
	RACE("mprotect", contest_mprotect),
	RACE("madvise", contest_madvise),
	RACE("mremap", contest_mremap),
	RACE("mmap-fixed", contest_mmap),
	RACE("mprotect-crowd", contest_mprotect_crowd),
	RACE("madvise-crowd", contest_madvise_crowd),
	RACE("madvise-large", contest_madvise_large),
	{.name = "race-mseal", .perform = race_of_answers, .traits = ALONE | IN_ROUNDS,
	 .covers = {{SET(ANON_RW), SET(EXACT)}}},
};

const struct family family_races = {.name = "races", .operations = operations, .count = COUNT(operations)};
