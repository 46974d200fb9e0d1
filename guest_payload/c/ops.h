/* SPDX-License-Identifier: MIT */
/* What the tables of operations are written with. */
#ifndef SEALMATRIX_OPS_H
#define SEALMATRIX_OPS_H

#include "payload.h"

#define SET(id) (1ull << (id))

/* ------------------------------------------------------------------ sets of regions */

#define R_ANON_READ_ONLY (SET(ANON_R) | SET(ANON_NONE) | SET(ANON_RX))
#define R_ANON (SET(ANON_RW) | R_ANON_READ_ONLY)
#define R_SHARED_ANON (SET(SHARED_ANON_RW) | SET(SHARED_ANON_R))
#define R_PRIVATE_FILE (SET(CLEAN_R) | SET(CLEAN_RW) | SET(COPIED_R) | SET(COPIED_RW) | SET(MEMFD_PRIVATE_RW))
#define R_SHARED_FILE (SET(FILE_SHARED_RW) | SET(FILE_SHARED_R) | SET(MEMFD_SHARED_RW))
#define R_ALL (R_ANON | R_SHARED_ANON | R_PRIVATE_FILE | R_SHARED_FILE)
/* One of each sort the kernel treats differently. */
#define R_TYPICAL (SET(ANON_RW) | SET(ANON_R) | SET(COPIED_R) | SET(SHARED_ANON_RW))

/* ------------------------------------------------------------------ sets of spans */

#define S_INSIDE (SET(EXACT) | SET(HEAD) | SET(MIDDLE) | SET(TAIL))
#define S_MIXED (SET(INTO) | SET(OUT_OF) | SET(AROUND) | SET(ACROSS) | SET(FIRST) | SET(LAST))
#define S_PLAIN (SET(BESIDE) | SET(BEFORE) | SET(AFTER))
#define S_ALL (S_INSIDE | S_MIXED | S_PLAIN)
#define S_GAPS (SET(GAP_AMID) | SET(GAP_AROUND))
#define S_BARE (SET(GAP_BEFORE) | SET(GAP_AFTER) | SET(GAP_BETWEEN))
#define S_HOLES (SET(HOLE_START) | SET(HOLE_MIDDLE) | SET(HOLE_END))
/* One inside, one that begins plain, one that has a seal only inside, and a plain neighbour. */
#define S_KEY (SET(EXACT) | SET(INTO) | SET(AROUND) | SET(BESIDE))
/* Those that cover at least two units, so that half of the range is still a range. */
#define S_TWO (SET(EXACT) | SET(HEAD) | SET(TAIL) | SET(INTO) | SET(OUT_OF) | SET(AROUND))

/* ------------------------------------------------------------------ helpers */

#define COUNT(table) (sizeof(table) / sizeof(*(table)))
#define ALL_ONES (~0ul)

/* The address with a tag in its top byte; only arm64 ignores it (Documentation/arch/arm64/tagged-pointers.rst). */
char *tagged(struct window *w, char *address);

/* To be prepared with by operations that use tagged(): ends the half in its set-up where there are no tags. */
void need_tags(struct window *w, const struct operation *op);

/* So much of a range that its last page is only begun, which means that page too. */
size_t short_length(const struct window *w);

#endif
