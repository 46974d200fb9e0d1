/* SPDX-License-Identifier: MIT */
/* Memory that a processor treats in its own way: branch targets and tags of arm64, shadow stacks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "regions.h"
#include "sys.h"

/* Filled as plain memory is, and then given its protection with the bit that makes it special. */
static void make_with(struct window *w, unsigned need, int bit)
{
	meet_needs(w, need);
	make_window(w);
	if (sys(SYS_mprotect, w->base, (size_t)w->units * w->unit, w->region->prot | bit))
		fail_step(w, "mprotect", errno);
}

void make_branch_targets(struct window *w)
{
	make_with(w, NEED(BTI), PROT_WITH_BTI);
}

void make_tagged_memory(struct window *w)
{
	make_with(w, NEED(MTE), PROT_WITH_MTE);
}

/*
 * Never below 4 GiB, and never written: a store faults, whatever the protection says. What the kernel has not got, and
 * what the processor has not got, it tells apart by its error.
 */
#define SHADOW_BASE PLACE(0x600000000ul)

void make_shadow_stack(struct window *w)
{
	size_t length = (size_t)w->units * w->unit;
	long at;

	w->base = SHADOW_BASE + (w->base - WINDOW_BASE);
	at = sys(SYS_map_shadow_stack, w->base, length, 0);
	if (at == -1)
		fail_step(w, "map_shadow_stack", errno);
	if (at != (long)w->base)
		fail_step(w, "the window's place", EEXIST);
	for (int i = 0; i < w->units; i++)
		(void)*(volatile char *)unit_at(w, i);
}

/* ------------------------------------------------------------------ where what a breakpoint replaced is executed */

long sealmatrix_stepped(long number);
__asm__(".pushsection .text.sealmatrix.stepped,\"ax\",%progbits\n"
	".balign 16\n"
	".globl sealmatrix_stepped\n"
	"sealmatrix_stepped:\n\t" ARCH_STEPPED
	".popsection\n");

/* Where in the program's file the code is: the line of /proc/self/maps that has it says. */
static uintptr_t place_in_file(const void *code)
{
	char text[8192];
	const char *line = text;
	unsigned long from, to, offset;
	uintptr_t at = (uintptr_t)code;

	read_text("/proc/self/maps", text, sizeof(text));
	for (; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
		if (sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) == 3 && at >= from && at < to)
			return at - from + offset;
	return 0;
}

/* A breakpoint in a function of ours, which is then called: for the instruction below it the kernel makes the area. */
void make_uprobes(struct window *w)
{
	struct perf_event_attr event = {.size = sizeof(event)};
	unsigned long type = number_in(UPROBE_TYPE, "");

	if (!type)
		fail_step(w, "uprobes", EOPNOTSUPP);
	event.type = (unsigned)type;
	event.config1 = (uintptr_t) "/proc/self/exe";
	event.config2 = place_in_file((const void *)sealmatrix_stepped);
	w->object = (int)sys(SYS_perf_event_open, &event, 0, -1, -1, 0);
	if (w->object < 0)
		fail_step(w, "perf_event_open", errno);
	if (sealmatrix_stepped(1) != 2)
		fail_step(w, "a function with a breakpoint", EFAULT);
	find_system_mapping(w);
}
