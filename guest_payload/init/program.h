/* SPDX-License-Identifier: MIT */
/* Running one program, and making sure nothing of it is left. */
#ifndef SEALMATRIX_PROGRAM_H
#define SEALMATRIX_PROGRAM_H

/*
 * Run argv in the work directory, forward what it writes, kill what it leaves; ends with an `exit` or a `fail`
 * frame.
 */
void run_program(char **argv);

#endif
