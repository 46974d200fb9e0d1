/* SPDX-License-Identifier: MIT */
/* Facts to JSON lines on standard output. Lanes that share it take turns, and cannot cut into each other's lines. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

#ifndef PAYLOAD_ID
#define PAYLOAD_ID "unknown"
#endif

/* ------------------------------------------------------------------ a text that grows */

/* A mapping of its own that no half has: what is written here is not copied after each fork. */
static struct output {
	size_t used, size; /* of text */
	long sent; /* bytes, so far */
	_Atomic int *turn; /* to write; of all lanes, or NULL where nobody else writes */
	char text[];
} *out;

enum { OUTPUT_SIZE = 16384, TURN_FREE = 0, TURN_TAKEN, TURN_WANTED };

static void *map_output(size_t size)
{
	void *at = map_memory(size, MAP_PRIVATE);

	madvise(at, size, MADV_DONTFORK);
	return at;
}

void report_start(_Atomic int *turn)
{
	out = map_output(OUTPUT_SIZE);
	out->turn = turn;
	out->used = 0;
	out->sent = 0;
	out->size = OUTPUT_SIZE - sizeof(*out);
}

static void grow(size_t wanted)
{
	size_t before = out->size + sizeof(*out), after = before;
	void *larger;

	while (after - sizeof(*out) < wanted)
		after *= 2;
	if (after == before)
		return;
	/* Not by mremap: a kernel that refuses it everywhere is to be told of. */
	larger = map_output(after);
	memcpy(larger, out, before);
	munmap(out, before);
	out = larger;
	out->size = after - sizeof(*out);
}

/* Where there is room for so many bytes more. */
static inline char *room_for(size_t length)
{
	if (length > out->size - out->used)
		grow(out->used + length);
	return out->text + out->used;
}

static inline void put_until(const char *end)
{
	out->used = (size_t)(end - out->text);
}

static inline void put_bytes(const char *bytes, size_t length)
{
	memcpy(room_for(length), bytes, length);
	out->used += length;
}

/*
 * Inline, so that of a literal the compiler knows the length, and copies it with a store or two: keys are written out
 * where a record is made of many.
 */
static inline void put(const char *text)
{
	put_bytes(text, strlen(text));
}

/*
 * What is named copy_... goes to where there is room, and returns where it ends: most of a record is pieces of a few
 * bytes, for each of which to ask for room costs as much as the copy.
 */
static inline char *copy(char *to, const char *text)
{
	return (char *)memcpy(to, text, strlen(text)) + strlen(text);
}

enum { NUMBER_TEXT = 24 };

static char *copy_digits(char *to, unsigned long value)
{
	char digits[NUMBER_TEXT], *from = digits + sizeof(digits);
	size_t length;

	do
		*--from = (char)('0' + value % 10);
	while (value /= 10);
	length = (size_t)(digits + sizeof(digits) - from);
	memcpy(to, from, length);
	return to + length;
}

static inline char *copy_number(char *to, long value)
{
	if (value >= 0 && value <= 9) { /* nearly all are */
		*to = (char)('0' + value);
		return to + 1;
	}
	if (value >= 0)
		return copy_digits(to, (unsigned long)value);
	*to = '-';
	return copy_digits(to + 1, -(unsigned long)value);
}

static void put_number(long value)
{
	put_until(copy_number(room_for(NUMBER_TEXT), value));
}

static void put_string(const char *text)
{
	char *to = room_for(2 * strlen(text) + 2);

	*to++ = '"';
	for (const char *p = text; *p; p++) {
		if (*p == '"' || *p == '\\')
			*to++ = '\\';
		*to++ = *p >= ' ' && *p <= '~' ? *p : '?';
	}
	*to++ = '"';
	put_until(to);
}

static void put_key(const char *key)
{
	if (out->used && !strchr("{[", out->text[out->used - 1]))
		put(",");
	put_string(key);
	put(":");
}

static void put_string_field(const char *key, const char *text)
{
	put_key(key);
	put_string(text);
}

static void put_number_field(const char *key, long value)
{
	put_key(key);
	put_number(value);
}

static void end_line(void)
{
	put("}\n");
}

