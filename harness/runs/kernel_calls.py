"""Which functions of the kernel's mm/ a sealed call went through: read from what was traced, sliced, compared. Pure.

A half of a probe asks for the time before and after its operation, by the system call (``half.c``). What lies between
the two is the operation's own; the half that sealed is the one that called ``mseal`` before. Functions are told apart
by where they lie: built-in objects are linked folder by folder, mm/ between certs/ and fs/, so that mm/ begins with
mm/filemap.c and ends where fs/open.c begins.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Means = Literal["ftrace", "qemu"]
MEANS: dict[str, str] = {
    "ftrace": "ftrace's function_graph",
    "qemu": "QEMU's log of what it executed; what interrupts did meanwhile is among it",
}
TRACES = "traces.json"
"""The file of a run's folder that has its traces."""
FIRST = ("filemap_check_errors",)
BEHIND = ("filp_flush", "filp_close", "do_faccessat", "vfs_fallocate", "do_truncate", "vfs_truncate")

_TIME, _SEAL = "clock_gettime", "mseal"
_GRAPH = re.compile(r"^\s*(?:.*-)?(?P<pid>\d+)\s+\|\s(?P<indent> *)(?P<name>[\w.]+)\(\)(?:;| \{)")
_EXECUTED = re.compile(r"^Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/(?P<pc>[0-9a-f]+)/")
_LOOP = 12  # functions that one turn of a loop may enter and still be seen as one
_SUFFIX = re.compile(r"\.(?:isra|constprop|part|cold|llvm)\b.*")


@dataclass(frozen=True)
class Entered:
    """A function that was entered: in which process ("" where that is not known), how deep, and its name."""

    pid: str
    depth: int
    name: str


@dataclass(frozen=True)
class KernelCalls:
    """What one kernel did. ``why`` says why there is nothing to see, "" where there is."""

    cell: str
    means: Means | None
    functions: tuple[tuple[int, str], ...] = ()
    why: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The functions in order."""
        return tuple(name for _, name in self.functions)


@dataclass(frozen=True)
class Symbols:
    """The kernel's functions by address, and where those of mm/ lie."""

    addresses: tuple[int, ...]
    names: tuple[str, ...]
    first: int
    behind: int

    def entered(self, address: int) -> str:
        """The function that begins at an address, "" where none does."""
        at = bisect_right(self.addresses, address) - 1
        return self.names[at] if at >= 0 and self.addresses[at] == address else ""

    def in_mm(self, address: int) -> bool:
        """Whether a function there is one of mm/."""
        return self.first <= address < self.behind


_OTHERS_CALLS = ("__ia32_", "__arm64_compat_")
"""What calls of other programs than 64-bit ones begin with; they may be one function with those."""


def parse_symbols(lines: Iterable[str]) -> Symbols | None:
    """Read /proc/kallsyms. None where it has no addresses, or nothing of mm/."""
    found: dict[int, str] = {}
    known: dict[str, int] = {}
    for line in lines:
        address, kind, name, *module = [*line.split(), "", ""][:4]
        if kind in ("t", "T") and not any(module) and not name.startswith("__pfx_"):
            # Of several names of one place that of the system call is the one a reader knows.
            called = "_sys_" in name and not name.startswith(_OTHERS_CALLS)
            if called or int(address, 16) not in found:
                found[int(address, 16)] = _SUFFIX.sub("", name)
            known.setdefault(name, int(address, 16))
    first = min((known[name] for name in FIRST if known.get(name)), default=0)
    behind = min((known[name] for name in BEHIND if known.get(name, 0) > first), default=0)
    if not first or not behind:
        return None
    addresses = tuple(sorted(found))
    return Symbols(addresses, tuple(found[address] for address in addresses), first, behind)


