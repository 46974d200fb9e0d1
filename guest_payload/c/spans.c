/* SPDX-License-Identifier: MIT */
#include "payload.h"

/*
 * The covered units of a layout are contiguous. Sealed spans with a single covered unit in the middle ask whether a
 * part of a sealed mapping can be split off; those that begin or end in plain memory, whether the check sees only the
 * first mapping of a range.
 */
const struct span spans[SPANS] = {
	[EXACT] = {"exact", "SSS"},
	[HEAD] = {"head", "SSs"},
	[MIDDLE] = {"middle", "sSs"},
	[TAIL] = {"tail", "sSS"},
	[INTO] = {"into", "pPSs"},
	[OUT_OF] = {"out-of", "sSPp"},
	[AROUND] = {"around", "PSP"},
	[ACROSS] = {"across-holes", "SPS"},
	[FIRST] = {"first", "SPP"},
	[LAST] = {"last", "PPS"},
	[BESIDE] = {"beside", "sPs"},
	[BEFORE] = {"before", "Ps"},
	[AFTER] = {"after", "sP"},
	[GAP_AMID] = {"gap-amid", "SGS"},
	[GAP_AROUND] = {"gap-around", "GSG"},
	[GAP_BEFORE] = {"gap-before", "Gs"},
	[GAP_AFTER] = {"gap-after", "sG"},
	[GAP_BETWEEN] = {"gap-between", "sGs"},
	[PLAIN] = {"plain", "pPPp"},
	[PLAIN_WIDE] = {"plain-wide", "pPPPPp"},
	[HOLE_START] = {"hole-start", "GPPp"},
	[HOLE_MIDDLE] = {"hole-middle", "PGP"},
	[HOLE_END] = {"hole-end", "pPPG"},
	[UNMAPPED] = {"unmapped", "GG"},
	[SINGLE] = {"single", "P"},
};
