/* SPDX-License-Identifier: MIT */
/*
 * The operations a program is made of, one function and one entry of a table each. A new one: an enumerator in
 * explore.h, a function and its entry here, and its line in harness/explore/operations.py
 * (docs/use/exploration.md).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/uio.h>

#include "arch.h"
#include "explore.h"
#include "payload.h"
#include "sys.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef SHM_REMAP
#define SHM_REMAP 040000
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
/* Memory whose addresses carry tags; of no meaning elsewhere, where mprotect refuses it. */
enum { TAGGED_PROT = 8, ARM64_PROT_MTE = 0x20 };
enum { POLICY_DEFAULT, POLICY_PREFERRED, POLICY_BIND, POLICY_INTERLEAVE, POLICY_LOCAL, POLICY_PREFERRED_MANY,
       POLICY_MOVE = 2 /* MPOL_MF_MOVE */ };

int x_prot(uint8_t prot)
{
	return (prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) | (prot & TAGGED_PROT ? ARM64_PROT_MTE : 0);
}

/* What is unrounded ends in the first byte of its last page. mseal has a way of its own to be so. */
static size_t bytes(const struct x_window *w, const struct x_step *s)
{
	return (size_t)s->units * w->unit - (s->by & X_UNROUNDED && s->op != X_MSEAL ? w->page - 1 : 0);
}

/* ------------------------------------------------------------------ what a worker has once */

static int file_of_worker(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = (int)sys(SYS_memfd_create, "explore", 1u); /* MFD_CLOEXEC */
		if (fd >= 0 && sys(SYS_ftruncate, fd, 1l << 40))
			return -1;
	}
	return fd;
}

static int reader_of_worker(void)
{
	static int fd = -1;
	char path[32];

	if (fd < 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file_of_worker());
		fd = (int)sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	}
	return fd;
}

static int zero_of_worker(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = (int)sys(SYS_openat, AT_FDCWD, "/dev/zero", O_RDWR | O_CLOEXEC);
	return fd;
}

enum { KEYS_OF_WORKER = 4 };

static struct {
	long keys[KEYS_OF_WORKER]; /* the first is 0: the kernel has not given any; the others: no more */
	uint8_t rights;
} protection;

/* Asks for all at once: whoever asks for a key may use it, and that is to be the thread that looks. */
long x_key(void)
{
	long key = protection.keys[0];

	if (key || (key = sys(SYS_pkey_alloc, 0, 0)) < 0)
		return key;
	protection.keys[0] = key;
	for (int i = 1; i < KEYS_OF_WORKER; i++) {
		long another = sys(SYS_pkey_alloc, 0, 0);

		protection.keys[i] = another > 0 ? another : 0;
	}
	return key;
}

static long last_key(void)
{
	long last = x_key();

	for (int i = 1; i < KEYS_OF_WORKER; i++)
		last = protection.keys[i] ? protection.keys[i] : last;
	return last;
}

/* To this thread's rights alone, of all keys alike. */
static void set_register(void)
{
	unsigned long all = ARCH_HAS_KEY_RIGHTS ? arch_key_rights() : 0;

	for (int i = 0; i < KEYS_OF_WORKER; i++)
		if (protection.keys[i] > 0) {
			unsigned shift = 2 * (unsigned)protection.keys[i];

			all = (all & ~(3ul << shift)) | (unsigned long)protection.rights << shift;
		}
	if (ARCH_HAS_KEY_RIGHTS)
		arch_set_key_rights((unsigned)all);
}

void x_set_rights(uint8_t rights)
{
	protection.rights = rights;
	if (protection.keys[0] > 0)
		set_register();
}

/* A signal's handler begins with the kernel's own rights, and we leave it by a jump. */
void x_after_fault(void)
{
	if (protection.keys[0] > 0)
		set_register();
}

/* ------------------------------------------------------------------ mapping */

/* Part i of a window's file is what unit i is made of; those of the steps that map come behind these. */
static bool stamp_part(struct x_window *w, int fd, int part, int unit)
{
	uint64_t word = (0x50ull + (uint64_t)unit) * 0x0101010101010101ull;

	if (w->stamped & 1u << part)
		return true;
	w->stamped |= 1u << part;
	for (int which = 0; which < x_looked_at(w); which++)
		if (sys(SYS_pwrite64, fd, &word, sizeof(word),
			w->file + (long)((size_t)part * w->unit + x_look_offset(w, which))) != sizeof(word))
			return false;
	return true;
}

