"""What exploration found, as JSON, and as JUnit: a suite for each kernel, a case for each oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from junit_xml import TestCase, TestSuite

from harness.explore.against import DifferenceClass
from harness.explore.exploration import Exploration, ExploreFinding, finding_lines
from harness.explore.known import KnownBug, known_as
from harness.explore.oracles import ORACLES
from harness.explore.record import json_of, record_of, recorded_finding
from harness.explore.verdicts import judge_exploration, unsealable
from harness.model.verdict import Judgement, Status
from harness.reports.junit import document, element, one_line, xml_text
from harness.runs.cells import plural


@dataclass(frozen=True)
class Explored:
    """One kernel: its name and architecture, and what came of it; ``classes`` are what ``other`` does otherwise."""

    kernel: str
    arch: str
    outcome: Exploration
    other: str = ""
    classes: tuple[DifferenceClass, ...] = ()
    cell: str = ""

    @property
    def asked(self) -> bool:
        """Whether anything was judged."""
        return self.outcome.judged > 0

    @property
    def why_not(self) -> str:
        """Why nothing, or not everything, was judged."""
        if self.unsealed is not None:
            return self.unsealed.reason
        if self.outcome.lost:
            return self.outcome.lost
        if self.outcome.unconfirmed:
            problem, _ = self.outcome.unconfirmed[0]
            return f"seen once, and not again when repeated: {problem.oracle}: {problem.text}"
        return "" if self.asked else "nothing was judged"

    @property
    def unsealed(self) -> Judgement | None:
        """What it means that ``mseal`` itself failed, so that nothing can be explored; None where it did not."""
        plan = self.outcome.plan
        return unsealable(plan.mseal, self.outcome.kernel) if plan is not None else None

    @property
    def skipped(self) -> bool:
        """Whether there is nothing to explore: the kernel is from before mseal."""
        return self.unsealed is not None and self.unsealed.status == "skip"

    @property
    def refused(self) -> bool:
        """Whether ``mseal`` itself failed on a kernel that has to have it."""
        return self.unsealed is not None and self.unsealed.status == "fail"

    def known(self, finding: ExploreFinding) -> KnownBug | None:
        """The known bug that a finding is, on this kernel."""
        return known_as(finding.cause, self.outcome.kernel)

    @property
    def news(self) -> list[ExploreFinding]:
        """The findings that are no known bug of this kernel."""
        return [finding for finding in self.outcome.findings if self.known(finding) is None]

    @property
    def exit_code(self) -> int:
        """1 with a finding that is no known bug or where mseal itself fails, 3 without an answer, else 0."""
        if self.news or self.refused:
            return 1
        return 3 if self.why_not and not self.skipped else 0


def class_json(one: DifferenceClass) -> dict[str, Any]:
    """A class of differences."""
    difference = one.difference
    return {
        "operation": difference.operation,
        "sort": difference.sort,
        "here": difference.here,
        "there": difference.there,
        "programs": one.count,
        "program": str(one.program),
    }


def explored_json(explored: Explored) -> dict[str, Any]:
    """For programs."""
    return {
        "kernel": explored.kernel,
        "arch": explored.arch,
        "cell": explored.cell,
        **json_of(record_of(explored.outcome)),
        "oracles": _statuses(explored),
        "findings": [_finding_json(explored, finding) for finding in explored.outcome.findings],
        **(
            {"against": explored.other, "differences": [class_json(c) for c in explored.classes]}
            if explored.other
            else {}
        ),
    }


def _finding_json(explored: Explored, finding: ExploreFinding) -> dict[str, Any]:
    known = explored.known(finding)
    return {**recorded_finding(finding).model_dump(mode="json"), "known": known.cited if known else ""}


def _statuses(explored: Explored) -> dict[str, Status]:
    """By oracle, as a run judges the same; but where not everything was judged, nothing passes."""
    judged = judge_exploration(record_of(explored.outcome), explored.outcome.kernel)
    told = {result.rule.id.removeprefix("explore-"): result.status for result in judged}
    well: Status = "miss" if explored.outcome.lost or not (explored.asked or explored.skipped) else "pass"
    return {oracle: well if told[oracle] in ("pass", "fixed") else told[oracle] for oracle in ORACLES}


def explored_junit(all_explored: Sequence[Explored]) -> str:
    """A whole document."""
    return document([element(_suite(explored)) for explored in all_explored])


def _suite(explored: Explored) -> TestSuite:
    classname = f"sealmatrix.{explored.kernel.replace('.', '_')}.{explored.arch}.explore"
    cases = []
    statuses = _statuses(explored)
    for oracle, statement in ORACLES.items():
        case = TestCase(f"explore-{oracle}", classname)
        status = statuses[oracle]
        findings = [f for f in explored.outcome.findings if f.problem.oracle == oracle]
        if status == "fail":
            text = xml_text("\n".join([statement, *(line for f in findings for line in finding_lines(f))]))
            told = f"{plural(len(findings), 'finding')}; {findings[0].problem.text}" if findings else explored.why_not
            case.add_failure_info(one_line(told), text, oracle)
        elif status == "known":
            said = [line for f in findings if (known := explored.known(f)) for line in (known.cited, *finding_lines(f))]
            case.add_skipped_info(one_line(f"known: {said[0]}"), xml_text("\n".join(said)))
        elif status == "skip":
            case.add_skipped_info(one_line(explored.why_not or "no program had such a step"), statement)
        elif status == "miss":
            case.add_error_info(one_line(explored.why_not or "nothing was judged"), statement, "miss")
        cases.append(case)
    outcome = explored.outcome
    facts = {"seed": outcome.seed, "programs": outcome.programs, "states": outcome.states, "release": outcome.release}
    return TestSuite(classname, cases, package="sealmatrix", properties={k: str(v) for k, v in facts.items()})
