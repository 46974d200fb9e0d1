/* SPDX-License-Identifier: MIT */
/* The file systems of a guest. */
#ifndef SEALMATRIX_MOUNTS_H
#define SEALMATRIX_MOUNTS_H

/* Mounts what the role may: all of them, or the work directory only. What fails is noted for hello. */
void mount_all(void);

#endif
