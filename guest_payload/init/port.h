/* SPDX-License-Identifier: MIT */
/* The virtio-serial port that the channel goes through. */
#ifndef SEALMATRIX_PORT_H
#define SEALMATRIX_PORT_H

/* Wait for the port the host named and open it, blocking. */
int open_port(const char *name);

#endif
