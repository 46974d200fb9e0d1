/* SPDX-License-Identifier: MIT */
/* What a profile asks of the machine beside processors and memory: swap and huge pages. */
#ifndef SEALMATRIX_RESOURCES_H
#define SEALMATRIX_RESOURCES_H

/* Reads what is wanted from the kernel's command line and provides it; what could not be had is noted for hello. */
void provide_resources(void);

#endif
