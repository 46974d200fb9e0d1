/* SPDX-License-Identifier: MIT */
/* Small files the kernel makes up, and word of its devices. */
#ifndef SEALMATRIX_SYSFS_H
#define SEALMATRIX_SYSFS_H

#include <stddef.h>

/*
 * The contents of a small file without its last newlines, ended by NUL; "" when it cannot be read. Returns the
 * length.
 */
size_t read_file(const char *path, char *into, size_t size);

/* A socket that becomes readable when a device comes; -1 in a kernel without CONFIG_NET. */
int open_uevents(void);

#endif
