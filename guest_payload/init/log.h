/* SPDX-License-Identifier: MIT */
/* What PID 1 says: on the console, and in hello what failed. */
#ifndef SEALMATRIX_LOG_H
#define SEALMATRIX_LOG_H

#include <stddef.h>

/*
 * What we are: PID 1 of a guest that has nothing else; a process beside another PID 1 (virtme); or a visitor on a
 * machine that belongs to somebody, reached over a pair of pipes, which leaves it as it found it.
 */
enum role { ROLE_INIT, ROLE_RESIDENT, ROLE_VISITOR };
extern enum role role;
extern const char *work; /* the work directory, an absolute path */

/* One line on the console; a visitor's go to standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A step of the set-up that failed: on the console now, in hello later. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void note_errno(const char *step, const char *subject); /* "STEP SUBJECT: what errno means" */

/* The notes so far, oldest first; NULL behind the last. */
const char *noted(size_t index);

#endif