static bool stamp(struct x_window *w, int fd, int start, int units)
{
	for (int i = start; i < start + units; i++)
		if (!stamp_part(w, fd, i + (w->made ? w->units : 0), i))
			return false;
	return true;
}

/*
 * The range a step names, of so many bytes. A file's part for unit i is where unit i's is, so that neighbours merge.
 * What a step maps is another part than what the window was made of, for nothing but the program's own stores may
 * change what is mapped already.
 */
static long map_step(struct x_window *w, const struct x_step *s, size_t length, uint8_t kind, uint8_t prot,
		     unsigned long flags)
{
	int start = s->start, units = s->units;
	unsigned long sharing = kind == X_SHARED_ANON || kind == X_SHARED_FILE ? MAP_SHARED : MAP_PRIVATE;
	long offset = 0;
	int fd = -1;

	if (kind == X_ANON || kind == X_SHARED_ANON) {
		flags |= MAP_ANONYMOUS;
	} else if (kind == X_ZERO) {
		fd = zero_of_worker();
	} else {
		fd = file_of_worker();
		offset = w->file + (long)((size_t)(start + (w->made ? w->units : 0)) * w->unit);
		if (fd >= 0 && !stamp(w, fd, start, units))
			return -1;
	}
	return sys(SYS_mmap, x_unit(w, start), length, x_prot(prot), sharing | flags, fd, offset);
}

long x_map(struct x_window *w, int start, int units, uint8_t kind, uint8_t prot, unsigned long flags)
{
	struct x_step step = {.start = (uint8_t)start, .units = (uint8_t)units};

	return map_step(w, &step, bytes(w, &step), kind, prot, flags);
}

long x_map_unwritable(struct x_window *w, int start, int units, uint8_t prot, unsigned long flags)
{
	long offset = w->file + (long)((size_t)start * w->unit);

	if (!stamp(w, file_of_worker(), start, units))
		return -1;
	return sys(SYS_mmap, x_unit(w, start), (size_t)units * w->unit, x_prot(prot), MAP_SHARED | flags,
		   reader_of_worker(), offset);
}

static long placed(const struct x_window *w, long result, size_t length, uint8_t *extra)
{
	uintptr_t at = (uintptr_t)result, base = (uintptr_t)w->base, end = base + (size_t)w->units * w->unit;

	if (result == -1)
		return -1;
	if (at >= base && at < end) {
		*extra = (uint8_t)((at - base) / w->unit);
		if (at + length > end)
			sys(SYS_munmap, end, at + length - end);
		return 0;
	}
	*extra = X_ELSEWHERE;
	sys(SYS_munmap, result, length); /* what is outside the window is nobody's */
	return 0;
}

static long do_munmap(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	return sys(SYS_munmap, x_unit(w, s->start), bytes(w, s));
}

/* a: kind, b: protection, c: 0 MAP_FIXED, 1 MAP_FIXED_NOREPLACE, 2 a hint; from 3 on MAP_FIXED with another flag */
static long do_mmap(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static const unsigned long flags[] = {MAP_FIXED, MAP_FIXED_NOREPLACE, 0, MAP_FIXED | MAP_NORESERVE,
					      MAP_FIXED | MAP_LOCKED, MAP_FIXED | MAP_POPULATE};
	long at = map_step(w, s, bytes(w, s), s->a, s->b, flags[s->c % (sizeof(flags) / sizeof(*flags))]);

	return placed(w, at, bytes(w, s), extra);
}

/* A part that a later step would map is stamped now, for then it would change what this step has mapped. */
static long do_remap_file(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	for (int part = s->a; part < s->a + s->units; part++)
		if (part >= w->units && part < 2 * w->units &&
		    !stamp_part(w, file_of_worker(), part, part - w->units))
			return -1;
	return sys(SYS_remap_file_pages, x_unit(w, s->start), bytes(w, s), 0,
		   ((size_t)w->file + s->a * w->unit) / w->page, 0);
}

