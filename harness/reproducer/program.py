"""A probe as a small C program of its own: the payload's calls, written out, and what the contract demands. Pure.

The calls come from the payload (``--trace``): they are those the probe really makes, with real addresses. Here they get
names again: addresses inside the window, free places and descriptors that an earlier call returned.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.errors import UsageError
from harness.model.rule import ProbeName, Rule
from harness.reproducer.written import NONE, written

_PROT = {1: "PROT_READ", 2: "PROT_WRITE", 4: "PROT_EXEC"}
_MAP = {
    0x1: "MAP_SHARED", 0x2: "MAP_PRIVATE", 0x10: "MAP_FIXED", 0x20: "MAP_ANONYMOUS", 0x40000: "MAP_HUGETLB",
    0x100000: "MAP_FIXED_NOREPLACE",
}  # fmt: skip
_MREMAP = {1: "MREMAP_MAYMOVE", 2: "MREMAP_FIXED", 4: "MREMAP_DONTUNMAP"}
_ADVICE = {
    4: "MADV_DONTNEED", 8: "MADV_FREE", 9: "MADV_REMOVE", 10: "MADV_DONTFORK", 12: "MADV_MERGEABLE",
    14: "MADV_HUGEPAGE", 18: "MADV_WIPEONFORK", 20: "MADV_COLD", 21: "MADV_PAGEOUT",
}  # fmt: skip
_FLAGS: Mapping[tuple[str, int], Mapping[int, str]] = {
    ("SYS_mmap", 2): _PROT, ("SYS_mmap", 3): _MAP, ("SYS_mprotect", 2): _PROT, ("SYS_mremap", 3): _MREMAP,
    ("SYS_pkey_mprotect", 2): _PROT,
}  # fmt: skip
_CHOICES: Mapping[tuple[str, int], Mapping[int, str]] = {
    ("SYS_madvise", 2): _ADVICE, ("SYS_process_madvise", 3): _ADVICE,
}  # fmt: skip
_SCRATCH = frozenset({("SYS_mincore", 2)})  # where the kernel writes what nobody reads
_POINTERS = 1 << 22  # no flag, size in pages or count is as large
_FD_MAKERS = frozenset(
    {"SYS_openat", "SYS_memfd_create", "SYS_pidfd_open", "SYS_userfaultfd", "SYS_memfd_secret", "SYS_shmget"}
)
_MORE_THAN_CALLS = frozenset({"race", "grows", "new-image"})  # traits; a stack grows by being touched
_FEW = 100
_LOOKING = frozenset({"/proc/self/maps", "/proc/self/smaps", "/proc/self/pagemap"})

_HEAD = """\
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

_HELPERS = """\
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

_OPTIONAL = {
    "demand(": _DEMAND, "holds(": _HOLDS, "shown(": _SHOWN, "mapping(": _MAPPING,
}  # fmt: skip
_OF_WRITTEN = {
    "WINDOW": _WINDOW, "three_pages(": _THREE_PAGES, "seal(": _SEAL, "tell(": _TELL, "stays_sealed(": _STAYS,
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One traced call. ``text`` and ``iovec`` are what a pointer among the arguments points to, by position."""

    name: str
    stage: str
    pid: int
    arguments: tuple[int, ...]
    result: int = 0
    text: Mapping[int, str] = field(default_factory=dict)
    iovec: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """A probe's calls; ``base`` and ``destination`` are where the window and the free place are, ``page`` in bytes.

    ``mapping`` is what /proc/self/maps calls the window where it is a mapping of the kernel's own, else "". ``placed``
    where its place, or the size of its units (``page``), is part of what the probe asks.
    """

    probe: str
    layout: str
    base: int
    destination: int
    page: int
    calls: tuple[Call, ...]
    mapping: str = ""
    traits: frozenset[str] = frozenset()
    placed: bool = False


