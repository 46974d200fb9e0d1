"""What an instrumented kernel's code consists of, as far as coverage asks, and which of it ran. Pure.

A *block* is a piece of code that runs as a whole: the compiler put a call of KCOV's at its start, and the address
behind that call names it. Addresses are the lower 32 bits, as payloads report them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

FILES = ("mm/mseal.c", "mm/vma.c", "mm/mprotect.c", "mm/mremap.c", "mm/madvise.c", "mm/mmap.c", "mm/mlock.c")
"""What `kcov.config` has instrumented."""

EXPLORATION = "exploration"
"""Stands among the rules that ran a line, for the programs that exploration made."""

CodePlace = tuple[str, int]
"""A file of the kernel's, relative to its tree, and a line."""
CoveragePair = tuple[int, int]
"""A block that ran and the one before it, of whatever function; 0 before the first."""


@dataclass(frozen=True)
class Way:
    """Control going from one block to another. Where something is called between the two (``calls``), what was called
    may have blocks of its own, and the trace has its last one before ``to``."""

    block: int
    to: int
    calls: bool = False


@dataclass(frozen=True)
class Branch:
    """A conditional jump, with the ways that lead to either side."""

    place: CodePlace
    sides: tuple[frozenset[Way], frozenset[Way]]


@dataclass(frozen=True)
class Code:
    """The instrumented code of a kernel: blocks with the symbol each lies in; for each line the blocks it is a part of
    and, where the compiler put it between two blocks, the ways that it lies on; conditional jumps; and where each
    function begins in its file."""

    symbols: Mapping[int, str]
    lines: Mapping[CodePlace, frozenset[int | Way]]
    branches: tuple[Branch, ...]
    functions: Mapping[str, tuple[tuple[int, str], ...]]

    def function_at(self, place: CodePlace) -> str:
        """The function that a line stands in, "" above the first."""
        file, number = place
        at = bisect_right(self._starts.get(file, []), number) - 1
        return self.functions[file][at][1] if at >= 0 else ""

    @cached_property
    def _starts(self) -> Mapping[str, list[int]]:
        return {file: [line for line, _ in functions] for file, functions in self.functions.items()}


class Seen:
    """What ran, and for whom: the names that were given with each pair of a trace."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._by_block: dict[int, dict[int, set[str]]] = {}

    def add(self, pairs: Iterable[CoveragePair], names: Iterable[str]) -> None:
        """Take the pairs of a trace."""
        names = tuple(names)
        for before, block in pairs:
            self._by_block.setdefault(block, {}).setdefault(before, set()).update(names)

    def ran(self, what: int | Way) -> bool:
        """Whether a block ran, or a way was gone."""
        return any(True for _ in self._matching(what))

    def names(self, what: int | Way) -> set[str]:
        """For whom it did."""
        return set().union(*self._matching(what))

    def _matching(self, what: int | Way) -> Iterator[set[str]]:
        if isinstance(what, int):
            yield from self._by_block.get(what, {}).values()
            return
        for before, names in self._by_block.get(what.to, {}).items():
            if gone(what, before, self._code):
                yield names


def gone(way: Way, before: int, code: Code) -> bool:
    """Whether a way was gone when its end ran after the block ``before``: its own, or one of what it called."""
    called = way.calls and before and code.symbols.get(before, "") != code.symbols.get(way.block, "")
    return before == way.block or bool(called)


def number_of_rules(names: Sequence[str]) -> int:
    """How many of those that ran something are rules."""
    return sum(name != EXPLORATION for name in names)


@dataclass(frozen=True)
class FunctionCoverage:
    """Of one function: lines with whether each ran, and branches with which of their sides did, by line."""

    file: str
    name: str
    line: int
    lines: Mapping[int, bool]
    branches: tuple[tuple[int, bool, bool], ...]
    rules: tuple[str, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether any of it ran."""
        return any(self.lines.values())

    @property
    def lines_run(self) -> int:
        """How many lines ran."""
        return sum(self.lines.values())

    @property
    def number_of_rules(self) -> int:
        """How many rules' probes ran any of it: exploration is none."""
        return number_of_rules(self.rules)

    @property
    def both_ways(self) -> int:
        """How many branches went both ways."""
        return sum(one and other for _, one, other in self.branches)


@dataclass(frozen=True)
class CoverageResult:
    """Of one kernel. ``by_line`` has the rules whose probes ran a line, and ``EXPLORATION`` where one of the
    ``programs`` that were generated did. ``cut`` are probes whose trace was too long, ``silent`` those of which nothing
    was told, ``smallest`` some that reach what all do."""

    kernel: str
    arch: str
    release: str
    functions: tuple[FunctionCoverage, ...] = ()
    by_line: Mapping[CodePlace, tuple[str, ...]] = field(default_factory=dict)
    probes: int = 0
    programs: int = 0
    cut: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    smallest: tuple[str, ...] = ()
    lost: str = ""

    @property
    def only_explored(self) -> int:
        """How many lines generated programs ran and no probe."""
        return sum(names == (EXPLORATION,) for names in self.by_line.values())


def judge(
    code: Code, traces: Mapping[str, frozenset[CoveragePair]], rules: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[FunctionCoverage, ...], Mapping[CodePlace, tuple[str, ...]]]:
    """What all probes together ran, function by function in the order of the files, and which rules ran each line.

    ``traces`` has the pairs of each probe, ``rules`` the rules that each probe is about.
    """
    seen = Seen(code)
    for probe, pairs in traces.items():
        seen.add(pairs, rules.get(probe, ()))
    by_line: dict[CodePlace, tuple[str, ...]] = {}
    lines: dict[tuple[str, str], dict[int, bool]] = {}
    for place, parts in sorted(code.lines.items()):
        by_line[place] = tuple(sorted(set().union(*map(seen.names, parts))))
        lines.setdefault((place[0], code.function_at(place)), {})[place[1]] = any(map(seen.ran, parts))
    branches: dict[tuple[str, str], list[tuple[int, bool, bool]]] = {}
    for branch in code.branches:
        key = branch.place[0], code.function_at(branch.place)
        one, other = (any(map(seen.ran, side)) for side in branch.sides)
        branches.setdefault(key, []).append((branch.place[1], one, other))
    starts = {(file, name): line for file, found in code.functions.items() for line, name in found}
    functions = [
        FunctionCoverage(
            file,
            name,
            starts.get((file, name), 0),
            found,
            tuple(sorted(branches.get((file, name), []))),
            tuple(sorted({rule for number in found for rule in by_line[file, number]})),
        )
        for (file, name), found in lines.items()
        if name
    ]
    return tuple(sorted(functions, key=lambda f: (FILES.index(f.file), f.line))), by_line
