/* SPDX-License-Identifier: MIT */
/*
 * The payload exercises mseal(2) and reports facts; it judges nothing (docs/reference/protocol.md, "The stream").
 *
 * A probe is operation x region x span. It runs twice, in two processes that do the same but for mseal: the control
 * half and the sealed half. Each half makes a window (a few units of one region), performs one operation on a part of
 * it, and writes down what it saw into memory it shares with the engine, so that facts outlive its death.
 *
 *	regions*.c   what can be sealed
 *	needs.c      what a probe needs of the machine
 *	spans.c      how the operation's range lies over sealed and plain units
 *	ops_*.c      what is done to it: one table for each family
 *	half.c       one process from set-up to the last fact
 *	snapshot.c   looking at the window
 *	engine.c     processes, deadlines, orphans
 *	raw.c        system calls that leave no trace in memory
 *	text.c       reading small files
 *	arch*.h      what depends on the architecture
 *	lanes.c      probes side by side, one process for each CPU
 *	report.c     facts to JSON lines
 *	coverage.c   which blocks of the kernel's code a half ran through
 *	trace.c      the system calls of one probe, for whoever wants to do the same without us
 *	plan.c       which probes there are, and in which order
 *	main.c       options, and what the system offers
 */
#ifndef SEALMATRIX_PAYLOAD_H
#define SEALMATRIX_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNITS_MAX = 8, UNIT_TEXT = 52, EXTRAS_MAX = 4, EXTRA_TEXT = UNITS_MAX * (UNIT_TEXT + 2) };

/* ------------------------------------------------------------------ the nouns */

/* One character per unit: p plain, s sealed, g a gap; upper case is what the operation covers. */
struct span {
	const char *name;
	const char *layout;
};

enum span_id {
	EXACT, HEAD, MIDDLE, TAIL,                 /* inside one sealed run */
	INTO, OUT_OF, AROUND, ACROSS, FIRST, LAST, /* sealed and plain */
	BESIDE, BEFORE, AFTER,                     /* plain next to sealed */
	GAP_AMID, GAP_AROUND,                      /* sealed, and nothing mapped */
	GAP_BEFORE, GAP_AFTER, GAP_BETWEEN,        /* only the gap next to sealed */
	PLAIN, PLAIN_WIDE,                         /* no seal yet: for operations that seal */
	HOLE_START, HOLE_MIDDLE, HOLE_END, UNMAPPED,
	SINGLE,                                    /* one unit, never sealed: for mappings the kernel made */
	BEHIND, AHEAD, ENCLOSED,                   /* as AROUND or ACROSS, with a seal outside of the range as well */
	FOUR, SECOND, THIRD, FOURTH,               /* four units, all sealed: all of them, one of them */
	FOUR_PLAIN, FOURTH_PLAIN,                  /* none sealed yet; all but one */
	BESIDE_FOUR,                               /* four behind four that are sealed */
	FIRST_OF_FOUR, ABOVE_FIRST,                /* only the first sealed: all of them, the others */
	SPANS
};

/* The names of what regions_table.h lists. */
enum region_id {
#define REGION(id, make, ...) id,
#include "regions_table.h"
#undef REGION
	REGIONS
};

/* Sets are masks: of spans in 64 bits, of regions in 128. */
_Static_assert(SPANS <= 64 && REGIONS <= 128, "there are as many bits as spans and regions");
typedef unsigned __int128 region_set;

struct window;
struct operation;
struct contest; /* ops_race.c */

/* What a probe may need of the machine (needs.c); a set of them is a mask. */
enum need {
	TWO_CPUS,
	TWO_NODES,
	SWAP,
	HUGE_PAGES, /* of those set aside (hugetlb) */
	KEYS,
	TAGS,
	CALL32,
	PROGRAM32_RUNS,
	NO_MTE,
	BTI, /* of arm64: branch target identification */
	MTE, /* of arm64: memory tagging */
	MACHINE, /* a machine of our own, whose settings we may change */
	NEEDS
};
#define NEED(what) (1u << (what))

struct region {
	const char *name;
	int prot;       /* of every unit once the window is made */
	int flags;      /* of mmap */
	unsigned traits, needs;
	void (*make)(struct window *w);
	const char *mapping; /* what /proc/self/maps calls it, where it is a mapping of the kernel's own */
};

enum region_trait {
	FILLED = 1,   /* unit i is filled with a0+i; otherwise its pages are only read */
	MIXED = 2,    /* the units' protections differ: see unit_protection() */
	UNREAD = 4,   /* contents must not be touched, not even to look at them */
	POOLED = 8,   /* made of what the machine has little of (huge pages): never two such probes at once */
	SINGULAR = 64, /* there is one of it in a process: never in a batch */
	NO_READS = 16, /* reading faults whatever the protection says */
	GROWS = 32,   /* by being touched below its start, which is no call; never in a batch */
	/*
	 * Above the program and other windows, so that the kernel lists all of these first. Such windows share
	 * processes before others, the highest first, and each is below those before it here, too.
	 */
	FAR = 128,
	FARTHEST = 256,
};