def parse_trace(text: str) -> Trace:
    """Read what ``--trace`` printed. Raises ``ValueError`` for anything else."""
    try:
        head, *lines = [json.loads(line) for line in text.splitlines()]
        window = next((line for line in lines if "window" in line), None)
        calls = tuple(_call(line) for line in lines if "window" not in line)
        trace = Trace(
            head["trace"], head["layout"], head["base"], head["destination"], head["page_size"], calls,
            head["mapping"], frozenset(head["traits"]),
        )  # fmt: skip
        if window is None or trace.mapping:
            return trace
        place = {"base": window["window"], "page": window["unit"], "destination": window["destination"]}
        return replace(trace, placed=True, **place)
    except (KeyError, TypeError, IndexError) as problem:
        raise ValueError(f"not a trace: {problem}") from problem


def _call(line: Mapping[str, Any]) -> Call:
    text = {line["text"][0]: line["text"][1]} if "text" in line else {}
    iovec = {line["iovec"][0]: (line["iovec"][1], line["iovec"][2])} if "iovec" in line else {}
    return Call(line["call"], line["stage"], line["pid"], tuple(line["arguments"]), line.get("result", 0), text, iovec)


def reproducer(rule: Rule, probe: ProbeName, trace: Trace) -> str:
    """A C program that does what the probe does and says what the rule demands: exit 0 kept, 1 broken, 2 neither.

    Raises ``UsageError`` for a probe that is more than a few calls and for which nobody wrote a program.
    """
    if rule.id in NONE:
        raise UsageError(f"no C program for {rule.id}: {NONE[rule.id]}; run `sealmatrix run -r {probe.id}` instead")
    if probe.id == written_probe(rule):
        return _as_written(rule, probe)
    calls = list(_acting(trace.calls))
    operation = [call for call in calls if call.stage == "operation" and call.name != "SYS_clone"]
    forks = any(call.name == "SYS_clone" for call in calls)
    foreign = any(call.pid != calls[0].pid for call in operation)
    if trace.traits & _MORE_THAN_CALLS or not operation or (foreign and not forks):
        raise UsageError(f"{probe.id} is not a few system calls; run it with `sealmatrix run -r {probe.id}` instead")
    if trace.mapping:
        start, length = operation[0].arguments[:2]
        trace = replace(trace, base=start, page=length)
    if len(calls) > _FEW:
        raise UsageError(f"{probe.id} is {len(calls)} system calls; run it with `sealmatrix run -r {probe.id}` instead")
    main = _main(rule, probe, trace, calls)
    helpers = [text for name, text in _OPTIONAL.items() if any(name in line for line in main)]
    return "\n".join([_comment(rule, probe), _HEAD, _HELPERS, *helpers, *main]) + "\n"


def written_probe(rule: Rule) -> str:
    """The probe that the rule's hand-written program repeats, "" where it has none."""
    return written().get(rule.id, ("", ""))[0]


def _as_written(rule: Rule, probe: ProbeName) -> str:
    _, code = written()[rule.id]
    parts: list[str] = []
    for name, text in reversed({**_OPTIONAL, **_OF_WRITTEN}.items()):  # those that need others come last
        if any(name in part for part in (code, *parts)):
            parts.insert(0, text)
    return "\n".join([_comment(rule, probe), _HEAD, _HELPERS, *parts, code])


def _acting(calls: Sequence[Call]) -> Iterator[Call]:
    """Leave out how the payload looks at the window."""
    looking: set[int] = set()
    for call in calls:
        if call.name == "SYS_openat" and call.text.get(1) in _LOOKING:
            looking.add(call.result)
        elif call.name == "SYS_close" and call.arguments[0] in looking:
            looking.discard(call.arguments[0])
        elif not (call.name in ("SYS_read", "SYS_pread64") and call.arguments[0] in looking):
            yield call


def _comment(rule: Rule, probe: ProbeName) -> str:
    lines = [
        f"Rule {rule.id} ({rule.contract}), probe {probe.id}:",
        *textwrap.wrap(rule.statement, 108),
        *rule.sources,
        "Build and run here: cc -o repro repro.c && ./repro",
        "In a guest, static, for a guest has no shared libraries: cc -static -o repro repro.c; or let",
        "`sealmatrix exec KERNEL --push repro.c -- repro` compile it for the guest's architecture and run it.",
        "Exit status: 0 the promise was kept, 1 it was broken, 2 it could not be tried.",
    ]
    return "/*\n" + "\n".join(f" * {line.replace('*/', '* /')}" for line in lines) + "\n */"


