"""A program as a small C program of its own: the system calls written out, and what was seen. Pure.

It says of each step what it answered, and in the end of each unit whether it behaves as sealed: for a person who has
a kernel and no harness. Exit status: 0 as the model wants it, 1 what was found is there, 2 set-up failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from harness.errors import UsageError
from harness.explore.operations import ADVICE, MOVES, SEALINGS, by_name
from harness.explore.oracles import StepProblem
from harness.explore.program import BY, KINDS, TRAITS, UNROUNDED, Program, Step
from harness.explore.state import arriving

_PLACES = {
    0: "0x1000000000ul",
    1: "0x20000ul",
    2: "((1ul << 32) - {half} * UNIT)",
    3: "((1ul << 47) - 2 * PAGE - {all} * UNIT)",
    4: "(0x2000000000ul - {half} * UNIT)",
}
_HEAD = """\
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#ifndef SHM_REMAP
#define SHM_REMAP 040000
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

"""
_HELPERS = """\
static size_t PAGE, UNIT;
static char *base;
static int file, zero;

static char *at(int unit)
{
	return base + (size_t)unit * UNIT;
}

static void need(int well, const char *what)
{
	if (well)
		return;
	perror(what);
	exit(2);
}

/* A store that does not kill us where it must not be: the kernel makes it, by read(2). */
static int store(int unit, int units, int value)
{
	char word[8];
	int pipes[2], answer = 0;

	memset(word, value, sizeof(word));
	need(!pipe(pipes), "pipe");
	for (int i = unit; i < unit + units; i++)
		if (write(pipes[1], word, 8) != 8 || read(pipes[0], at(i), 8) != 8)
			answer = errno;
	return answer;
}

static long told(int step, const char *what, long result)
{
	printf("%d %s: %s\\n", step, what, result == -1 ? strerror(errno) : "0");
	return result == -1 ? errno : 0;
}

