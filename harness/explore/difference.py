"""What two kernels do otherwise though the model permits both, sorted into classes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.explore.program import Program
from harness.explore.state import errno_text, unit_text
from harness.explore.wire import DONE, STATUSES, Pass, ProgramFacts


@dataclass(frozen=True)
class ProgramDifference:
    """The first thing that differs: at which step, of which sort, and what each side showed."""

    step: int
    operation: str
    sort: str
    here: str
    there: str

    @property
    def same(self) -> tuple[str, str]:
        """The class: a smaller program has to differ in the same way."""
        return self.operation, self.sort


def divisions(look: bytes, n: int) -> list[int]:
    """The units at which a mapping begins."""
    bits = look[0] | look[1] << 8
    return [i for i in range(n) if bits >> i & 1]


def _window(look: bytes, n: int) -> str:
    return " | ".join(unit_text(look, n, i) for i in range(n))


def _mappings(look: bytes, n: int) -> str:
    return "mappings begin at " + (" ".join(map(str, divisions(look, n))) or "none")


def first_difference(program: Program, here: ProgramFacts, there: ProgramFacts) -> ProgramDifference | None:
    """Where two records of one program part, if they do."""
    if (here.status, there.status) != (DONE, DONE):
        if here.status == there.status:
            return None
        return ProgramDifference(-1, "process", "status", STATUSES[here.status], STATUSES[there.status])
    n = program.units
    first, other = here.sealed, there.sealed
    if (found := _looks(-1, "window", "the window", first.looks[0], other.looks[0], n)) is not None:
        return found
    for k, (mine, theirs) in enumerate(zip(first.answers, other.answers, strict=True)):
        name = program.steps[k].operation.name
        if mine[0] != theirs[0]:
            said, otherwise = errno_text(mine[0]), errno_text(theirs[0])
            return ProgramDifference(k, name, f"{name} answers {said} or {otherwise}", said, otherwise)
        after = f"{name} that answers {errno_text(mine[0])}"
        if (found := _looks(k, name, after, first.looks[k + 1], other.looks[k + 1], n)) is not None:
            return found
    return None


def _looks(step: int, name: str, what: str, here: bytes, there: bytes, n: int) -> ProgramDifference | None:
    if here[2:] != there[2:]:
        return ProgramDifference(step, name, f"memory after {what}", _window(here, n), _window(there, n))
    if here[:2] != there[:2]:
        return ProgramDifference(step, name, f"division after {what}", _mappings(here, n), _mappings(there, n))
    return None


def behaviour(program: Program, facts: ProgramFacts) -> tuple[str, ...]:
    """Everything a kernel showed of a program, a line for each step: equal behaviour gives equal lines."""
    if facts.status != DONE:
        return (STATUSES[facts.status],)
    return tuple(_behaviour(program, facts.sealed))


def _behaviour(program: Program, sealed: Pass) -> Iterator[str]:
    n = program.units
    yield f"window: {_mappings(sealed.looks[0], n)}; {_window(sealed.looks[0], n)}"
    for k, (said, _) in enumerate(sealed.answers):
        look = sealed.looks[k + 1]
        yield f"{program.steps[k]}: {errno_text(said)}; {_mappings(look, n)}; {_window(look, n)}"
    ends = (f"{errno_text(a)}/{errno_text(b)}" for a, b in zip(sealed.mprotect, sealed.munmap, strict=True))
    yield f"end: {' '.join(ends)}"