/* Lanes share a pipe, which keeps together no more than PIPE_BUF: one writes while the others wait (futex(2)). */
static void take_turn(_Atomic int *turn)
{
	int free = TURN_FREE;

	if (!turn || atomic_compare_exchange_strong(turn, &free, TURN_TAKEN))
		return;
	while (atomic_exchange(turn, TURN_WANTED) != TURN_FREE)
		sys(SYS_futex, turn, FUTEX_WAIT, TURN_WANTED, NULL);
}

static void give_turn(_Atomic int *turn)
{
	if (turn && atomic_exchange(turn, TURN_FREE) == TURN_WANTED)
		sys(SYS_futex, turn, FUTEX_WAKE, 1);
}

/*
 * Write what has been put, complete lines all of it: all that a batch has to say at once, for each write wakes who
 * reads, and where CPUs are emulated a change of processes costs as much as a dozen system calls.
 */
static void send(void)
{
	if (out->used)
		take_turn(out->turn);
	for (const char *p = out->text; out->used;) {
		ssize_t wrote = write(STDOUT_FILENO, p, out->used);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote <= 0)
			_exit(3); /* nobody listens any more */
		p += wrote;
		out->used -= (size_t)wrote;
		out->sent += wrote;
		if (!out->used)
			give_turn(out->turn);
	}
}

/* ------------------------------------------------------------------ the records */

static void put_id(const struct probe *probe)
{
	put_string_field("probe", probe->id);
}

static void put_names(const char *key, unsigned set, const char *const *names, int count)
{
	const char *comma = "";

	put_key(key);
	put("[");
	for (int i = 0; i < count; i++) {
		if (!(set >> i & 1))
			continue;
		put(comma);
		put_string(names[i]);
		comma = ",";
	}
	put("]");
}

/* What the host may want to know of a probe, beside its needs. */
static void put_traits(const struct probe *probe)
{
	static const char *const names[] = {"kernel-mapping", "unreadable", "grows", "race", "new-image"};
	const struct region *r = probe->region;
	bool unreadable = !(r->prot & PROT_READ) || r->traits & NO_READS;
	unsigned traits = probe->operation->traits;

	put_names("traits", (r->mapping ? 1 : 0) | unreadable << 1 | (r->traits & GROWS ? 4 : 0) |
		  (traits & IN_ROUNDS ? 8 : 0) | (traits & NEW_IMAGE ? 16 : 0), names, COUNT(names));
}

static void put_probe(const struct probe *probe)
{
	const struct operation *op = probe->operation;

	put_id(probe);
	put_string_field("family", probe->family->name);
	put_string_field("operation", op->name);
	put_string_field("region", probe->region->name);
	put_string_field("span", probe->span->name);
	put_string_field("layout", probe->span->layout);
	put_names("needs", op->needs | probe->region->needs, need_names, NEEDS);
	put_names("uses", op->uses | (op->first ? op->first->uses : 0), need_names, NEEDS);
	put_traits(probe);
}

void report_trace(const struct probe *probe)
{
	put("{");
	put_string_field("trace", probe->id);
	put_string_field("layout", probe->span->layout);
	put_number_field("base", (long)WINDOW_BASE);
	put_number_field("destination", (long)DESTINATION_BASE);
	put_number_field("page_size", sysconf(_SC_PAGESIZE));
	put_string_field("mapping", probe->region->mapping ? probe->region->mapping : "");
	put_traits(probe);
	end_line();
	send();
}

void report_list(const struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		struct probe probe = probe_at(plan, i);

		put("{");
		put_probe(&probe);
		end_line();
		send();
	}
}

void report_plan(const struct plan *plan, const struct system *system, int lanes)
{
	struct utsname names = {0};

	uname(&names);
	put("{\"type\":\"plan\",\"stream\":2,\"payload\":\"c\"");
	put_string_field("id", PAYLOAD_ID);
	put_string_field("machine", names.machine);
	put_string_field("release", names.release);
	put_number_field("page_size", sysconf(_SC_PAGESIZE));
	put_number_field("lanes", lanes);
	put_key("pid1");
	put(getpid() == 1 ? "true" : "false");
	put_key("features");
	put("{");
	put_number_field("mseal", system->mseal);
	put_number_field("smaps", system->smaps);
	put_number_field("pagemap", system->pagemap);
	put_number_field("tagged_pointers", system->tagged_pointers);
	put_number_field("filesystem", system->filesystem);
	put_number_field("cpus", system->cpus);
	put_number_field("nodes", system->nodes);
	put_number_field("swap", system->swap);
	put_number_field("hugepages", system->hugepages);
	put_number_field("seccomp", system->seccomp);
	put_string_field("capabilities", system->capabilities);
	put_string_field("cmdline", system->cmdline);
	put("}");
	put_key("probes");
	put("[");
	for (size_t i = 0; i < plan->count; i++) {
		if (i)
			put(",");
		put_string(probe_at(plan, i).id);
	}
	put("]");
	end_line();
	send();
}

