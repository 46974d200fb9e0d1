/* SPDX-License-Identifier: MIT */
/* Reading /proc/self/maps and /proc/self/smaps, mapping by mapping. */
#ifndef SEALMATRIX_LISTING_H
#define SEALMATRIX_LISTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct listing {
	int fd;
	bool broken; /* it could not be read: nothing it lists, or does not list, is a fact */
	bool smaps; /* false: only maps, which does not tell what is sealed */
	bool amid;  /* a mapping's first line was read, and its flags were not */
	bool rest;  /* they were, but for the end of their line */
	size_t next, have;
	size_t at; /* in the file, of what is read next: 0 is the lowest mapping, as things are then */
	/*
	 * Of smaps, once a mapping was read: how many bytes lie between its first line and its flags, how many told of
	 * its seal, and how many are asked for of the next one's, the fewer of the last two.
	 */
	size_t between, last, flags;
	char buffer[8192];
};

struct mapping {
	char *start, *end;
	char perms[5];
	uint64_t offset;
	const char *path; /* until the next step */
	bool sealed;      /* known once its flags were listed */
};

enum listed { LISTED_END, LISTED_MAPPING, LISTED_FLAGS };

bool begins(const char *text, const char *prefix);

/* Start from the lowest mapping. Falls back to maps where smaps cannot be had. */
void open_listing(struct listing *l, bool smaps);

/* From the lowest mapping again, as things are now. */
void rewind_listing(struct listing *l);

/* Step to the next mapping, or to the flags of the one stepped to last. */
enum listed next_listed(struct listing *l, struct mapping *m);

void close_listing(struct listing *l);

#endif
