/* SPDX-License-Identifier: MIT */
/* What the guest says of itself. */
#ifndef SEALMATRIX_HELLO_H
#define SEALMATRIX_HELLO_H

#include <stddef.h>

/*
 * The body of hello; returns its length. `renewed` is the name a restored guest was given, "" in one that just
 * booted.
 */
size_t describe_machine(char *into, size_t size, const char *renewed);

#endif