def parse_graph(lines: Iterable[str]) -> list[Entered]:
    """Read what ftrace's function_graph wrote, with processes and nothing else beside the functions."""
    return [
        Entered(found["pid"], len(found["indent"]) // 2, _SUFFIX.sub("", found["name"]))
        for line in lines
        if (found := _GRAPH.match(line))
    ]


def parse_executed(lines: Iterable[str], symbols: Symbols, entry: str) -> list[Entered]:
    """Read QEMU's log (``-d exec``): functions of mm/ that were entered, and the two calls that mark the operation."""
    marks = (f"{entry}{_TIME}", f"{entry}{_SEAL}")
    found = []
    for line in lines:
        if (match := _EXECUTED.match(line)) is None:
            continue
        address = int(match["pc"], 16)
        name = symbols.entered(address)
        if name and (name in marks or symbols.in_mm(address)):
            found.append(Entered("", 0, name))
    return found


def operation_of(entered: Sequence[Entered], entry: str) -> tuple[tuple[int, str], ...] | None:
    """The functions between the two marks of the sealed half; None where they are not there.

    Its marks are the first after an ``mseal``, and the next. The payload itself tries ``mseal`` before it begins, and
    where processes are not told apart that is another's: so the last such pair is the one. A half that never came back
    has no second mark, and is taken to its end where its process is known.
    """
    time, seal = f"{entry}{_TIME}", f"{entry}{_SEAL}"
    sealed: set[str] = set()
    begun: dict[str, int] = {}
    found: tuple[int, int] | None = None
    for at, one in enumerate(entered):
        if one.name == seal and one.pid not in begun:
            sealed.add(one.pid)
        elif one.name == time and one.pid in begun:
            found = (begun.pop(one.pid), at)
        elif one.name == time and one.pid in sealed:
            sealed.discard(one.pid)
            begun[one.pid] = at
    if unfinished := [at for pid, at in begun.items() if pid]:
        found = (max(unfinished), len(entered))
    return tuple((call.depth, call.name) for call in entered[found[0] + 1 : found[1]]) if found else None


def without_repetitions(functions: Sequence[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """The functions with what a loop does shown once: where a few of them come several times in a row."""
    kept: list[tuple[int, str]] = []
    at = 0
    while at < len(functions):
        size = next(
            (
                n
                for n in range(1, _LOOP + 1)
                if functions[at : at + n] == functions[at + n : at + 2 * n] != functions[:0]
            ),
            0,
        )
        if not size:
            kept.append(functions[at])
            at += 1
            continue
        loop = functions[at : at + size]
        while functions[at : at + size] == loop:
            at += size
        kept += loop
    return tuple(kept)


@dataclass(frozen=True)
class CallRow:
    """One line of two kernels side by side: the functions there, None for a gap."""

    here: tuple[int, str] | None
    there: tuple[int, str] | None

    @property
    def differs(self) -> bool:
        """Whether only one of them has it."""
        return self.here is None or self.there is None


@dataclass(frozen=True)
class ComparedCalls:
    """A probe's sealed call in this kernel and in another one; without ``there`` nothing is compared."""

    probe: str
    here: KernelCalls
    there: KernelCalls | None

    @property
    def only_here(self) -> tuple[str, ...]:
        """Functions that only this kernel entered."""
        return _without(self.here, self.there)

    @property
    def only_there(self) -> tuple[str, ...]:
        """Functions that only the other kernel entered."""
        return _without(self.there, self.here)

    def rows(self) -> list[CallRow]:
        """Both side by side, in the order of the calls; what a loop repeats is there once."""
        if self.there is None:
            return [CallRow(call, None) for call in without_repetitions(self.here.functions)]
        mine, others = (without_repetitions(side.functions) for side in (self.here, self.there))
        names = [[name for _, name in side] for side in (mine, others)]
        rows = []
        for _, a, b, c, d in SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
            left, right = mine[a:b], others[c:d]
            if names[0][a:b] == names[1][c:d]:
                rows += [CallRow(*pair) for pair in zip(left, right, strict=True)]
            else:
                rows += [CallRow(call, None) for call in left] + [CallRow(None, call) for call in right]
        return rows


def _without(one: KernelCalls | None, other: KernelCalls | None) -> tuple[str, ...]:
    if one is None or other is None or one.why or other.why:
        return ()
    absent = set(other.names)
    return tuple(dict.fromkeys(name for name in one.names if name not in absent))


def calls_json(compared: Sequence[ComparedCalls]) -> list[dict[str, object]]:
    """The same for programs."""

    def side(one: KernelCalls | None) -> dict[str, object] | None:
        if one is None:
            return None
        calls = [{"depth": depth, "function": name} for depth, name in one.functions]
        return {"cell": one.cell, "means": one.means, "why": one.why, "functions": calls}

    return [
        {
            "probe": one.probe,
            "here": side(one.here),
            "baseline": side(one.there),
            "only_here": list(one.only_here),
            "only_baseline": list(one.only_there),
        }
        for one in compared
    ]
