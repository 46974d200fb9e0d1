"""Programs for the page: what went wrong, as C that needs nothing of ours."""

from __future__ import annotations

from harness.errors import SealmatrixError
from harness.model.rule import ProbeName, Rule
from harness.payload.build import probe_list, trace
from harness.reproducer.program import parse_trace, reproducer


def reproduce(rule: Rule, probe: str) -> str:
    """The probe as a program of its own; "" where the payload at hand has no such probe, or none can be made.

    A page without its programs is still a whole page, so what is in the way is not raised.
    """
    try:
        names = {p.id: ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list()}
        return reproducer(rule, names[probe], parse_trace(trace(probe))) if probe in names else ""
    except SealmatrixError:
        return ""
