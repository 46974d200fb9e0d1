/* SPDX-License-Identifier: MIT */
/*
 * Which probes there are: operation x region x span, as far as the tables and the selection go, in the order they
 * run.
 */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <string.h>
#include <sys/mman.h>

#include "payload.h"
#include "regions.h"

static const struct family *const families[] = {
	&family_arguments, &family_munmap,          &family_mmap_fixed,  &family_mprotect, &family_mremap,
	&family_madvise,   &family_process_madvise, &family_fork,        &family_threads,  &family_heap,
	&family_shm,       &family_pages,           &family_userfaultfd, &family_rings,    &family_force,
	&family_file,      &family_sequences,       &family_system,      &family_program32, &family_consumers,
	&family_races,
	&family_selftest,
};
enum { FAMILIES = sizeof(families) / sizeof(*families) };

/* A probe as a number that counts through all combinations: span fastest, then region, operation, family. */
static struct probe decode(size_t code)
{
	size_t span = code % SPANS, region = code / SPANS % REGIONS, operation = code / SPANS / REGIONS, family = 0;
	struct probe p;
	char *end;

	while (operation >= families[family]->count)
		operation -= families[family++]->count;
	p = (struct probe){
		.family = families[family],
		.operation = &families[family]->operations[operation],
		.region = &regions[region],
		.span = &spans[span],
	};
	end = stpcpy(p.id, p.operation->name);
	*end++ = '/';
	end = stpcpy(end, p.region->name);
	*end++ = '/';
	strcpy(end, p.span->name);
	return p;
}

/* The spans that an operation is probed with on a region, a set. */
static uint64_t spans_of(const struct operation *op, size_t region)
{
	uint64_t spans_covered = 0;

	for (int i = 0; i < COVERS_MAX; i++)
		if (op->covers[i].regions >> region & 1)
			spans_covered |= op->covers[i].spans;
	return spans_covered;
}

enum { PARTS = 3 }; /* of an id: operation, region, span */

/*
 * A glob of three parts is matched part by part, and that of the operation once for all its probes: a selection has a
 * hundred globs. `*` matches a slash, too, but each of the two in such a glob takes one of the two in an id.
 */
struct glob {
	const char *whole;
	char *part[PARTS]; /* NULL where it has not as many, or something quoted */
};

struct globs {
	size_t size; /* of the mapping that begins with `all`, bytes */
	struct glob *all;
	int count;
	/* all; those that the operation leaves; those of them that the region leaves */
	const struct glob **left[PARTS];
	int lefts[PARTS];
};

static void split(struct glob *glob, char *text)
{
	char *slash = strchr(text, '/'), *other = slash ? strchr(slash + 1, '/') : NULL;

	if (!other || strchr(other + 1, '/') || strpbrk(text, "[\\"))
		return;
	*slash = *other = 0;
	glob->part[0] = text;
	glob->part[1] = slash + 1;
	glob->part[2] = other + 1;
}

static struct globs read_globs(char **texts, int count)
{
	size_t each = sizeof(struct glob) + PARTS * sizeof(struct glob *), size = (size_t)count * each + 1;
	struct globs globs = {.count = count};
	char *text;

	for (int i = 0; i < count; i++)
		size += strlen(texts[i]) + 1;
	globs.size = size;
	globs.all = map_memory(size, MAP_PRIVATE);
	globs.left[0] = (const struct glob **)(globs.all + count);
	globs.left[1] = globs.left[0] + count;
	globs.left[2] = globs.left[1] + count;
	globs.lefts[0] = count;
	text = (char *)(globs.left[2] + count);
	for (int i = 0; i < count; i++) {
		globs.all[i].whole = texts[i];
		globs.left[0][i] = &globs.all[i];
		strcpy(text, texts[i]);
		split(&globs.all[i], text);
		text += strlen(texts[i]) + 1;
	}
	return globs;
}

static bool fits(const struct glob *glob, int part, const char *name)
{
	const char *wanted = glob->part[part];

	return !wanted || !strcmp(wanted, "*") || fnmatch(wanted, name, 0) == 0;
}

/* Leave those of the part before that fit this part of an id. */
static void narrow(struct globs *globs, int part, const char *name)
{
	int left = 0;

	for (int i = 0; i < globs->lefts[part]; i++)
		if (fits(globs->left[part][i], part, name))
			globs->left[part + 1][left++] = globs->left[part][i];
	globs->lefts[part + 1] = left;
}

