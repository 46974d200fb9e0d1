/* SPDX-License-Identifier: MIT */
/* The guest as a machine: mounts, modules, settings, and the port. */
#ifndef SEALMATRIX_MACHINE_H
#define SEALMATRIX_MACHINE_H

#include <stddef.h>

/* Mount, load, set, as far as the role allows; a step that fails is noted for hello and the rest goes on. */
void set_up_machine(void);

/* Wait for the port the host named and open it, blocking. */
int open_port(const char *name);

#endif
