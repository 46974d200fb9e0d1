/* SPDX-License-Identifier: MIT */
/* Between regions.c, which has the table, and the others, which make what needs more than a mapping. */
#ifndef SEALMATRIX_REGIONS_H
#define SEALMATRIX_REGIONS_H

#include "payload.h"

void fill_unit(const struct window *w, int i, int value);
char *map_window(struct window *w, size_t length, int prot, int flags);
void protect_window(struct window *w);

/* The functions that make them: regions.c has the general ones, regions_….c the others. */
#define REGION(id, make, ...) void make(struct window *w);
#include "regions_table.h"
#undef REGION

void keep_counter_open(void);

#endif