/* a: 0 to read and write, 1 to read, 2 to execute, too. What is unrounded is attached where the address rounds down. */
static long do_shmat(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	long id = sys(SYS_shmget, IPC_PRIVATE, bytes(w, s), IPC_CREAT | 0600), at;
	int error;

	(void)extra;
	if (id < 0)
		return -1;
	at = sys(SYS_shmat, id, x_unit(w, s->start) + (s->by & X_UNROUNDED ? 1 : 0),
		 SHM_REMAP | SHM_RND | (s->a == 1 ? SHM_RDONLY : 0) | (s->a == 2 ? SHM_EXEC : 0));
	error = errno;
	sys(SYS_shmctl, id, IPC_RMID, NULL);
	errno = error;
	return at == -1 ? -1 : 0;
}

/* Takes away what is left of the segment that begins there. */
static long do_shmdt(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	return sys(SYS_shmdt, x_unit(w, s->start));
}

enum { PR_SET_START_BRK = 6, PR_SET_BRK = 7 }; /* of PR_SET_MM */

/* The heap may not begin behind its end in between: which of the two goes first depends on where it was. */
static bool set_heap(const char *start, const char *end)
{
	bool first = !sys(SYS_prctl, PR_SET_MM, PR_SET_BRK, end, 0, 0);

	return !sys(SYS_prctl, PR_SET_MM, PR_SET_START_BRK, start, 0, 0) &&
	       (first || !sys(SYS_prctl, PR_SET_MM, PR_SET_BRK, end, 0, 0));
}

/*
 * a: 0 the heap, which ends behind the range, shrinks to where the range begins; 1 it grows by the range. As a program
 * that restores another (CRIU) may, we say that the window is the heap; afterwards it is empty, and where the C
 * library had it. brk(2) answers with the break and knows no errno: a heap that cannot shrink is told as EPERM.
 */
static long do_brk(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	char *home = (char *)sys(SYS_brk, 0), *low = x_unit(w, s->start), *high = low + bytes(w, s);
	char *to = s->a ? high : low;
	bool well;

	(void)extra;
	if (!set_heap(w->base, s->a ? low : high)) {
		errno = ENOTSUP;
		return -1;
	}
	well = (char *)sys(SYS_brk, to) == to;
	set_heap(home, home);
	errno = s->a ? ENOMEM : EPERM;
	return well ? 0 : -1;
}

/* ------------------------------------------------------------------ protection */

/* c: 1 from where the mapping begins (PROT_GROWSDOWN) */
static long do_mprotect(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	return sys(SYS_mprotect, x_unit(w, s->start), bytes(w, s), x_prot(s->a) | (s->c ? PROT_GROWSDOWN : 0));
}

/* b: 0 no key (-1), 1 the worker's, 2 another of the worker's, with a higher number */
static long do_pkey_mprotect(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	long key = s->b == 2 ? last_key() : s->b ? x_key() : -1;

	(void)extra;
	if (s->b && key < 0)
		return -1;
	return sys(SYS_pkey_mprotect, x_unit(w, s->start), bytes(w, s), x_prot(s->a), key);
}

/* a: 0 open, 1 no access, 2 no writing */
static long do_rights(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	if (x_key() < 0)
		return -1;
	w->rights = s->a % 3;
	x_set_rights(w->rights);
	return 0;
}

/* ------------------------------------------------------------------ mremap: a: how, b: units, or the unit to go to */

enum { SAME, SHRINK, GROW, GROW_OR_MOVE, MOVE, MOVE_KEEP, ELSEWHERE, ELSEWHERE_KEEP, DOUBLE, MOVE_SHORTER,
       MOVE_LONGER, MOVES };