/* After the operation and the region have narrowed them. */
static bool matches(const struct globs *globs, const struct probe *p)
{
	for (int i = 0; i < globs->lefts[PARTS - 1]; i++) {
		const struct glob *glob = globs->left[PARTS - 1][i];

		if (glob->part[0] ? fits(glob, PARTS - 1, p->span->name) : fnmatch(glob->whole, p->id, 0) == 0)
			return true;
	}
	return false;
}

/* A selftest is run only when a pattern names it: "*" must not take a machine down. */
static bool asked_for(const struct selection *s, const char *id)
{
	for (int i = 0; i < s->runs; i++)
		if (strncmp(s->run[i], "selftest-", 9) == 0 && fnmatch(s->run[i], id, 0) == 0)
			return true;
	return false;
}

static bool selected(const struct selection *s, const struct globs *run, const struct globs *exclude,
		     const struct probe *p)
{
	if (p->operation->traits & SELFTEST)
		return asked_for(s, p->id);
	return (!s->runs || matches(run, p)) && !matches(exclude, p);
}

static enum phase phase_of(const struct probe *p)
{
	const struct operation *op = p->operation;
	unsigned traits = op->traits | (op->first ? op->first->traits : 0);

	if (traits & ALONE)
		return ALONE_PHASE;
	if (p->operation->traits & POOL || p->region->traits & POOLED)
		return POOLED_PHASE;
	/*
	 * Executing a program has crashed kernels; what else runs in the batch would be suspected with it. What grows
	 * would grow on into what a window below leaves empty.
	 */
	if (traits & (LONE | NEW_IMAGE) || p->region->traits & (SINGULAR | GROWS))
		return FREE_PHASE;
	return p->region->traits & FARTHEST ? FARTHEST_PHASE : p->region->traits & FAR ? FAR_PHASE : BATCH_PHASE;
}

/* Every combination that the tables cover and the selection wants; how many there are. */
static size_t collect(const struct selection *s, uint32_t *codes)
{
	struct globs run = read_globs(s->run, s->runs), exclude = read_globs(s->exclude, s->excludes);
	size_t row = 0, found = 0; /* a row has all spans */

	for (size_t f = 0; f < FAMILIES; f++)
		for (size_t o = 0; o < families[f]->count; o++) {
			narrow(&run, 0, families[f]->operations[o].name);
			narrow(&exclude, 0, families[f]->operations[o].name);
			for (size_t region = 0; region < REGIONS; region++, row++) {
				uint64_t left = spans_of(&families[f]->operations[o], region);

				if (!left)
					continue;
				narrow(&run, 1, regions[region].name);
				narrow(&exclude, 1, regions[region].name);
				for (; left; left &= left - 1) {
					size_t code = row * SPANS + (size_t)__builtin_ctzll(left);
					struct probe p = decode(code);

					if (selected(s, &run, &exclude, &p))
						codes[found++] = (uint32_t)code;
				}
			}
		}
	munmap(run.all, run.size);
	munmap(exclude.all, exclude.size);
	return found;
}

static size_t combinations(void)
{
	size_t operations = 0;

	for (size_t f = 0; f < FAMILIES; f++)
		operations += families[f]->count;
	return operations * REGIONS * SPANS;
}

/* In the order of the tables, phase by phase. */
struct plan make_plan(const struct selection *s)
{
	size_t most = combinations();
	/* of which few pages are ever written */
	uint32_t *found = map_memory((most + 1) * sizeof(*found), MAP_PRIVATE);
	size_t count = collect(s, found);
	struct plan plan = {.size = (count + 1) * sizeof(*found)};
	unsigned char *phases = map_memory(count + 1, MAP_PRIVATE);

	for (size_t i = 0; i < count; i++) {
		struct probe p = decode(found[i]);

		phases[i] = (unsigned char)phase_of(&p);
		plan.counters |= p.region->make == make_perf_ring;
	}
	plan.codes = map_memory(plan.size, MAP_PRIVATE);
	for (int phase = 0; phase < PHASES; phase++) {
		for (size_t i = 0; i < count; i++)
			if (phases[i] == phase)
				plan.codes[plan.count++] = found[i];
		plan.until[phase] = plan.count;
	}
	munmap(phases, count + 1);
	munmap(found, (most + 1) * sizeof(*found));
	return plan;
}

struct probe probe_at(const struct plan *plan, size_t index)
{
	return decode(plan->codes[index]);
}