def _main(rule: Rule, probe: ProbeName, trace: Trace, calls: Sequence[Call]) -> list[str]:
    names = _Names(trace)
    parent = calls[0].pid
    setup = [call for call in calls if call.stage == "setup"]
    operation = [call for call in calls if call.stage == "operation"]
    body = [f"{line}" for call in setup for line in _setup(names, call)]
    sealed = [
        f'need(syscall(SYS_mseal, {names.place(trace.base + first * trace.page)}, {count} * page, 0), "mseal");'
        for first, count in _runs(trace.layout, "sS")
    ]
    acts = _operation(rule, names, operation, parent)
    looks = list(_looks(rule, probe, trace, calls, names))
    variables = ["const size_t page = (size_t)sysconf(_SC_PAGESIZE);", "char *const window = (char *)0x100000000;"]
    destination = "(char *)0xa00000000"
    if trace.placed:
        unit = f"const size_t page = {trace.page}; /* here, a unit of the window */"
        variables = [unit, f"char *const window = (char *){trace.base:#x};"]
        destination = f"(char *){trace.destination:#x}"
    if name := trace.mapping:
        variables = ["size_t page; /* here, the whole mapping */", f'char *const window = mapping("{name}", &page);']
    if any("destination" in line for line in (*body, *acts)):
        variables.append(f"char *const destination = {destination};")
    if any("scratch" in line for line in (*body, *acts)):
        variables.append("static unsigned char scratch[64];")
    inner = [*variables, *names.declarations, "long got;", "", f"/* {trace.layout}: {_LEGEND} */", *body]
    written = "\n".join((*body, *acts))
    inner += [f"(void){name}; /* only kept */" for name in names.given if written.count(name) == 1]
    inner += ["", *sealed, "", *acts, "", *looks, "return broken;"]
    return ["int main(void)", "{", *(f"\t{line}" if line else "" for line in inner), "}"]


_LEGEND = "p plain, s sealed, g a gap; upper case is what the operation covers"


def _runs(layout: str, of: str) -> Iterator[tuple[int, int]]:
    first = None
    for i, c in enumerate((*layout, "")):
        inside = c != "" and c in of
        if inside and first is None:
            first = i
        elif not inside and first is not None:
            yield first, i - first
            first = None


def _setup(names: _Names, call: Call) -> Iterator[str]:
    text = names.expression(call)
    if call.name == "memset":
        yield f"{text};"
    elif name := names.keep(call):
        cast = "(char *)" if call.name == "SYS_mmap" else "(int)"
        yield f'{name} = {cast}need({text}, "{call.name.removeprefix("SYS_")}");'
    else:
        yield f'need({text}, "{call.name.removeprefix("SYS_")}");'


def _operation(rule: Rule, names: _Names, calls: Sequence[Call], parent: int) -> list[str]:
    own = [call for call in calls if call.pid == parent and call.name != "SYS_clone"]
    child = [call for call in calls if call.pid != parent and call.name != "SYS_clone"]
    lines: list[str] = []
    if child:
        inside = _calls(rule, names, child, decisive=not own)
        lines = [
            "setvbuf(stdout, NULL, _IONBF, 0);",
            "if (fork() == 0) {",
            *(f"\t{line}" for line in inside),
            "\t_exit(broken);",
            "}",
        ]
        lines += ["wait(&broken);", "broken = broken != 0;"]
    return [*lines, *_calls(rule, names, own, decisive=True)]


def _calls(rule: Rule, names: _Names, calls: Sequence[Call], *, decisive: bool) -> list[str]:
    lines: list[str] = []
    for call in calls:
        name = call.name.removeprefix("SYS_")
        for position, (at, length) in call.iovec.items():
            lines.append(f"struct iovec range{position} = {{{names.pointer(at)}, {names.size(length)}}};")
        lines.append("errno = 0;")
        lines.append(f"got = {names.expression(call)};")
        lines.append(f'printf("{name} answered %ld (%s)\\n", got, got == -1 ? strerror(errno) : "success");')
    if decisive and calls and (demanded := _demanded(rule, calls[-1])):
        condition, words = demanded
        lines.append(f'demand({condition}, "{calls[-1].name.removeprefix("SYS_")} {words}");')
    return lines


