/* SPDX-License-Identifier: MIT */
/* The modules that the kernel lacks and the host has packed. */
#ifndef SEALMATRIX_MODULES_H
#define SEALMATRIX_MODULES_H

/* Loads them in the host's order; one that fails is noted for hello. */
void load_modules(void);

#endif