static long do_mremap(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static const struct {
		unsigned long flags;
		bool resizes, fixed;
	} how[MOVES] = {
		[SAME] = {0, false, false},
		[SHRINK] = {0, true, false},
		[GROW] = {0, true, false},
		[GROW_OR_MOVE] = {MREMAP_MAYMOVE, true, false},
		[MOVE] = {MREMAP_MAYMOVE | MREMAP_FIXED, false, true},
		[MOVE_KEEP] = {MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, false, true},
		[ELSEWHERE] = {MREMAP_MAYMOVE | MREMAP_FIXED, false, false},
		[ELSEWHERE_KEEP] = {MREMAP_MAYMOVE | MREMAP_DONTUNMAP, false, false},
		[DOUBLE] = {MREMAP_MAYMOVE | MREMAP_FIXED, false, true},
		[MOVE_SHORTER] = {MREMAP_MAYMOVE | MREMAP_FIXED, false, true},
		[MOVE_LONGER] = {MREMAP_MAYMOVE | MREMAP_FIXED, false, true},
	};
	unsigned a = s->a % MOVES;
	size_t old = a == DOUBLE ? 0 : bytes(w, s);
	size_t length = how[a].resizes ? s->b * w->unit : bytes(w, s);
	char *to = how[a].fixed ? x_unit(w, s->b) : NULL; /* one unit less arrives, or one more */
	long at;

	length += a == MOVE_LONGER ? w->unit : 0;
	length -= a == MOVE_SHORTER ? w->unit : 0;
	if (a == ELSEWHERE || a == ELSEWHERE_KEEP) {
		at = sys(SYS_mmap, NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == -1)
			return -1;
		to = (char *)at;
	}
	/* A hint: else the kernel takes 0 for the destination, and refuses what lies lower than it is long. */
	if (a == ELSEWHERE_KEEP)
		sys(SYS_munmap, to, length);
	at = sys(SYS_mremap, x_unit(w, s->start), old, length, how[a].flags, to);
	if (a == ELSEWHERE && at == -1) {
		int error = errno;

		sys(SYS_munmap, to, length);
		errno = error;
	}
	return placed(w, at, length, extra);
}

/* ------------------------------------------------------------------ advice, seals, locks and the rest */

/*
 * a: advice, c: 1 by process_madvise, where every byte advised counts as 0; 2 by that in two ranges, 3 in one for each
 * unit
 */
static long do_madvise(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static int self = -1;
	static pid_t whose;
	struct iovec ranges[X_UNITS] = {{x_unit(w, s->start), bytes(w, s)}};
	unsigned long count = s->c == 1 || s->units < 2 ? 1 : s->c == 2 ? 2 : s->units;
	long got;

	for (unsigned long i = 0; count > 1 && i < count; i++)
		ranges[i] = (struct iovec){x_unit(w, s->start + (int)i), w->unit};
	if (count > 1)
		ranges[count - 1].iov_len = bytes(w, s) - (count - 1) * w->unit;

	if (!s->c)
		return sys(SYS_madvise, x_unit(w, s->start), bytes(w, s), s->a);
	if (self < 0 || whose != getpid()) {
		whose = getpid();
		self = (int)sys(SYS_pidfd_open, whose, 0);
	}
	if (self < 0)
		return -1;
	got = sys(SYS_process_madvise, self, ranges, count, s->a, 0);
	if (got >= 0 && (size_t)got != bytes(w, s)) {
		*extra = (uint8_t)((size_t)got / w->unit);
		got = -1;
		errno = EAGAIN; /* a part only: no error of the call's, and no success */
	}
	return got < 0 ? -1 : 0;
}

enum { PLAINLY, FLAGS, UNALIGNED, EMPTY, ROUNDED, TOO_LONG, WRAPS, TAGGED, UNALIGNED_EMPTY, SEALINGS };

static long do_mseal(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	uintptr_t at = (uintptr_t)x_unit(w, s->start);
	size_t length = bytes(w, s);
	unsigned long flags = 0;

	(void)extra;
	switch (s->a % SEALINGS) {
	case FLAGS:
		flags = 1ul << (s->b % 64);
		break;
	case UNALIGNED:
		at += 1 + s->b;
		break;
	case UNALIGNED_EMPTY:
		at += 1 + s->b;
		length = 0;
		break;
	case EMPTY:
		length = 0;
		break;
	case ROUNDED:
		length -= 1 + s->b;
		break;
	case TOO_LONG:
		length = (size_t)0 - at;
		break;
	case WRAPS:
		length = (size_t)0 - 1 - s->b;
		break;
	case TAGGED:
		at |= ARCH_POINTER_TAG;
		break;
	default:
		break;
	}
	return sys(SYS_mseal, at, length, flags);
}

/* Locks may begin anywhere in a page, too. */
static long do_mlock(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	char *at = x_unit(w, s->start) + (s->by & X_UNROUNDED ? 1 : 0);

	(void)extra;
	if (s->a == 0)
		return sys(SYS_mlock, at, bytes(w, s));
	if (s->a == 1)
		return sys(SYS_mlock2, at, bytes(w, s), MLOCK_ONFAULT);
	return sys(SYS_munlock, at, bytes(w, s));
}

