"""Programs for reports: what went wrong, as C that needs nothing of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from harness.errors import SealmatrixError
from harness.model.rule import ProbeName, Rule
from harness.model.verdict import Verdict
from harness.payload.build import probe_list, trace
from harness.reproducer.program import reproducer
from harness.reproducer.trace import parse_trace

Reproduce = Callable[[Rule, str], str]
"""From a rule and a probe's id to the source of a program that shows it, or "" where there is none."""

_TRIED = 40  # probes of a cause that are tried; each costs some milliseconds


@cache
def reproduce(rule: Rule, probe: str) -> str:
    """The probe as a program of its own; "" where the payload at hand has no such probe, or none can be made.

    A page without its programs is still a whole page, so what is in the way is not raised.
    """
    try:
        names = _names()
        return reproducer(rule, names[probe], parse_trace(trace(probe))) if probe in names else ""
    except SealmatrixError:
        return ""


@cache
def _names() -> Mapping[str, ProbeName]:
    return {p.id: ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list()}


def first_with_program(verdicts: Iterable[Verdict], rules: Mapping[str, Rule], make: Reproduce) -> Verdict | None:
    """The first of some verdicts whose probe can be written down as a program; None where there is none."""
    tried = 0
    for verdict in verdicts:
        rule = rules.get(verdict.rule)
        if rule is None or tried == _TRIED:
            continue
        tried += 1
        if make(rule, verdict.probe):
            return verdict
    return None