void report_begin_later(const char *probe, int lane)
{
	put("{\"type\":\"begin\"");
	put_string_field("probe", probe);
	if (lane != NO_LANE)
		put_number_field("lane", lane);
	end_line();
}

void report_begin(const char *probe, int lane)
{
	report_begin_later(probe, lane);
	send();
}

void report_batch(const char *first, int probes, int lane)
{
	put("{\"type\":\"batch\"");
	put_string_field("probe", first);
	put_number_field("probes", probes);
	if (lane != NO_LANE)
		put_number_field("lane", lane);
	end_line();
	send();
}

long report_flush(void)
{
	send();
	return out->sent;
}

/*
 * Halves write what follows, into memory that they share with us. A broken kernel, or whatever ran wild in a half, may
 * have put any byte there: what would spoil the line becomes '?'.
 */
static inline char printable(char byte)
{
	return byte >= ' ' && byte <= '~' && byte != '"' && byte != '\\' ? byte : '?';
}

/* Of a field so short that it is copied before its length is found. It may have no end. */
static inline char *copy_field(char *to, const char *field, size_t size)
{
	for (size_t i = 0; i < size && field[i]; i++)
		*to++ = printable(field[i]);
	return to;
}

/* "PERMS BACKING[+OFFSET] DATA PRESENCE SEAL" */
static char *copy_unit(char *to, const struct unit_fact *fact)
{
	if (!fact->mapped)
		return copy(to, "-");
	for (int i = 0; i < 4; i++)
		to[i] = printable(fact->perms[i]);
	to[4] = ' ';
	to = copy_field(to + 5, fact->backing, sizeof(fact->backing));
	if (fact->offset >= 0) {
		*to++ = '+';
		to = copy_number(to, fact->offset);
	}
	*to++ = ' ';
	to = copy_field(to, fact->data, sizeof(fact->data));
	to[0] = ' ';
	to[1] = printable(fact->presence);
	to[2] = ' ';
	to[3] = printable(fact->seal);
	return to + 4;
}

void describe_unit(const struct unit_fact *fact, char text[UNIT_TEXT])
{
	*copy_unit(text, fact) = 0;
}

static void put_units(const struct unit_fact *facts, int units)
{
	char *to = room_for(UNITS_MAX * (UNIT_TEXT + 3) + 4);

	to = copy(to, "[");
	for (int i = 0; i < units; i++) {
		to = i ? copy(to, ",\"") : copy(to, "\"");
		to = copy(copy_unit(to, &facts[i]), "\"");
	}
	put_until(copy(to, "]"));
}

/* A half that claims more numbers than it has room for, or less than none, is told with one more than there can be. */
static void put_numbers(const int *values, int count)
{
	char *to = room_for((UNITS_MAX + 1) * (NUMBER_TEXT + 1) + 2);
	bool damaged = count < 0 || count > UNITS_MAX;

	to = copy(to, "[");
	for (int i = 0; i < (damaged ? UNITS_MAX : count); i++) {
		if (i)
			*to++ = ',';
		to = copy_number(to, values[i]);
	}
	put_until(copy(to, damaged ? ",0]" : "]"));
}

static char *copy_division(char *to, const struct unit_fact *facts, int units)
{
	*to++ = '"';
	for (int i = 0; i < units; i++)
		*to++ = facts[i].mapped ? printable(facts[i].division) : '-';
	*to++ = '"';
	return to;
}

