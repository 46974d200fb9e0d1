"""What a night ends with: what is new, in at most ten lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.errors import some_of
from harness.history.regressions import Changed, Regression
from harness.nightly.broken import Broken
from harness.runs.cells import plural

LINES = 10
_NAMED = 3


@dataclass(frozen=True)
class NightFacts:
    """What the news are made of. ``unclean`` names cells whose answer is incomplete, with the reason; ``costs`` says
    what is not known of costs, ``failing`` by cause what fails where there is no night before."""

    run: str
    before: str
    cells: int
    taken: int
    ran: int
    sampled: int
    repeated: int
    seconds: float
    kernels: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()
    changed: Changed = field(default_factory=Changed)
    unclean: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    known: int = 0
    costs: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether there is anything to tell a person of: what is new in the answers, not in the archive."""
        return bool(self.alarms or self.broken or self.changed != Changed())


def head(facts: NightFacts) -> str:
    """``nightly 20261128-…: 55 cells, 52 answered before, 3 run; 72 s``; no name where no run was made."""
    if not facts.run:
        return f"nightly: {plural(facts.cells, 'cell')}, all answered before, none run; {facts.seconds:.1f} s"
    ran = [f"{facts.ran} run"]
    ran += [f"{facts.sampled} of those answered before run again"] if facts.sampled else []
    ran += [f"{facts.repeated} repeated in a fresh guest"] if facts.repeated else []
    taken = f"{facts.taken} answered before, " if facts.taken else ""
    return f"nightly {facts.run}: {plural(facts.cells, 'cell')}, {taken}{', '.join(ran)}; {facts.seconds:.0f} s"


def news(facts: NightFacts) -> list[str]:
    """The lines, what matters most first; what does not go into them is counted."""
    told = [head(facts)]
    body = [f"alarm: asked again, a cell answered differently than before: {alarm}" for alarm in facts.alarms]
    body += [_opened(one) for one in facts.changed.opened]
    body += [f"confirmed: {one.name} {one.sentence}" for one in facts.changed.confirmed]
    body += [f"bisected: {one.name} {one.bisected}" for one in facts.changed.bisected]
    body += [
        f"unstable: {one.sentence}, on {one.where}: a second guest answered differently"
        for one in facts.broken
        if one.unsteady
    ]
    body += [f"fixed: {one.name} {one.sentence}, in {one.fixed_in}" for one in facts.changed.fixed]
    body += _short("fails: ", facts.failing)
    body += _short("incomplete: ", facts.unclean)
    body += _short("costs: ", facts.costs)
    body += _short("new kernel: ", facts.kernels) if facts.before else []
    body += _short("new cell: ", facts.added)
    body += _short("no longer in the matrix: ", facts.gone)
    if not facts.before:
        body.append("the first night: there is nothing to compare with")
    elif not facts.anything:
        open_ones = f"; {plural(facts.known, 'regression')} still open" if facts.known else ""
        body.append(f"nothing new since {facts.before}{open_ones}")
    room = LINES - len(told)
    if len(body) > room:
        body = [*body[: room - 1], f"and {len(body) - room + 1} more: sealmatrix show {facts.run}"]
    return [*told, *body]


def _opened(one: Regression) -> str:
    return f"new: {one.name} {one.sentence}, on {some_of(one.cells)} ({one.good} → {one.first})"


def _short(what: str, lines: Sequence[str]) -> list[str]:
    """Some lines as they are, many as one."""
    if len(lines) <= _NAMED:
        return [what + line for line in lines]
    return [f"{what}{lines[0]} and {len(lines) - 1} more"]