/* A set of regions by a set of spans; an operation is probed on the union of its covers. */
struct cover {
	region_set regions;
	uint64_t spans;
};

enum { COVERS_MAX = 7 };

enum operation_trait {
	ADDRESS = 1,  /* the result is an address */
	SEALS = 2,    /* seals by itself, in the control half too: look for seals in both */
	SELFTEST = 4, /* tests the engine, never the kernel; never part of a plan unless asked for */
	POOL = 8,     /* needs what the machine has little of (swap, huge pages): never two such probes at once */
	ALONE = 16,   /* changes the machine, or needs all of its CPUs: nothing else may run meanwhile */
	IN_ROUNDS = 32,  /* a race: what it does is done in many rounds beside the window */
	NEW_IMAGE = 64, /* runs this program anew */
	LONE = 128,   /* changes the process it runs in, or has others: never in a batch */
};

/* What a sequence does first. */
struct step {
	const char *name;
	long (*act)(struct window *w);
	unsigned uses, traits; /* as an operation's */
};

struct operation {
	const char *name;
	void (*prepare)(struct window *w, const struct operation *op); /* before sealing; may be NULL */
	long (*perform)(struct window *w, const struct operation *op); /* -1 and errno, or the call's result */
	long (*act)(struct window *w, const struct operation *op);     /* by a child, a thread or as the second step */
	const struct step *first;                                      /* before it */
	const struct contest *contest;                                 /* of a race */
	unsigned long a, b;                                            /* arguments for them */
	unsigned traits;
	unsigned needs; /* the half ends in its set-up where the machine has not got it */
	unsigned uses;  /* the same, of what is used where it is there */
	struct cover covers[COVERS_MAX];
};

struct family {
	const char *name;
	const struct operation *operations;
	size_t count;
};

struct probe {
	const struct family *family;
	const struct operation *operation;
	const struct region *region;
	const struct span *span;
	char id[96];
};

/*
 * The order of a plan, and who runs what: lane 0; whichever lane is free, many in one process, what is far first;
 * whichever lane is free; none, but when all lanes have ended.
 */
enum phase { POOLED_PHASE, FARTHEST_PHASE, FAR_PHASE, BATCH_PHASE, FREE_PHASE, ALONE_PHASE, PHASES };

enum { BATCH_MAX = 64 };

struct plan {
	uint32_t *codes; /* one a probe; see plan.c */
	size_t size;     /* of their mapping */
	size_t count, until[PHASES]; /* where each phase ends */
	bool counters;               /* some probe opens a performance counter */
};

enum { NO_LANE = -1 };

/* ------------------------------------------------------------------ facts */

enum stage { STAGE_SETUP, STAGE_SEAL, STAGE_BEFORE, STAGE_OPERATION, STAGE_AFTER, STAGE_DONE };

struct unit_fact {
	bool mapped;
	char division; /* of mappings: '|' one begins here, '+' one begins inside (a huge page), '.' neither */
	char perms[5];
	char backing[16];
	long offset; /* in units; -1 for memory that no object backs */
	char data[5];
	char presence, seal;
};

struct extra {
	const char *key;
	long number;
	bool is_text; /* facts.text instead of the number */
};

/* Shared between the engine and the processes of one half. Strings are literals: all are copies of one image. */
struct facts {
	volatile enum stage stage;
	const char *step;
	int step_errno;
	int seals, seal[UNITS_MAX];
	size_t unit;
	struct unit_fact before[UNITS_MAX], after[UNITS_MAX];
	long result; /* what the call returned; an address relative to the window for ADDRESS operations */
	char where[16];
	int error;
	int extras;
	struct extra extra[EXTRAS_MAX];
	char text[EXTRA_TEXT];
	char write[UNITS_MAX + 1];
	int mprotect[UNITS_MAX], munmap[UNITS_MAX];
	long half_ns, operation_ns; /* how long it took, and the operation of it */
	/* written by the engine */
	int signal;
	bool timeout, unkillable;
};

/* ------------------------------------------------------------------ the window */

struct window {
	const struct region *region;
	const char *layout;
	int units;
	size_t unit; /* bytes: a page, or a huge page where the region consists of those */
	char *base;
	char *start;   /* what the operation covers ... */
	size_t length; /* ... in bytes */
	int object;    /* descriptor of what backs the region, or -1 */
	int other;     /* what prepare() opened, or -1 */
	char *source;  /* what prepare() mapped */
	char *destination; /* a free place for operations that name one: far from all else that is mapped */
	bool sealed;   /* this half seals */
	bool look;     /* for seals in smaps, rather than at the quicker maps */
	struct facts *facts;
};