/* Before and after, a letter a unit. Whether mappings are merged or not is no promise: it is told, and that is all. */
static void put_divisions(const struct facts *f, int units)
{
	char *to = room_for(32 + 2 * (UNITS_MAX + 2));

	to = copy(to, ",\"divided\":[");
	to = copy_division(to, f->before, units);
	if (f->stage >= STAGE_DONE)
		to = copy_division(copy(to, ","), f->after, units);
	put_until(copy(to, "]"));
}

static void put_extras(const struct facts *f)
{
	if (!f->extras && !f->unkillable)
		return;
	put_key("extra");
	put("{");
	for (int i = 0; i < f->extras && i < EXTRAS_MAX; i++) {
		if (f->extra[i].is_text)
			put_string_field(f->extra[i].key, f->text);
		else
			put_number_field(f->extra[i].key, f->extra[i].number);
	}
	if (f->unkillable)
		put_number_field("unkillable", 1);
	put("}");
}

static void put_result(const struct facts *f, bool address)
{
	put(",\"result\":");
	if (address && f->result != -1)
		put_string(f->where);
	else
		put_number(f->result);
	put(",\"errno\":");
	put_number(f->error);
}

/* Only what was reached is written: a fact that is absent was never seen. */
static void put_half(const struct facts *f, bool sealed, int units, bool address)
{
	static const char *const stages[] = {"setup", "seal", "before", "operation", "after", "done"};

	put("{\"stage\":");
	put_string(stages[f->stage]);
	if (f->step) {
		put_string_field("step", f->step);
		put_number_field("step_errno", f->step_errno);
	}
	if (sealed && f->stage >= STAGE_SEAL) {
		put(",\"seal\":");
		put_numbers(f->seal, f->seals);
	}
	if (f->stage >= STAGE_OPERATION) {
		put(",\"before\":");
		put_units(f->before, units);
	}
	if (f->stage >= STAGE_AFTER)
		put_result(f, address);
	put_extras(f);
	if (f->stage >= STAGE_DONE) {
		put(",\"after\":");
		put_units(f->after, units);
		put(",\"write\":");
		put_string(f->write);
		put(",\"mprotect\":");
		put_numbers(f->mprotect, units);
		put(",\"munmap\":");
		put_numbers(f->munmap, units);
	}
	if (f->stage >= STAGE_OPERATION)
		put_divisions(f, units);
	if (f->signal)
		put_number_field("signal", f->signal);
	if (f->timeout)
		put(",\"timeout\":true");
	put("}");
}

void report_observation(const struct probe *probe, const struct facts *control, const struct facts *sealed,
			long microseconds, bool again)
{
	int units = (int)strlen(probe->span->layout);
	bool address = probe->operation->traits & ADDRESS;

	put("{\"type\":\"observation\",\"probe\":");
	put_string(probe->id);
	put(",\"layout\":");
	put_string(probe->span->layout);
	put(",\"unit\":");
	put_number((long)control->unit);
	put(",\"microseconds\":");
	put_number(microseconds);
	if (again)
		put(",\"again\":true");
	put(",\"control\":");
	put_half(control, false, units, address);
	put(",\"sealed\":");
	put_half(sealed, true, units, address);
	end_line(); /* sent with the next probe's begin, or the end: one write, one wake-up of the reader */
}

static void put_pair(uint32_t from, uint32_t to)
{
	char text[16];
	uint64_t pair = (uint64_t)from << 32 | to;

	for (int i = 15; i >= 0; i--, pair >>= 4)
		text[i] = "0123456789abcdef"[pair & 15];
	put_bytes(text, sizeof(text));
}

void report_coverage(const struct probe *probe)
{
	bool all;

	put("{\"type\":\"coverage\"");
	put_string_field("probe", probe->id);
	put_key("pairs");
	put("\"");
	all = coverage_pairs(put_pair);
	put("\"");
	put_key("all");
	put(all ? "true" : "false");
	end_line();
	send();
}

/* `bytes` were written by the lanes. With what was written here, that is all the pipe has to hold before this line. */
void report_end(long observations, long half_ns, long operation_ns, long bytes)
{
	put("{\"type\":\"end\"");
	put_number_field("probes", observations);
	put_number_field("half_ns", half_ns);
	put_number_field("operation_ns", operation_ns);
	put_number_field("bytes", bytes + out->sent);
	end_line();
	send();
}
