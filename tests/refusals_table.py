"""What comes of a control that is refused: every rule, every operation it is asked of, every error of errno(3).

``python -m tests.refusals_table --write`` writes tests/data/refusals.txt anew; what differs is what has to be reviewed.
Both halves are refused alike and nothing changes, as it is where a filter or a kernel refuses whoever asks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from errno import EPERM, errorcode
from functools import cache
from itertools import groupby
from pathlib import Path

from harness.model.rule import KernelFacts, ProbeName, Rule
from harness.observations.model import Half, Observation
from harness.payload import probe_list
from harness.rules.load import load_catalogue
from harness.rules.refusals import REFUSALS, load_refusals
from harness.verdicts.observation import judge_observation

PATH = Path(__file__).parent / "data" / "refusals.txt"
ALL = {"capabilities": "000001ffffffffff"}
KERNELS = {
    "on 7.3, as root": KernelFacts("7.3.4", "x86_64", 4096, features=ALL),
    "on 6.12, as root: what differs": KernelFacts("6.12.117", "x86_64", 4096, features=ALL),
    "on 7.3, as a user without capabilities: what differs": KernelFacts(
        "7.3.4", "x86_64", 4096, features={"capabilities": "0000000000000000"}
    ),
}
ERRORS = sorted(errorcode)
NAMED = sorted({error for entry in load_refusals() for error in entry.errnos})

Answers = Mapping[int, str]
"""The verdicts of one probe under one rule, error by error."""

Facts = tuple[tuple[str, str], ...]


@cache
def refused(layout: str, error: int, facts: tuple[Facts, Facts] = ((), ())) -> Observation:
    """Both halves refused with the same error; nothing else happened, and the halves tell these facts."""
    window = tuple("-" if c in "gG" else "rw-p anon a0 a ?" for c in layout)
    sealed = tuple(EPERM if c in "sS" else 0 for c in layout)
    common = {"stage": "done", "result": -1, "errno": error, "before": window, "after": window}
    common["write"] = "".join("-" if c in "gG" else "w" for c in layout)
    runs = sum(1 for inside, _ in groupby(layout, key=lambda c: c in "sS") if inside)
    plain = (0,) * len(layout)
    return Observation(
        probe="x",
        layout=layout,
        unit=4096,
        microseconds=1,
        control=Half(**common, extra=dict(facts[0]), mprotect=plain, munmap=plain),  # type: ignore[arg-type]
        sealed=Half(  # type: ignore[arg-type]
            **common, extra=dict(facts[1]), seal=(0,) * runs, mprotect=sealed, munmap=sealed
        ),
    )


def answers(rule: Rule, probe: ProbeName, kernel: KernelFacts, errors: Iterable[int]) -> Answers:
    """What the judge says of each error."""
    control, sealed = (expect.facts if expect else () for expect in (rule.expect_control, rule.expect_sealed))
    seen = {error: refused(probe.layout, error, (control, sealed)) for error in errors}
    found = {error: judge_observation(rule, probe, one, kernel) for error, one in seen.items()}
    return {error: f"{f.status} {f.kind}" if f.kind else f.status for error, f in found.items()}


def walk(kernel: KernelFacts, errors: Sequence[int]) -> Iterator[tuple[Rule, Mapping[ProbeName, Answers]]]:
    """Every rule with what comes of its probes. Errors that no entry names are asked once for each operation."""
    others = [error for error in errors if error not in NAMED]
    named = [error for error in errors if error in NAMED]
    probes = [ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list()]
    for rule in load_catalogue().values():
        if rule.outcome == "unchanged":  # is not about what the operation answers
            continue
        mine = [probe for probe in probes if rule.speaks_for(probe)]
        first = {p.operation: p for p in reversed(mine)}
        rest = {operation: answers(rule, probe, kernel, others) for operation, probe in first.items()}
        yield rule, {p: {**rest[p.operation], **answers(rule, p, kernel, named)} for p in mine}


def table() -> str:
    """The whole text."""
    lines = [
        "What comes of a control that is refused. `python -m tests.refusals_table --write` makes this from the",
        f"catalogue and {REFUSALS.name}; whatever changes here has to be reviewed. For each rule, by verdict: the",
        "errors, then the operations (regions) [spans] that they are for; where there are none, all that the rule is",
        "asked of. For what is not named, the error is like every other.",
    ]
    usual: dict[str, Mapping[ProbeName, Answers]] = {}
    for title, kernel in KERNELS.items():
        lines += ["", f"== {title} =="]
        for rule, found in walk(kernel, NAMED if usual.get("args-hole") else ERRORS):
            before = usual.setdefault(rule.id, found)
            whole = {probe: {**before[probe], **said} for probe, said in found.items()}
            if before is found or whole != before:
                lines += ["", f"{rule.id} ({rule.outcome})", *_rule(whole)]
    return "\n".join(lines) + "\n"


def _rule(found: Mapping[ProbeName, Answers]) -> Iterator[str]:
    places: dict[tuple[str, int], set[ProbeName]] = {}
    for probe, said in found.items():
        for error, verdict in said.items():
            places.setdefault((verdict, error), set()).add(probe)
    groups: dict[tuple[str, frozenset[ProbeName]], list[int]] = {}
    for (verdict, error), probes in places.items():
        groups.setdefault((verdict, frozenset(probes)), []).append(error)
    usual, everywhere = max(groups, key=lambda group: len(groups[group]))
    for (verdict, probes), errors in sorted(groups.items(), key=lambda group: (group[0][0], group[1])):
        if verdict == usual and probes != everywhere:
            continue
        names = "every other error" if verdict == usual else " ".join(errorcode[error] for error in sorted(errors))
        where = "" if len(probes) == len(found) else f": {_places(probes, list(found))}"
        yield f"  {verdict}: {names}{where}"


def _places(probes: frozenset[ProbeName], asked: Sequence[ProbeName]) -> str:
    said: dict[str, list[str]] = {}
    for operation in dict.fromkeys(p.operation for p in asked):
        mine = [p for p in asked if p.operation == operation]
        inside = [p for p in mine if p in probes]
        if inside:
            said.setdefault(_limits(inside, mine), []).append(operation)
    return "; ".join(" ".join(operations) + limits for limits, operations in said.items())


def _limits(inside: Sequence[ProbeName], mine: Sequence[ProbeName]) -> str:
    """The regions and spans of some of an operation's probes, as far as they are needed to tell them from the rest."""
    if len(inside) == len(mine):
        return ""
    regions = list(dict.fromkeys(p.region for p in inside))
    spans = list(dict.fromkeys(p.span for p in inside))
    if all((p in inside) == (p.region in regions) for p in mine):
        return f" ({' '.join(regions)})"
    if all((p in inside) == (p.span in spans) for p in mine):
        return f" [{' '.join(spans)}]"
    return f" ({' '.join(regions)}) [{' '.join(spans)}]"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PATH.write_text(table(), encoding="utf-8")
    else:
        sys.stdout.write(table())