/* Where our places begin; a build with a sanitizer has them elsewhere, for it has places of its own. */
#ifndef PLACES
#define PLACES 0ul
#endif
#define PLACE(at) ((char *)(PLACES + (at)))

/*
 * Where the window is, unless the region has a place of its own, and the free place that goes with it. Windows
 * that share a process are so many units apart that nothing done around one reaches another (munmap-far covers 8
 * units on each side), and each is below those before it and the program: it is the first that the kernel lists.
 */
#define WINDOW_BASE PLACE(0x400000ul)
#define DESTINATION_BASE PLACE(0xa00000000ul)
enum {
	SLOT_UNITS = 128,
	FIRST_SLOT = 5, /* of those that share a process, the lowest; what is to be below all others has room there */
};

enum { UNIT_FILL = 0xa0 }; /* what unit 0 of a filled region holds; unit i holds a0+i */

/* Where windows of huge pages are: aligned to any size those have, and with room for eight of them. */
#define HUGE_BASE PLACE(0x200000000ul)

/* An address so far from another one, which may be outside of what is mapped there: no arithmetic of pointers. */
static inline char *beyond(const char *address, long bytes)
{
	return (char *)((uintptr_t)address + (uintptr_t)bytes);
}

static inline char *unit_at(const struct window *w, int i)
{
	return beyond(w->base, i * (long)w->unit);
}

/* From the window's start; negative before it. */
static inline long offset_in(const struct window *w, const char *address)
{
	return (long)((uintptr_t)address - (uintptr_t)w->base);
}

/*
 * How far apart the words of a unit are that are filled and read: all of them in a page; of a huge page, whose millions
 * of words would take longer than all the rest, the first of every 4 KiB.
 */
static inline size_t stride(const struct window *w)
{
	return w->unit > 65536 ? 4096 : sizeof(uint64_t);
}

int unit_protection(const struct region *region, int i);

/* ------------------------------------------------------------------ shared verbs */

/* half.c */
_Noreturn void half(const struct probe *probe, bool sealed, struct facts *facts);
/* there is nothing more to do for it: its process ends, or does the next of its batch */
_Noreturn void leave_half(void);
_Noreturn void fail_step(struct window *w, const char *step, int error);
long now_ns(void); /* of CLOCK_MONOTONIC */
void add_extra(struct window *w, const char *key, long number);
void add_text(struct window *w, const char *key, const char *text); /* one of them in each half */

/* regions.c */
int open_object(struct window *w, const char *kind, const char *name, int units);

/* The same half of the first so many probes of a batch, in one process. */
struct probe_batch;
_Noreturn void halves(struct probe_batch *batch, int count, bool sealed);

/* snapshot.c */
enum { BLIND = 77 }; /* exit status of a half that can no longer look */
void arm_fault_handler(void);
void keep_key_rights(long key); /* those the thread has now, also after faults */
long window_key(void); /* of the window, or the last that was allocated */
void give_back_key(void);
void take_snapshot(struct window *w, struct unit_fact *facts);
void take_own_snapshot(struct window *w, struct unit_fact *facts); /* for a child: what was opened shows its parent */
void describe_unit(const struct unit_fact *fact, char text[UNIT_TEXT]);
bool try_write(char *address);   /* by a store of our own: a stack grows by it */
bool store_works(char *address); /* by the kernel's, which is quicker */
bool try_call(void (*act)(void)); /* false when it faults */
bool call32_works(void); /* ops_arguments.c */
int count_seals(void);
bool program32_works(void); /* ops_program32.c */

/* process.c */
long child_process(void);
long in_child(struct window *w, const struct operation *op);  /* op->act */
long in_thread(struct window *w, const struct operation *op); /* op->act */
long in_sharing_child(struct window *w, const struct operation *op); /* op->act; shares our memory, is no thread */
int await(long pid);

/* needs.c */
extern const char *const need_names[NEEDS];
void meet_needs(struct window *w, unsigned needs);

/* text.c */
size_t read_text(const char *path, char *text, size_t size); /* all of it that fits, ended by NUL; how much that is */
unsigned long number_in(const char *path, const char *key);  /* the one that follows the key in a text file, or 0 */

/* ops_system.c */
int at_page_zero(const char *operation); /* in a new image; the exit status */

/* raw.c */
/* up to the end of a stack; run never returns */
long fork_onto(char *stack, void (*run)(void *argument), void *argument);
bool no_children(void);

