/* SPDX-License-Identifier: MIT */
/* The end of the guest, or of our visit. */
#ifndef SEALMATRIX_POWER_H
#define SEALMATRIX_POWER_H

/*
 * Say why, then end the machine: QEMU runs with -no-reboot, so a reset is its exit on every architecture. A
 * visitor ends what it started and removes its work directory instead.
 */
_Noreturn void power_off(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* End every process we started, and every one of theirs; 0 when one of them outlives that. */
int end_children(void);

#endif
