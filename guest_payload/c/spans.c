/* SPDX-License-Identifier: MIT */
#include "payload.h"

/*
 * The covered units of a layout are contiguous. Sealed spans with a single covered unit in the middle ask whether a
 * part of a sealed mapping can be split off; those that begin or end in plain memory, whether the check sees only the
 * first mapping of a range.
 */
const struct span spans[SPANS] = {
	[EXACT] = {.name = "exact", .layout = "SSS"},
	[HEAD] = {.name = "head", .layout = "SSs"},
	[MIDDLE] = {.name = "middle", .layout = "sSs"},
	[TAIL] = {.name = "tail", .layout = "sSS"},
	[INTO] = {.name = "into", .layout = "pPSs"},
	[OUT_OF] = {.name = "out-of", .layout = "sSPp"},
	[AROUND] = {.name = "around", .layout = "PSP"},
	[ACROSS] = {.name = "across-holes", .layout = "SPS"},
	[FIRST] = {.name = "first", .layout = "SPP"},
	[LAST] = {.name = "last", .layout = "PPS"},
	[BESIDE] = {.name = "beside", .layout = "sPs"},
	[BEFORE] = {.name = "before", .layout = "Ps"},
	[AFTER] = {.name = "after", .layout = "sP"},
	[GAP_AMID] = {.name = "gap-amid", .layout = "SGS"},
	[GAP_AROUND] = {.name = "gap-around", .layout = "GSG"},
	[GAP_BEFORE] = {.name = "gap-before", .layout = "Gs"},
	[GAP_AFTER] = {.name = "gap-after", .layout = "sG"},
	[GAP_BETWEEN] = {.name = "gap-between", .layout = "sGs"},
	[PLAIN] = {.name = "plain", .layout = "pPPp"},
	[PLAIN_WIDE] = {.name = "plain-wide", .layout = "pPPPPp"},
	[HOLE_START] = {.name = "hole-start", .layout = "GPPp"},
	[HOLE_MIDDLE] = {.name = "hole-middle", .layout = "PGP"},
	[HOLE_END] = {.name = "hole-end", .layout = "pPPG"},
	[UNMAPPED] = {.name = "unmapped", .layout = "GG"},
	[BEHIND] = {.name = "behind", .layout = "PSPs"},
	[AHEAD] = {.name = "ahead", .layout = "sPSP"},
	[ENCLOSED] = {.name = "enclosed", .layout = "sPSPs"},
	[SINGLE] = {.name = "single", .layout = "P"},
	[FOUR] = {.name = "four", .layout = "SSSS"},
	[SECOND] = {.name = "second", .layout = "sSss"},
	[THIRD] = {.name = "third", .layout = "ssSs"},
	[FOURTH] = {.name = "fourth", .layout = "sssS"},
	[FOUR_PLAIN] = {.name = "four-plain", .layout = "PPPP"},
	[FOURTH_PLAIN] = {.name = "fourth-plain", .layout = "sssP"},
	[BESIDE_FOUR] = {.name = "beside-four", .layout = "ssssPPPP"},
	[FIRST_OF_FOUR] = {.name = "first-of-four", .layout = "SPPP"},
	[ABOVE_FIRST] = {.name = "above-first", .layout = "sPPP"},
};