/* a: MCL_CURRENT 1, MCL_FUTURE 2, MCL_ONFAULT 4; 0 is munlockall */
static long do_mlockall(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	w->future = true; /* whatever it is: undone in the end */
	return s->a ? sys(SYS_mlockall, s->a) : sys(SYS_munlockall);
}

/* a: value, c: 0 a store, 1 process_vm_writev. Faults are EFAULT; extra counts them. */
static long do_write(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	size_t pages = w->unit / w->page;
	uint64_t word = s->a * 0x0101010101010101ull;
	long result = 0;

	for (int i = s->start; i < s->start + s->units; i++)
		for (size_t page = 0; page < pages; page++) {
			char *at = x_unit(w, i) + page * w->page;
			struct iovec from = {&word, sizeof(word)}, to = {at, sizeof(word)};
			/* A store that faults is a signal, and with protection keys some flushes of the whole TLB. So
			   the kernel stores first, by our rights. */
			bool well = s->c ? sys(SYS_process_vm_writev, getpid(), &from, 1, &to, 1, 0) == sizeof(word)
					 : store_works(at) && x_write(at, s->a);

			if (well)
				continue;
			result = -1;
			errno = EFAULT;
			*extra += page == 0;
		}
	return result;
}

static long do_read(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	long result = 0;

	for (int i = s->start; i < s->start + s->units; i++) {
		uint8_t got = x_read(x_unit(w, i));

		if (got != X_SEGV && got != X_BUS)
			continue;
		result = -1;
		*extra += 1;
		errno = EFAULT;
	}
	return result;
}

/* a: 0 no policy, 1 to bind, 2 to bind and move, 3 a home node, 4 a preferred node, 5 to interleave, 6 the node that
   asks, 7 several preferred nodes */
static long do_mbind(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static const unsigned long modes[] = {POLICY_DEFAULT, POLICY_BIND, POLICY_BIND, POLICY_BIND, POLICY_PREFERRED,
					      POLICY_INTERLEAVE, POLICY_LOCAL, POLICY_PREFERRED_MANY};
	unsigned long node = 1, mode = modes[s->a % 8];

	(void)extra;
	if (s->a == 0 || s->a == 6)
		return sys(SYS_mbind, x_unit(w, s->start), bytes(w, s), mode, NULL, 0, 0);
	if (s->a == 3)
		return sys(SYS_set_mempolicy_home_node, x_unit(w, s->start), bytes(w, s), 0, 0);
	return sys(SYS_mbind, x_unit(w, s->start), bytes(w, s), mode, &node, 64,
		   s->a == 2 ? POLICY_MOVE : 0);
}

/*
 * a: the node each unit's first page is to be moved to. A page that is not there, or that is busy just now, is no
 * answer of the call's; any other error of a page is.
 */
static long do_move_pages(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	void *pages[X_UNITS];
	int nodes[X_UNITS], status[X_UNITS] = {0};
	long got;

	(void)extra;
	for (int i = 0; i < s->units; i++) {
		pages[i] = x_unit(w, s->start + i);
		nodes[i] = s->a % 2;
	}
	got = sys(SYS_move_pages, 0, (unsigned long)s->units, pages, nodes, status, 0);
	for (int i = 0; got >= 0 && i < s->units; i++)
		if (status[i] < 0 && status[i] != -ENOENT && status[i] != -EBUSY) {
			errno = -status[i];
			got = -1;
		}
	return got < 0 ? -1 : 0;
}

static long do_msync(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	return sys(SYS_msync, x_unit(w, s->start), bytes(w, s), s->a);
}

static long do_name(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static const char *const names[] = {NULL, "one", "two",
		"a name nearly as long as a name may be, which is 79 letters and no more, ever"};

	(void)extra;
	return sys(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, x_unit(w, s->start), bytes(w, s), names[s->a % 4]);
}

static long do_mincore(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	static unsigned char there[4096];
	size_t length = bytes(w, s);

	(void)extra;
	return sys(SYS_mincore, x_unit(w, s->start),
		length / w->page > sizeof(there) ? sizeof(there) * w->page : length,
		   there);
}

