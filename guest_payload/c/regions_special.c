/* SPDX-License-Identifier: MIT */
/* Regions that need more than a mapping: locks, keys, huge pages, other system calls, mappings the kernel made. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

#include "arch.h"
#include "ops.h"
#include "regions.h"
#include "sys.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum {
	/* of one transparent huge page; larger ones (32 MiB with 16 KiB pages) need too much memory */
	HUGE_MAX = 4 << 20,
	NO_ACCESS = 1,      /* PKEY_DISABLE_ACCESS, PKEY_DISABLE_WRITE */
	NO_WRITE = 2,
	OPEN = 0,
};

/* ------------------------------------------------------------------ private anonymous memory in special states */

void make_locked(struct window *w)
{
	make_window(w);
	if (sys(SYS_mlock, w->base, (size_t)w->units * w->unit))
		fail_step(w, "mlock", errno);
}

/* No page of it is ever there: not written, not read, and not mapped with another protection on the way. */
void make_untouched(struct window *w)
{
	map_window(w, (size_t)w->units * w->unit, w->region->prot, w->region->flags);
}

static size_t transparent_huge_page(struct window *w)
{
	size_t size = number_in("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "");

	if (!size)
		fail_step(w, "transparent huge pages", EOPNOTSUPP);
	if (size > HUGE_MAX)
		fail_step(w, "transparent huge pages of at most 4 MiB", EFBIG);
	w->base = HUGE_BASE;
	return size;
}

/* MADV_COLLAPSE (6.1) may find a page in somebody else's hands for a moment, and says so with EAGAIN: ask again. */
long collapse_range(void *start, size_t length)
{
	enum { AT_ONCE = 20, TRIES = 200 };
	static const struct timespec moment = {.tv_nsec = 1000000};
	long result = -1;

	for (int i = 0; i < TRIES; i++) {
		result = sys(SYS_madvise, start, length, ADV_COLLAPSE);
		if (result == 0 || errno != EAGAIN)
			break;
		if (i >= AT_ONCE)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
	}
	return result;
}

/* One huge page after the other, whatever the policy of the system. */
static void collapse(struct window *w, size_t length)
{
	if (collapse_range(w->base, length))
		fail_step(w, "transparent huge pages (MADV_COLLAPSE)", errno);
}

void make_huge(struct window *w)
{
	size_t length;

	w->unit = transparent_huge_page(w);
	length = (size_t)w->units * w->unit;
	map_window(w, length, PROT_READ | PROT_WRITE, w->region->flags);
	sys(SYS_madvise, w->base, length, ADV_HUGEPAGE); /* a hint: it saves the copying where the policy heeds it */
	/* A word of each brings its page tables along; the rest comes as zeros, without a fault and a copy each. */
	for (int i = 0; i < w->units; i++)
		fill(unit_at(w, i), UNIT_FILL + i, sizeof(uint64_t));
	collapse(w, length);
	for (int i = 0; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
	protect_window(w);
}

/* The units are the first pages of one huge page; what is behind them is plain memory of the same mapping. */
void make_huge_part(struct window *w)
{
	size_t size = transparent_huge_page(w);

	map_window(w, size, PROT_READ | PROT_WRITE, w->region->flags);
	for (int i = 0; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
	collapse(w, size);
	if (sys(SYS_mprotect, w->base, size, w->region->prot))
		fail_step(w, "mprotect", errno);
}

/* As large as huge pages and not made of them: for operations that make some. */
void make_huge_scattered(struct window *w)
{
	size_t length;

	w->unit = transparent_huge_page(w);
	length = (size_t)w->units * w->unit;
	map_window(w, length, PROT_READ | PROT_WRITE, w->region->flags);
	if (sys(SYS_madvise, w->base, length, ADV_NOHUGEPAGE))
		fail_step(w, "madvise", errno);
	for (int i = 0; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
	if (sys(SYS_madvise, w->base, length, ADV_HUGEPAGE))
		fail_step(w, "madvise", errno);
	protect_window(w);
}

/* ------------------------------------------------------------------ protection keys */

/* The thread's rights are those the key is allocated with, so it is given to the window when that is filled. */
static void make_key(struct window *w, unsigned long rights)
{
	long key;

	make_window(w);
	key = sys(SYS_pkey_alloc, 0, rights);
	if (key < 0) /* a processor without them: EINVAL, then ENOSPC, which must not look like a want of memory */
		fail_step(w, "protection keys", errno == ENOSPC || errno == EINVAL ? EOPNOTSUPP : errno);
	if (sys(SYS_pkey_mprotect, w->base, (size_t)w->units * w->unit, w->region->prot, key))
		fail_step(w, "pkey_mprotect", errno);
	keep_key_rights(key);
}

void make_no_write_key(struct window *w)
{
	make_key(w, NO_WRITE);
}

void make_no_access_key(struct window *w)
{
	make_key(w, NO_ACCESS);
}

void make_open_key(struct window *w)
{
	make_key(w, OPEN);
}

/* ------------------------------------------------------------------ userfaultfd */

int open_userfaultfd(struct window *w, unsigned long features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS | features};
	int fd = (int)sys(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		fail_step(w, "userfaultfd", errno);
	if (ioctl(fd, UFFDIO_API, &api))
		fail_step(w, "UFFDIO_API", errno);
	return fd;
}

long register_range(int fd, void *start, size_t length, unsigned long mode)
{
	struct uffdio_register range = {.range = {(uintptr_t)start, length}, .mode = mode};

	return ioctl(fd, UFFDIO_REGISTER, &range);
}

static void make_registered(struct window *w, unsigned long mode)
{
	int fd;

	make_window(w);
	fd = open_userfaultfd(w, 0);
	if (register_range(fd, w->base, (size_t)w->units * w->unit, mode))
		fail_step(w, "UFFDIO_REGISTER", errno);
}

void make_uffd_missing(struct window *w)
{
	make_registered(w, UFFDIO_REGISTER_MODE_MISSING);
}

void make_uffd_wp(struct window *w)
{
	make_registered(w, UFFDIO_REGISTER_MODE_WP);
}

/* ------------------------------------------------------------------ hugetlb */

static void need_huge_pages(struct window *w)
{
	w->unit = number_in("/proc/meminfo", "Hugepagesize:") * 1024;
	w->base = HUGE_BASE;
	/* Asked beforehand, because the refusal is ENOMEM, which would look like a machine short of memory. */
	if (!w->unit || number_in("/proc/meminfo", "HugePages_Free:") < (unsigned long)w->units)
		fail_step(w, "hugetlb pages", EOPNOTSUPP);
}

void make_hugetlb(struct window *w)
{
	need_huge_pages(w);
	make_window(w);
}

void make_hugetlb_memfd(struct window *w)
{
	need_huge_pages(w);
	w->object = (int)sys(SYS_memfd_create, "memfd", 4 /* MFD_HUGETLB */);
	if (w->object < 0)
		fail_step(w, "memfd_create", errno);
	if (sys(SYS_ftruncate, w->object, (size_t)w->units * w->unit))
		fail_step(w, "ftruncate", errno);
	make_window(w);
}

/* ------------------------------------------------------------------ memory of other system calls */

/* Removed as soon as it is attached: it goes with the last process that has it. */
void make_sysv(struct window *w)
{
	long id = sys(SYS_shmget, IPC_PRIVATE, (size_t)w->units * w->unit, IPC_CREAT | 0600);
	long at;

	if (id < 0)
		fail_step(w, "shmget", errno);
	at = sys(SYS_shmat, id, w->base, 0);
	if (sys(SYS_shmctl, id, IPC_RMID, NULL))
		fail_step(w, "shmctl", errno);
	if (at != (long)w->base)
		fail_step(w, "shmat", errno);
	for (int i = 0; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
	protect_window(w);
}

/* The end of the heap, from the next page boundary on. */
void make_heap(struct window *w)
{
	uintptr_t now = (uintptr_t)sys(SYS_brk, 0), page = w->unit;
	uintptr_t base = (now + page - 1) & ~(page - 1), end = base + (size_t)w->units * w->unit;

	if ((uintptr_t)sys(SYS_brk, end) != end)
		fail_step(w, "brk", ENOMEM);
	w->base = (char *)base;
	for (int i = 0; i < w->units; i++)
		fill_unit(w, i, UNIT_FILL + i);
}

void make_zero(struct window *w)
{
	w->object = (int)sys(SYS_openat, AT_FDCWD, "/dev/zero", O_RDWR | O_CLOEXEC);
	if (w->object < 0)
		fail_step(w, "open of /dev/zero", errno);
	make_window(w);
}

void make_secretmem(struct window *w)
{
	w->object = (int)sys(SYS_memfd_secret, 0);
	if (w->object < 0)
		fail_step(w, "memfd_secret", errno);
	if (sys(SYS_ftruncate, w->object, (size_t)w->units * w->unit))
		fail_step(w, "ftruncate", errno);
	make_window(w);
}

/* ------------------------------------------------------------------ the program itself, and what the kernel mapped */

/* Pages among the program's code that hold none of it. Enough for four units of 16 KiB, on x86_64 of 4 KiB. */
enum { TEXT_BYTES = 4 * ARCH_TEXT_PAGE };
extern char sealmatrix_text[];
__asm__(".pushsection .text.sealmatrix,\"ax\",%progbits\n"
	".balign " ARCH_TEXT_PAGE_TEXT "\n"
	".globl sealmatrix_text\n"
	"sealmatrix_text: .fill 4 * " ARCH_TEXT_PAGE_TEXT ", 1, 0x50\n"
	".popsection\n");

void make_text(struct window *w)
{
	if ((size_t)w->units * w->unit > TEXT_BYTES || (uintptr_t)sealmatrix_text % w->unit)
		fail_step(w, "text of so many pages", EFBIG);
	w->base = sealmatrix_text;
	for (int i = 0; i < w->units; i++)
		(void)*(volatile char *)unit_at(w, i);
}

/* The line of /proc/self/maps that ends in the name begins with where it is. */
size_t mapping_named(const char *name, char **start)
{
	char text[8192];
	char *line, *end;

	read_text("/proc/self/maps", text, sizeof(text));
	line = strstr(text, name);
	if (!line)
		return 0;
	while (line > text && line[-1] != '\n')
		line--;
	*start = (char *)strtoul(line, &end, 16);
	return strtoul(end + 1, NULL, 16) - (size_t)*start;
}

/* The unit is the whole mapping: the kernel does not let its own be split. */
void find_system_mapping(struct window *w)
{
	w->unit = mapping_named(w->region->mapping, &w->base);
	if (!w->unit)
		fail_step(w, w->region->mapping, EOPNOTSUPP);
}
