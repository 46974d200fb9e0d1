"""What exploration found, as text, as JSON, and as JUnit: a suite for each kernel, a case for each oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from junit_xml import TestCase, TestSuite

from harness.explore.against import DifferenceClass
from harness.explore.model import ORACLES
from harness.explore.session import Exploration, ExploreFinding, finding_lines
from harness.reports.junit import document, element, one_line, xml_text


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
        outcome = self.outcome
        if outcome.lost:
            return outcome.lost
        if outcome.plan is not None and outcome.plan.mseal:
            return "this kernel has no mseal"
        return "" if self.asked else "nothing was judged"

    @property
    def skipped(self) -> bool:
        """Whether there is nothing to explore."""
        return self.outcome.plan is not None and bool(self.outcome.plan.mseal)

    @property
    def exit_code(self) -> int:
        """1 with a finding, 3 without an answer, else 0."""
        if self.outcome.findings:
            return 1
        return 3 if self.why_not and not self.skipped else 0


def explored_lines(explored: Explored) -> Iterator[str]:
    """For a person."""
    outcome = explored.outcome
    head = f"{explored.kernel} {explored.arch}" + (f" ({outcome.release})" if outcome.release else "")
    if explored.skipped:
        yield f"{head}: skipped: {explored.why_not}"
        return
    rate = f", {outcome.programs / outcome.seconds:.0f} a second" if outcome.seconds else ""
    yield (
        f"{head}: {outcome.programs} programs, {outcome.steps} steps, {outcome.states} abstract states, "
        f"{outcome.exhausted} of the exhaustive ones, in {outcome.seconds:.0f} s{rate}; seed {outcome.seed}"
    )
    for finding in outcome.findings:
        yield from (f"  {line}" for line in finding_lines(finding))
    yield from class_lines(explored.classes, explored.other)
    for what, (count, example) in sorted(outcome.recorded.items()):
        yield f"  recorded: {what} ({count} times), such as: {'; '.join(example.lines())}"
    if outcome.unconfirmed:
        problem, _ = outcome.unconfirmed[0]
        yield f"  seen once and not again: {len(outcome.unconfirmed)}, the first: {problem.oracle}: {problem.text}"
    if outcome.lost:
        yield f"  no whole answer: {outcome.lost}"
    yield (
        f"  {len(outcome.findings)} findings"
        if outcome.findings
        else "  no finding"
        if not outcome.lost
        else "  stopped"
    )


def class_lines(classes: Sequence[DifferenceClass], other: str) -> Iterator[str]:
    """What two kernels do otherwise, the most frequent first."""
    for one in sorted(classes, key=lambda c: -c.count):
        yield f"  otherwise than {other}: {one.difference.sort} ({one.count} programs)"
        yield f"    here {one.difference.here}; there {one.difference.there}"
        yield from (f"    {line}" for line in one.program.lines())


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
    outcome = explored.outcome
    return {
        "kernel": explored.kernel,
        "arch": explored.arch,
        "cell": explored.cell,
        "release": outcome.release,
        "seed": outcome.seed,
        "programs": outcome.programs,
        "judged": outcome.judged,
        "steps": outcome.steps,
        "batches": outcome.batches,
        "exhaustive": outcome.exhausted,
        "programs_sha256": outcome.digest,
        "states": outcome.states,
        "seconds": round(outcome.seconds, 3),
        "oracles": {oracle: _status(explored, oracle) for oracle in ORACLES},
        "findings": [_finding_json(finding) for finding in outcome.findings],
        "recorded": {
            what: {"times": count, "program": str(example)} for what, (count, example) in outcome.recorded.items()
        },
        "unconfirmed": [
            {"oracle": problem.oracle, "text": problem.text, "program": str(program)}
            for problem, program in outcome.unconfirmed
        ],
        "lost": outcome.lost,
        **(
            {"against": explored.other, "differences": [class_json(c) for c in explored.classes]}
            if explored.other
            else {}
        ),
    }


def _status(explored: Explored, oracle: str) -> str:
    if any(finding.problem.oracle == oracle for finding in explored.outcome.findings):
        return "fail"
    if explored.skipped:
        return "skip"
    return "miss" if explored.why_not else "pass"


def _finding_json(finding: ExploreFinding) -> dict[str, Any]:
    problem = finding.problem
    return {
        "oracle": problem.oracle,
        "operation": problem.operation,
        "step": problem.step,
        "child": problem.child,
        "text": problem.text,
        "clauses": list(problem.clauses),
        "program": str(finding.program),
        "found_as": str(finding.origin),
        "company": [str(program) for program in finding.company],
        "console": list(finding.quote),
    }


def explored_junit(all_explored: Sequence[Explored]) -> str:
    """A whole document."""
    return document([element(_suite(explored)) for explored in all_explored])


def _suite(explored: Explored) -> TestSuite:
    classname = f"sealmatrix.{explored.kernel.replace('.', '_')}.{explored.arch}.explore"
    cases = []
    for oracle, statement in ORACLES.items():
        case = TestCase(f"explore-{oracle}", classname)
        status = _status(explored, oracle)
        findings = [f for f in explored.outcome.findings if f.problem.oracle == oracle]
        if status == "fail":
            text = xml_text("\n".join([statement, *(line for f in findings for line in finding_lines(f))]))
            case.add_failure_info(one_line(f"{len(findings)} findings; {findings[0].problem.text}"), text, oracle)
        elif status == "skip":
            case.add_skipped_info(one_line(explored.why_not), statement)
        elif status == "miss":
            case.add_error_info(one_line(explored.why_not), statement, "miss")
        cases.append(case)
    outcome = explored.outcome
    facts = {"seed": outcome.seed, "programs": outcome.programs, "states": outcome.states, "release": outcome.release}
    return TestSuite(classname, cases, package="sealmatrix", properties={k: str(v) for k, v in facts.items()})