static long do_clear_refs(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	char number = (char)('1' + s->a % 4);
	long fd = sys(SYS_openat, AT_FDCWD, "/proc/self/clear_refs", O_WRONLY | O_CLOEXEC), got;
	int error;

	(void)w, (void)extra;
	if (fd < 0)
		return -1;
	got = sys(SYS_write, fd, &number, 1);
	error = errno;
	sys(SYS_close, fd);
	errno = error;
	return got == 1 ? 0 : -1;
}

/* Of this process: a child that goes on needs one of its own. What is missing is told by SIGBUS. */
static struct {
	int fd;
	pid_t whose;
} faults = {.fd = -1};

static int userfaultfd_of_process(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};

	if (faults.fd >= 0 && faults.whose == getpid())
		return faults.fd;
	faults.whose = getpid();
	faults.fd = (int)sys(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (faults.fd >= 0 && sys(SYS_ioctl, faults.fd, UFFDIO_API, &api))
		return -1;
	return faults.fd;
}

/* What a pass has registered is over with it: a child that stays would keep the next one's, too, when it is closed. */
void x_close_userfaultfd(void)
{
	if (faults.fd >= 0 && faults.whose == getpid())
		sys(SYS_close, faults.fd);
	faults.fd = -1;
}

/*
 * a: 0 what is missing, 1 what is write-protected, 2 nothing any more, 3 whatever was registered: it is closed,
 * 4 what is missing and what is write-protected
 */
static long do_userfaultfd(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	int fd = userfaultfd_of_process();
	struct uffdio_range range = {(uintptr_t)x_unit(w, s->start), bytes(w, s)};
	uint64_t modes[] = {UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP, 0, 0,
			    UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
	struct uffdio_register wanted = {.range = range, .mode = modes[s->a % 5]};

	(void)extra;
	if (fd < 0)
		return -1;
	if (s->a == 3) {
		faults.fd = -1;
		return sys(SYS_close, fd);
	}
	return s->a == 2 ? sys(SYS_ioctl, fd, UFFDIO_UNREGISTER, &range) : sys(SYS_ioctl, fd, UFFDIO_REGISTER, &wanted);
}

/* a: 0 as usual, 1 what may be read may be executed */
static long do_personality(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	w->persona = s->a ? READ_IMPLIES_EXEC : 0;
	return sys(SYS_personality, w->persona) == -1 ? -1 : 0;
}

/* a: 0 all memory of the process may be merged with what is alike (KSM), 1 no more */
static long do_merge_all(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	(void)extra;
	w->merges = true; /* undone in the end */
	return sys(SYS_prctl, PR_SET_MEMORY_MERGE, s->a ? 0ul : 1ul, 0ul, 0ul, 0ul);
}

static long do_fork(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	return w->fork(w, s, extra);
}

typedef long operation(struct x_window *w, const struct x_step *s, uint8_t *extra);

static operation *const operations[X_OPS] = {
	[X_MUNMAP] = do_munmap,
	[X_MMAP] = do_mmap,
	[X_MPROTECT] = do_mprotect,
	[X_PKEY_MPROTECT] = do_pkey_mprotect,
	[X_MREMAP] = do_mremap,
	[X_MADVISE] = do_madvise,
	[X_MSEAL] = do_mseal,
	[X_MLOCK] = do_mlock,
	[X_MLOCKALL] = do_mlockall,
	[X_FORK] = do_fork,
	[X_WRITE] = do_write,
	[X_READ] = do_read,
	[X_MBIND] = do_mbind,
	[X_MSYNC] = do_msync,
	[X_NAME] = do_name,
	[X_MINCORE] = do_mincore,
	[X_RIGHTS] = do_rights,
	[X_CLEAR_REFS] = do_clear_refs,
	[X_REMAP_FILE] = do_remap_file,
	[X_SHMAT] = do_shmat,
	[X_USERFAULTFD] = do_userfaultfd,
	[X_BRK] = do_brk,
	[X_PERSONALITY] = do_personality,
	[X_SHMDT] = do_shmdt,
	[X_MOVE_PAGES] = do_move_pages,
	[X_MERGE_ALL] = do_merge_all,
};

long x_operate(struct x_window *w, const struct x_step *s, uint8_t *extra)
{
	operation *operate = s->op < X_OPS ? operations[s->op] : NULL;

	if (!operate) {
		errno = ENOSYS;
		return -1;
	}
	return operate(w, s, extra);
}
