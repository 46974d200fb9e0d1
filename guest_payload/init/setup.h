/* SPDX-License-Identifier: MIT */
/* Setting up the machine: the steps in their order. */
#ifndef SEALMATRIX_SETUP_H
#define SEALMATRIX_SETUP_H

/* Mount, load, set, as far as the role allows; a step that fails is noted for hello and the rest goes on. */
void set_up_machine(void);

#endif
