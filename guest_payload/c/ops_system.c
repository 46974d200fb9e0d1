/* SPDX-License-Identifier: MIT */
/* Mappings the kernel made for us, which it may have sealed itself (CONFIG_MSEAL_SYSTEM_MAPPINGS). */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ops.h"
#include "sys.h"

static const struct operation operations[] = {
	{"system-munmap", NULL, unmap_here, 0, 0, SEALS, {{SET(VDSO_RX) | SET(VVAR_R), SET(SINGLE)}}},
	{"system-mprotect", NULL, protect_here, PROT_NONE, 0, SEALS, {{SET(VDSO_RX) | SET(VVAR_R), SET(SINGLE)}}},
	{"system-mmap-fixed", NULL, map_here, 0, 0, SEALS, {{SET(VDSO_RX) | SET(VVAR_R), SET(SINGLE)}}},
	{"system-mremap", NULL, move_here, 0, 0, SEALS, {{SET(VDSO_RX) | SET(VVAR_R), SET(SINGLE)}}},
};

const struct family family_system = {"system", operations, COUNT(operations)};