static void *const unused[] = {(void *)store, (void *)told};
"""


def reproducer(program: Program, problem: StepProblem) -> str:
    """The C source. Raises ``UsageError`` for a program that is more than system calls in a row."""
    for step in program.steps:
        by = step.by & ~UNROUNDED
        who = "".join(f" {word}" for word, bit in BY.items() if by & bit)
        if who or step.operation.name in ("fork", "rights", "pkey_mprotect"):
            raise UsageError(f"{step.operation.name}{who} has no C form yet")
    return "".join(f"{line}\n" if not line.endswith("\n") else line for line in _lines(program, problem))


def _lines(program: Program, problem: StepProblem) -> Iterator[str]:
    yield "/*"
    yield f" * {problem.oracle}: {problem.text}"
    yield f" * (the contract's {' '.join(problem.clauses)})"
    yield " *"
    yield from (f" *\t{line}" for line in program.lines())
    yield " */"
    yield _HEAD
    yield _HELPERS
    yield "int main(void)"
    yield "{"
    yield "\tint broken = 0, answer = 0;"
    if any(s.unwritable for s in program.segments):
        yield "\tchar path[32];"
        yield "\tint reader;"
    yield ""
    yield "\tPAGE = (size_t)sysconf(_SC_PAGESIZE);"
    yield f"\tUNIT = PAGE * {1 << program.scale};"
    where = _PLACES[program.place].format(half=program.units // 2, all=program.units)
    yield f"\tbase = (char *){where};"
    yield '\tfile = memfd_create("explore", 0);'
    yield '\tzero = open("/dev/zero", O_RDWR);'
    yield f'\tneed(!ftruncate(file, (off_t)({2 * program.units} * UNIT)), "ftruncate");'
    yield from _window(program)
    yield ""
    for number, step in enumerate(program.steps, 1):
        yield from _step(program, step, number)
        if number - 1 == problem.step and problem.oracle in ("refused", "answer"):
            wanted = "EPERM" if problem.oracle == "refused" else _wanted(step)
            yield f"\tbroken |= answer != {wanted};"
    yield "\t(void)answer, (void)unused;"
    yield from _end(program)
    yield '\tputs(broken ? "BROKEN" : "as it should be");'
    yield "\treturn broken;"
    yield "}"


def _wanted(step: Step) -> str:
    return (
        "EINVAL"
        if SEALINGS[step.a % len(SEALINGS)] in ("flags", "unaligned", "unaligned-empty", "too-long", "wraps")
        else "0"
    )


_PROT_WORDS = ((1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC"), (8, "0x20 /* PROT_MTE */"))


def _prot(prot: int) -> str:
    words = [name for bit, name in _PROT_WORDS if prot & bit]
    return " | ".join(words) or "PROT_NONE"


def _map(start: int, units: int, kind: int, prot: int, flags: str, shift: int, less: str = "") -> str:
    name = KINDS[kind]
    sharing = "MAP_SHARED" if name.startswith("shared") else "MAP_PRIVATE"
    anonymous = " | MAP_ANONYMOUS" if name in ("anon", "shared-anon") else ""
    descriptor = "-1" if anonymous else "zero" if name == "zero" else "file"
    offset = f"(off_t)({start + shift} * UNIT)" if descriptor == "file" else "0"
    return (
        f"mmap(at({start}), {units} * UNIT{less}, {_prot(prot)}, {sharing}{anonymous}{flags}, {descriptor}, {offset})"
    )


def _window(program: Program) -> Iterator[str]:
    start = 0
    sealed: list[tuple[int, int]] = []
    for s in program.segments:
        if s.kind:
            written = s.traits & TRAITS["written"] and not s.unwritable
            flags = "".join(f" | MAP_{name.upper()}" for name in ("growsdown", "noreserve") if s.traits & TRAITS[name])
            made = _map(start, s.units, s.kind, 3 if written else s.prot, f" | MAP_FIXED_NOREPLACE{flags}", 0)
            if s.unwritable:
                yield '\tsprintf(path, "/proc/self/fd/%d", file);'
                yield "\treader = open(path, O_RDONLY);"
                made = made.replace(", file, ", ", reader, ")
            yield f'\tneed({made} != MAP_FAILED, "mmap");'
            if written:
                yield f"\tfor (int i = {start}; i < {start + s.units}; i++)"
                yield "\t\tfor (size_t p = 0; p < UNIT; p += PAGE)"
                yield "\t\t\tmemset(at(i) + p, 0xa0 + i, 8);"
                if s.prot != 3:
                    yield f'\tneed(!mprotect(at({start}), {s.units} * UNIT, {_prot(s.prot)}), "mprotect");'
            if s.traits & TRAITS["comb"]:
                yield f"\tfor (size_t p = PAGE; p < {s.units} * UNIT; p += 2 * PAGE)"
                yield f"\t\tmadvise(at({start}) + p, PAGE, MADV_SEQUENTIAL);"
            if s.traits & TRAITS["locked"]:
                yield f"\tmlock(at({start}), {s.units} * UNIT);"
            if s.traits & TRAITS["named"]:
                yield f'\tprctl(0x53564d41, 0, at({start}), {s.units} * UNIT, "named");'
        if s.sealed:
            if sealed and sealed[-1][1] == start:
                sealed[-1] = (sealed[-1][0], start + s.units)
            else:
                sealed.append((start, start + s.units))
        start += s.units
    for first, end in sealed:
        yield f'\tneed(!syscall(SYS_mseal, at({first}), {end - first} * UNIT, 0ul), "mseal");'


def _step(program: Program, step: Step, number: int) -> Iterator[str]:
    name = str(step).replace('"', "")
    if step.operation.name in ("write", "read"):
        yield f"\t/* {number} {name}: only where it may be */"
        if step.operation.name == "write":
            yield f"\tanswer = store({step.start}, {step.units}, {step.a});"
        return
    times = f"for (int n = 0; n < {step.times}; n++)\n\t\t" if step.times > 1 else ""
    yield f'\t{times}answer = (int)told({number}, "{name}", {_call(program, step)});'


_MAPPINGS = (
    " | MAP_FIXED",
    " | MAP_FIXED_NOREPLACE",
    "",
    " | MAP_FIXED | MAP_NORESERVE",
    " | MAP_FIXED | MAP_LOCKED",
    " | MAP_FIXED | MAP_POPULATE",
)


def _call(program: Program, s: Step) -> str:
    name = s.operation.name
    if name == "mmap":
        flags = _MAPPINGS[s.c % len(_MAPPINGS)]
        return f"{_map(s.start, s.units, s.a, s.b, flags, program.units, _less(s))} == MAP_FAILED ? -1 : 0"
    if name not in _CALLS or (name == "madvise" and s.c):
        raise UsageError(f"{'process_madvise' if name == 'madvise' else name} has no C form yet")
    return _CALLS[name](s)


def _less(s: Step) -> str:
    return " - PAGE + 1" if s.by & UNROUNDED else ""


def _range(s: Step) -> str:
    return f"at({s.start}), {s.units} * UNIT{_less(s)}"


def _madvise(s: Step) -> str:
    name = next(name for name, number in ADVICE.items() if number == s.a)
    return f"madvise({_range(s)}, {s.a} /* {name} */)"


def _mlock(s: Step) -> str:
    where = _range(s).replace("),", ") + 1,") if s.by & UNROUNDED else _range(s)
    return (f"mlock({where})", f"mlock2({where}, 1)", f"munlock({where})")[s.a % 3]


def _name(s: Step) -> str:
    long = '"a name nearly as long as a name may be, which is 79 letters and no more, ever"'
    name = ("(char *)0", '"one"', '"two"', long)[s.a % 4]
    return f"prctl(0x53564d41, 0, {_range(s)}, {name})"


def _shmat(s: Step) -> str:
    flags = ("SHM_REMAP", "SHM_REMAP | SHM_RDONLY", "SHM_REMAP | SHM_EXEC")[s.a % 3]
    where = f"at({s.start}) + 1, SHM_RND | " if s.by & UNROUNDED else f"at({s.start}), "
    return f"(long)shmat(shmget(IPC_PRIVATE, {s.units} * UNIT{_less(s)}, 0600), {where}{flags}) == -1 ? -1 : 0"


def _mremap(s: Step) -> str:
    name = MOVES[s.a % len(MOVES)]
    old = f"{s.units} * UNIT{_less(s)}"
    new = f"{arriving(s.a % len(MOVES), s.units)} * UNIT{_less(s)}"
    if name in ("shrink", "grow", "grow-or-move"):
        new = f"{s.b} * UNIT"
    flags = {
        "same": "0",
        "shrink": "0",
        "grow": "0",
        "grow-or-move": "MREMAP_MAYMOVE",
        "to-keep": "MREMAP_MAYMOVE | MREMAP_FIXED | 4",
        "elsewhere": "MREMAP_MAYMOVE",
        "elsewhere-keep": "MREMAP_MAYMOVE | 4",
    }.get(name, "MREMAP_MAYMOVE | MREMAP_FIXED")
    to = f", at({s.b})" if "FIXED" in flags else ""
    return f"mremap(at({s.start}), {'0' if name == 'double' else old}, {new}, {flags}{to})"


def _mseal(s: Step) -> str:
    how = SEALINGS[s.a % len(SEALINGS)]
    where = f"at({s.start}) + {1 + s.b}" if how.startswith("unaligned") else f"at({s.start})"
    length = {
        "empty": "0ul",
        "unaligned-empty": "0ul",
        "rounded": f"{s.units} * UNIT - {1 + s.b}",
        "too-long": f"-(size_t)at({s.start})",
        "wraps": f"(size_t)-1 - {s.b}",
    }.get(how, f"{s.units} * UNIT")
    flags = f"1ul << {s.b % 64}" if how == "flags" else "0ul"
    return f"syscall(SYS_mseal, {where}, {length}, {flags})"


_CALLS: Mapping[str, Callable[[Step], str]] = {
    "munmap": lambda s: f"munmap({_range(s)})",
    "mprotect": lambda s: f"mprotect({_range(s)}, {_prot(s.a)}{' | PROT_GROWSDOWN' if s.c else ''})",
    "mremap": lambda s: f"(long){_mremap(s)} == -1 ? -1 : 0",
    "madvise": _madvise,
    "mseal": _mseal,
    "mlock": _mlock,
    "mlockall": lambda s: f"mlockall({s.a})" if s.a else "munlockall()",
    "merge_all": lambda s: f"prctl(67 /* PR_SET_MEMORY_MERGE */, {0 if s.a else 1}, 0, 0, 0)",
    "msync": lambda s: f"msync({_range(s)}, {s.a})",
    "name": _name,
    "remap_file_pages": lambda s: f"remap_file_pages({_range(s)}, 0, {s.a} * UNIT / PAGE, 0)",
    "shmat": _shmat,
    "shmdt": lambda s: f"shmdt(at({s.start}))",
    "personality": lambda s: f"personality({'READ_IMPLIES_EXEC' if s.a else '0'}) == -1 ? -1 : 0",
}


def _end(program: Program) -> Iterator[str]:
    sealed = program.sealed_units()
    for step in program.steps:
        if step.op == by_name("mseal").number and SEALINGS[step.a % len(SEALINGS)] in ("", "rounded", "tagged"):
            sealed[step.start : step.start + step.units] = [True] * step.units
    wanted = "".join("s" if one else "-" for one in sealed)
    yield f"\tfor (int i = 0; i < {program.units}; i++) {{"
    yield "\t\tint refused = munmap(at(i), UNIT) && errno == EPERM;"
    yield f"\t\tint was = \"{wanted}\"[i] == 's';"
    yield ""
    yield '\t\tprintf("unit %d: %s, was %s\\n", i, refused ? "sealed" : "plain", was ? "sealed" : "plain");'
    yield "\t\tbroken |= refused != was;"
    yield "\t}"