/* trace.c */
bool tracing(void);
void trace_window(const struct window *w); /* where it is, and of which units, where the probe chose that */
void *fill(void *at, int value, size_t length);
_Noreturn void trace(const struct probe *probe);

/* coverage.c */
void coverage_open(void);   /* or else the end; nothing below does anything without it */
void coverage_forget(void); /* what was gathered */
void coverage_begin(void);  /* by the process that is to be followed */
bool coverage_pairs(void (*take)(uint32_t from, uint32_t to));
enum { COVERAGE_SEEN_BITS = 20 };
void coverage_pause(void);
void coverage_resume(void);
void coverage_leave(void);
void coverage_unseen(uint8_t *seen, void (*take)(uint32_t from, uint32_t to)); /* of 2^COVERAGE_SEEN_BITS bits */

/* engine.c */
void engine_start(long deadline_ms, int cpu); /* the how-manieth of those there are */
void start_ticking(long deadline_ms); /* as engine_start() does, for a process that only waits */
void clear_orphans(void);
void *map_memory(size_t size, int flags); /* or else the end */
void use_all_cpus(void); /* for this thread and its children; a half is confined to one otherwise */
/* of those this process may use, now that it may use all; false when there is but one */
bool first_two_cpus(int cpus[2]);
void run_halves(const struct probe *probe, struct facts **control, struct facts **sealed);

/*
 * The same for many: a process for all their control halves and one for the sealed ones. What does not go as
 * halves go (a signal, a deadline, an early end, a set-up that failed for want of something) is doubtful, and all
 * that was to come after it in that process: it is to be run again, alone. What else may be unusual about facts,
 * the host says.
 */
struct probe_batch {
	size_t first; /* place in the plan of the first probe: a process is named for the probe it runs */
	int count;
	volatile int at; /* the probe that runs */
	struct probe probes[BATCH_MAX];
	struct facts facts[2][BATCH_MAX]; /* control, sealed */
	bool doubtful[BATCH_MAX];
};
struct probe_batch *run_batch(const struct plan *plan, size_t first, int count);

/* report.c */
struct selection {
	char **run, **exclude; /* globs */
	int runs, excludes;
};
struct system {
	int mseal; /* errno of mseal(0, 0, 0) */
	int smaps, pagemap;
	bool tagged_pointers;
	long filesystem;
	long cpus, nodes; /* this process may use; with memory */
	long swap;        /* KiB */
	long hugepages;   /* of the default size */
	long seccomp;     /* mode of this process: 2 where a filter may answer for the kernel */
	char capabilities[24]; /* effective, in hexadecimal digits */
	char cmdline[2048];
};
void report_start(_Atomic int *turn); /* in each process that reports; shared by those that run at once, or NULL */
void report_list(const struct plan *plan);
void report_trace(const struct probe *probe); /* the head of a trace */
void report_plan(const struct plan *plan, const struct system *system, int lanes);
void report_begin(const char *probe, int lane);
void report_begin_later(const char *probe, int lane); /* not sent until something else is */
void report_batch(const char *first, int probes, int lane);
void report_observation(const struct probe *probe, const struct facts *control, const struct facts *sealed,
			long microseconds, bool again);
void report_coverage(const struct probe *probe); /* of its sealed half, which has just ended */
void report_end(long observations, long half_ns, long operation_ns, long bytes);
long report_flush(void); /* how many bytes this process has written */

/* plan.c */
struct plan make_plan(const struct selection *s);
struct probe probe_at(const struct plan *plan, size_t index);

/* lanes.c */
int lanes_for(const struct system *system);
struct how {
	int lanes;
	bool lone; /* no batches: each half has a process of its own */
	bool coverage; /* report_coverage() for each probe; they are lone, and in one lane */
	unsigned sample, seed; /* one probe in so many of a batch runs alone too, 0 for none; where to begin to count */
	long deadline_ms;
	int kmsg; /* or -1 */
};
void run_plan(const struct plan *plan, const struct system *system, const struct how *how);

/* leaks.c */
int tell_leaks(void); /* what the payload ends with */

/* main.c */
extern long started_by;       /* the process that started the payload */
extern long half_deadline_ms; /* how long one half of a probe may take */

/* tables */
extern const struct span spans[SPANS];
extern const struct region regions[REGIONS];
extern const struct family family_arguments, family_munmap, family_mmap_fixed, family_mprotect, family_mremap,
	family_madvise, family_process_madvise, family_fork, family_threads, family_heap, family_shm, family_pages,
	family_userfaultfd, family_force, family_rings, family_file, family_sequences, family_system, family_program32,
	family_consumers, family_races, family_selftest;

/* sys.h's world, as calls that return -1 and set errno, with nothing of a C library in between */
long sys_mseal(void *start, size_t length, unsigned long flags);

#endif
