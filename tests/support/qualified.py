"""Runs that a policy is applied to, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from harness.compare.sides import Picked, sides_of
from harness.model.run_record import CellRecord
from harness.model.verdict import Kind, RuleResult, Status
from harness.qualify.load import parse_policy
from harness.qualify.qualification import judge_picks
from harness.qualify.report import Dossier
from tests.builders import cell, result, rule, run

TODAY = date(2026, 11, 23)
RULES = {r.id: r for r in (rule("munmap-across"), rule("mprotect-mixed", "mprotect"), rule("cold", "madvise", "open"))}
HEAD = "version: 1\ntitle: Trial\narchitectures: [x86_64]\nrequire:\n  - levels: [required]\n"
Cells = Sequence[tuple[CellRecord, Sequence[RuleResult]]]


def results(first: Status = "pass", kind: Kind | None = None, observed: str = "o") -> list[RuleResult]:
    first_rule, second, third = RULES.values()
    return [result(first_rule, first, "why", kind, observed=observed), result(second), result(third, "observed")]


def dossier(
    after: Sequence[RuleResult],
    policy: str = HEAD,
    before: Sequence[RuleResult] | None = None,
    candidate: CellRecord | None = None,
    today: date = TODAY,
) -> Dossier:
    cells: Cells = [(cell("debian-6.12"), before or results()), (candidate or cell("debian-7.3"), after)]
    done = run(Path("r"), cells)
    old, new = sides_of(done)
    parsed = parse_policy(policy.encode(), Path("p.yaml"), RULES)
    return judge_picks(Picked("c", done, (new,)), Picked("b", done, (old,)), parsed, policy.encode(), today, RULES)
