"""The parts of C that programs are put together from."""

from __future__ import annotations

HEAD = """\
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
"""
HELPERS = """\
static int broken;

/* Set-up that fails says nothing about the kernel's promises. */
static long need(long result, const char *what)
{
	if (result == -1) {
		perror(what);
		_exit(2);
	}
	return result;
}
"""
_DEMAND = """\
static void demand(int kept, const char *what)
{
	printf("%s: %s\\n", kept ? "kept  " : "BROKEN", what);
	broken |= !kept;
}
"""
# The kernel reads for us and says when it cannot: what was unmapped must not end the program.
_HOLDS = """\
static int holds(const char *unit, int value)
{
	unsigned char byte = 0;
	int ends[2], same;

	need(pipe(ends), "pipe");
	same = write(ends[1], unit, 1) == 1 && read(ends[0], &byte, 1) == 1 && byte == value;
	close(ends[0]);
	close(ends[1]);
	return same;
}
"""
_MAPPING = """\
/* Where the kernel put a mapping of its own, and how long it is: it does not let it be split. */
static char *mapping(const char *name, size_t *length)
{
	unsigned long from, to;
	char line[1024];
	FILE *maps = fopen("/proc/self/maps", "r");

	need(maps ? 0 : -1, "/proc/self/maps");
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, name) && sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			fclose(maps);
			*length = to - from;
			return (char *)from;
		}
	}
	printf("there is no %s\\n", name);
	_exit(2);
}
"""
_SHOWN = """\
static int shown(const char *unit)
{
	unsigned long at = (unsigned long)unit, from, to;
	char line[1024];
	int inside = 0, sealed = 0;
	FILE *smaps = fopen("/proc/self/smaps", "r");

	need(smaps ? 0 : -1, "/proc/self/smaps");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= at && at < to;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			sealed = strstr(line, " sl") != NULL;
	}
	fclose(smaps);
	return sealed;
}
"""
_WINDOW = "#define WINDOW 0x100000000\n"
_THREE_PAGES = """\
/* Three pages of private anonymous memory, each filled with a byte of its own. */
static char *three_pages(size_t page, int prot)
{
	char *const at = (char *)WINDOW;

	need(mmap(at, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED
		? 0 : -1, "mmap");
	for (int i = 0; i < 3; i++)
		memset(at + i * page, 0xa0 + i, page);
	need(mprotect(at, 3 * page, prot), "mprotect");
	return at;
}
"""
_SEAL = """\
static void seal(char *at, size_t length)
{
	need(syscall(SYS_mseal, at, length, 0), "mseal");
}
"""
_TELL = """\
static long tell(const char *call, long got)
{
	const int error = errno;

	printf("%s answered %ld (%s)\\n", call, got, got == -1 ? strerror(error) : "success");
	errno = error;
	return got;
}
"""
_STAYS = """\
static void stays_sealed(char *window, size_t page)
{
	for (int i = 0; i < 3; i++)
		demand(syscall(SYS_munmap, window + i * page, page) == -1 && errno == EPERM, "the page is sealed");
}
"""
OPTIONAL = {
    "demand(": _DEMAND, "holds(": _HOLDS, "shown(": _SHOWN, "mapping(": _MAPPING,
}  # fmt: skip
OF_WRITTEN = {
    "WINDOW": _WINDOW, "three_pages(": _THREE_PAGES, "seal(": _SEAL, "tell(": _TELL, "stays_sealed(": _STAYS,
}  # fmt: skip
