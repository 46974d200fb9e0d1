/* SPDX-License-Identifier: MIT */
/* What a guest that was saved and restored must have anew before it works: its time, its randomness, its name. */
#ifndef SEALMATRIX_RENEW_H
#define SEALMATRIX_RENEW_H

#include "channel.h"

/* Take a `renew` frame and answer with another hello, or with why this guest should rather be thrown away. */
void take_renew(struct frame *frame);

#endif
