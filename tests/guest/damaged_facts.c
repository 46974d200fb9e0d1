/*
 * Writes two observations for each byte there is, as if that byte had been scribbled over whatever a half tells in
 * bytes, and over what the host knows '?' of; then three whose half lost count of its seals. Linked with the payload's
 * report.c.
 */
#include <limits.h>
#include <string.h>
#include <sys/syscall.h>

#include "../../guest_payload/c/ops.h"
#include "../../guest_payload/c/sys.h"

const char *const need_names[NEEDS];

void *map_memory(size_t size, int flags)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
}

long call(const char *name, int count, long number, long a, long b, long c, long d, long e, long f)
{
	(void)name, (void)count;
	return syscall(number, a, b, c, d, e, f);
}

struct probe probe_at(const struct plan *plan, size_t index)
{
	(void)plan, (void)index;
	return (struct probe){.id = ""};
}

bool coverage_pairs(void (*take)(uint32_t from, uint32_t to))
{
	(void)take;
	return true;
}

static struct facts usual(void)
{
	struct facts facts = {.stage = STAGE_DONE, .seals = 1, .unit = 4096, .write = "ss"};

	for (int i = 0; i < 2; i++)
		facts.before[i] = (struct unit_fact){.mapped = true, .division = '.', .perms = "rw-p", .backing = "anon",
						     .offset = -1, .data = "a0", .presence = 'a', .seal = 's'};
	memcpy(facts.after, facts.before, sizeof(facts.after));
	return facts;
}

int main(void)
{
	static const int counts[] = {UNITS_MAX + 1, INT_MAX, -1};
	static const struct operation operation = {.name = "munmap"};
	static const struct span span = {"exact", "SS"};
	struct probe probe = {.operation = &operation, .span = &span, .id = "munmap/anon-rw/exact"};
	struct facts control = usual();

	report_start(NULL);
	for (int i = 0; i < 512; i++) {
		struct facts sealed = usual();
		struct unit_fact *fact = &sealed.after[1];

		fact->backing[1] = fact->presence = fact->seal = (char)i;
		if (i < 256)
			fact->division = fact->perms[1] = fact->data[1] = (char)i;
		report_observation(&probe, &control, &sealed, 1, false);
	}
	for (int i = 0; i < 3; i++) {
		struct facts sealed = usual();

		sealed.seals = counts[i];
		report_observation(&probe, &control, &sealed, 1, false);
	}
	report_flush();
	return 0;
}