def _demanded(rule: Rule, unsealed: Call) -> tuple[str, str] | None:
    """The condition on ``got`` and ``errno``, and what it says; None where the rule leaves the answer open.

    ``unsealed`` is the same call over memory that is not sealed: where it fails too, the rule does not apply.
    """
    if rule.outcome in ("blocked", "permitted") and unsealed.result == -1:
        return None
    errnos = {
        "blocked": rule.errnos,
        "permitted": ("0",),
        "interface": rule.expect_sealed.errnos if rule.expect_sealed else (),
    }.get(rule.outcome, ())
    if not errnos:
        return None
    conditions = ["got != -1" if name == "0" else f"(got == -1 && errno == {name})" for name in errnos]
    words = " or ".join("succeeds" if name == "0" else f"is refused with {name}" for name in errnos)
    return " || ".join(conditions), words


def _looks(rule: Rule, probe: ProbeName, trace: Trace, calls: Sequence[Call], names: _Names) -> Iterator[str]:
    """What has to be seen afterwards: contents, smaps, and last, for it ends what is not, seals."""
    expect = rule.expect_sealed if rule.outcome == "interface" else None
    seals = expect and (expect.shown or expect.seals == "range") and calls[-1].name == "SYS_mseal"
    sealed = "sSP" if seals and calls[-1].result == 0 else "sS"
    places = {i: names.place(trace.base + i * trace.page) for i, c in enumerate(trace.layout) if c not in "gG"}
    for i, value in _contents(trace, calls).items():
        if i in places and trace.layout[i] in _keeping(rule, trace):
            yield f'demand(holds({places[i]}, {value}), "unit {i} holds what it held");'
    for i, place in places.items() if expect and expect.shown else ():
        if trace.layout[i] in sealed:
            yield f'demand(shown({place}), "smaps shows the seal of unit {i}");'
        else:
            yield f'demand(!shown({place}), "smaps shows no seal of unit {i}");'
    for i, place in places.items():
        if trace.layout[i] in sealed:
            yield f'demand(syscall(SYS_munmap, {place}, page) == -1 && errno == EPERM, "unit {i} is sealed");'


def _keeping(rule: Rule, trace: Trace) -> str:
    """The letters of a layout whose units keep their contents; none where they cannot be read."""
    if "unreadable" in trace.traits:
        return ""
    if rule.outcome == "blocked":
        return "sSpP" if rule.atomic else "sS"
    return "sS" if rule.outcome in ("permitted", "undefined") and rule.contents == "kept" else ""


def _contents(trace: Trace, calls: Sequence[Call]) -> Mapping[int, int]:
    """The byte that fills each unit of the window, of those the set-up filled."""
    filled: dict[int, int] = {}
    for start, value, length in (call.arguments for call in calls if call.name == "memset"):
        first = (start - trace.base) // trace.page
        filled |= dict.fromkeys(range(first, first + length // trace.page), value)
    return {i: filled[i] for i in range(len(trace.layout)) if i in filled}


class _Names:
    """Names for addresses, sizes and descriptors; what a call returns is named when ``keep`` sees it."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._end = trace.base + 16 * trace.page
        self._descriptors: dict[int, str] = {}
        self._maps: dict[int, tuple[str, int]] = {}
        self.declarations: list[str] = []
        self.given: list[str] = []

    def keep(self, call: Call) -> str:
        """Give a descriptor or a mapping a name; "" for a call that returns neither."""
        if call.name in _FD_MAKERS and call.result >= 0:
            name = f"fd{len(self.declarations)}"
            self._descriptors[call.result] = name
            self.given.append(name)
            self.declarations.append(f"int {name};")
            return name
        if call.name == "SYS_mmap" and call.result > 0 and not self._is_known(call.result):
            name = f"other{len(self.declarations)}"
            self._maps[call.result] = (name, call.arguments[1])
            self.given.append(name)
            self.declarations.append(f"char *{name};")
            return name
        return ""

    def expression(self, call: Call) -> str:
        """The call as C."""
        arguments = [self._argument(call, i, value) for i, value in enumerate(call.arguments)]
        if call.name == "memset":
            return f"memset({', '.join(arguments)})"
        return f"syscall({', '.join([call.name, *arguments])})"

    def place(self, address: int) -> str:
        """An address as an expression."""
        if self._inside(address):
            return _plus("window", address - self._trace.base, self._trace.page)
        if 0 <= address - self._trace.destination < 1 << 24:
            return _plus("destination", address - self._trace.destination, self._trace.page)
        for start, (name, length) in self._maps.items():
            if start <= address < start + length:
                return _plus(name, address - start, self._trace.page)
        return f"{address}L"

    def pointer(self, address: int) -> str:
        """An address as an expression. Raises ``UsageError`` for memory of the payload's own."""
        if not self._is_known(address):
            raise UsageError(
                f"{self._trace.probe} hands the kernel memory that no call of it has made; "
                f"run it with `sealmatrix run -r {self._trace.probe}` instead"
            )
        return self.place(address)

    def size(self, value: int) -> str:
        """A number of bytes as an expression."""
        if value and value % self._trace.page == 0 and value < 1 << 40:
            return f"{value // self._trace.page} * page"
        return _number(value)

    def _inside(self, address: int) -> bool:
        before = (1 if self._trace.placed else 16) * self._trace.page
        return self._trace.base - before <= address < self._end

    def _is_known(self, address: int) -> bool:
        return self.place(address) != f"{address}L"

    def _argument(self, call: Call, position: int, value: int) -> str:
        if (call.name, position) == ("SYS_mseal", 2):
            return _number(value)
        if position in call.text:
            return json.dumps(call.text[position])
        if position in call.iovec:
            return f"&range{position}"
        if (call.name, position) in _FLAGS:
            return _flags(value, _FLAGS[call.name, position])
        if (call.name, position) in _CHOICES:
            return _CHOICES[call.name, position].get(value, str(value))
        if call.name == "SYS_pidfd_open" and position == 0:
            return "getpid()"
        if position in _SIZES.get(call.name, ()):
            return self.size(value)
        if value in self._descriptors and position in _FD_POSITIONS.get(call.name, (0,)):
            return self._descriptors[value]
        if (call.name, position) in _SCRATCH:
            return "scratch"
        if (call.name, position) == ("memset", 1):
            return str(value)
        return self.pointer(value) if value >= _POINTERS or self._is_known(value) else self.size(value)


_SECOND = (
    "SYS_mmap", "SYS_munmap", "SYS_mprotect", "SYS_pkey_mprotect", "SYS_madvise", "SYS_mseal", "SYS_mlock",
    "SYS_mlock2", "SYS_munlock", "SYS_msync", "SYS_mincore", "SYS_ftruncate", "SYS_remap_file_pages",
)  # fmt: skip
_SIZES: Mapping[str, tuple[int, ...]] = dict.fromkeys(_SECOND, (1,)) | {"SYS_mremap": (1, 2), "memset": (2,)}
_FD_POSITIONS: Mapping[str, tuple[int, ...]] = {"SYS_mmap": (4,), "SYS_munmap": (), "SYS_mprotect": (), "memset": ()}


def _plus(name: str, offset: int, page: int) -> str:
    if offset == 0:
        return name
    sign, distance = ("+", offset) if offset > 0 else ("-", -offset)
    whole, rest = divmod(distance, page)
    terms = [f"{whole} * page"] * bool(whole) + [str(rest)] * bool(rest)
    return f"{name} {sign} {f' {sign} '.join(terms)}"


def _number(value: int) -> str:
    if value == -(1 << 63):
        return "(-9223372036854775807L - 1)"
    # Negative numbers may be lengths: as ints they would lose their upper half on the way through syscall(2).
    return f"{value}L" if value < 0 or value >= 1 << 31 else str(value)


def _flags(value: int, names: Mapping[int, str]) -> str:
    known = [name for bit, name in names.items() if value & bit]
    rest = value & ~sum(names)
    words: Iterable[str] = [*known, *([hex(rest)] if rest else [])]
    return " | ".join(words) or "0"
