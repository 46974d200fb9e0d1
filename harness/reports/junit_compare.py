"""A comparison as JUnit XML: one suite for each pair of cells, one case for each rule, names that stay the same.

``classname`` is ``sealmatrix-compare.KERNEL.ARCH`` after the later side, and ``name`` the rule's id, so that a server's
own trend follows a kernel of the matrix through its versions. What a case is follows from how the rule changed and,
where that is no news, from how it stands now: a failure that is older than both sides is still a failure.

=====================================  =========================================================
introduced                             ``failure``, its type ``introduced``
unstable                               ``failure``, its type ``unstable``; it fails in some repeats
lost coverage                          ``failure``, its type ``lost-coverage``
flaky, and every repeat answered well  ``skipped``: it is marked, and counts neither way
else, by the later side's status:
``fail``                               ``failure``, its type the kind
``error``, ``miss``                    ``error``, its type the status
``known``, ``skip``                    ``skipped``, with the reason
``pass``, ``fixed``, ``observed``      passed; what changed is in ``system-out``
=====================================  =========================================================

A later cell that is not clean has one case more, ``cell``: an ``error``, its type ``not-clean``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from junit_xml import TestCase, TestSuite

from harness.compare.comparison import Comparison, counted, rule_phrase
from harness.compare.diff import Pair, ProbeChange, RuleChange, Side, told
from harness.compare.sides import apart
from harness.reports.junit import one_line, timestamp, to_xml, unclean, xml_text

# Probes told one by one in a case's text.
_PROBES = 50


def comparison_xml(comparison: Comparison) -> str:
    """The whole document."""
    names: set[str] = set()
    suites = [_suite(pair, _unique(_classname(pair.after), names)) for pair in comparison.pairs]
    suites += [_gone(side, _unique(_classname(side), names)) for side in comparison.only_before]
    return to_xml(suites)


def _classname(side: Side) -> str:
    profile = f"-{side.profile}" if side.cell.endswith(f".{side.profile}") else ""
    return f"sealmatrix-compare.{side.kernel.replace('.', '_')}.{side.arch}{profile}"


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    taken.add(unique)
    return unique


def _suite(pair: Pair, classname: str) -> TestSuite:
    cases = [_case(pair, change, classname) for change in pair.rules]
    if pair.after.trouble:
        cases.append(unclean(classname, "not-clean", pair.after.trouble))
    return TestSuite(
        classname,
        cases,
        package="sealmatrix-compare",
        hostname=pair.after.cell,
        timestamp=timestamp(pair.after.started),
        properties={name: one_line(value) for name, value in _properties(pair).items() if value},
    )


def _gone(side: Side, classname: str) -> TestSuite:
    """A cell the later side does not have: each of its rules has lost its coverage."""
    cases = []
    for name in side.results:
        case = TestCase(name, classname)
        case.add_failure_info(
            f"lost coverage: the cell {side.cell} is not there any more", failure_type="lost-coverage"
        )
        cases.append(case)
    started = timestamp(side.started)
    return TestSuite(classname, cases, package="sealmatrix-compare", hostname=side.cell, timestamp=started)


def _properties(pair: Pair) -> Mapping[str, str]:
    return {
        f"{when}_{name}": str(getattr(side, name) or "")
        for when, side in (("before", pair.before), ("after", pair.after))
        for name in ("run", "cell", "kernel", "version", "arch", "page_size", "profile", "trouble")
    }


def _case(pair: Pair, change: RuleChange, classname: str) -> TestCase:
    case = TestCase(change.rule.id, classname)
    message, output = one_line(_message(pair, change)), xml_text("\n".join(_output(pair, change)))
    status = change.after.status if change.after else "miss"
    match change.change, status:
        case "introduced", _:
            case.add_failure_info(message, output, "introduced")
        case "lost coverage", _:
            case.add_failure_info(message, output, "lost-coverage")
        case "unstable", _:
            case.add_failure_info(message, output, "unstable")
        case "flaky", _ if status not in ("fail", "error", "miss"):
            case.add_skipped_info(message, output)
        case _, "fail":
            kind = change.after.kind if change.after else None
            case.add_failure_info(message, output, kind or "fail")
        case _, "error" | "miss":
            case.add_error_info(message, output, status)
        case _, "known" | "skip":
            case.add_skipped_info(message, output)
        case "unchanged", _:
            pass
        case _:
            case.stdout = f"{message}\n{output}"
    return case


def _message(pair: Pair, change: RuleChange) -> str:
    """Never empty: junit-xml drops a failure, error or skip that says nothing."""
    worst = change.worst
    if worst is None:
        if change.after is None:
            return "was not planned"
        now = change.after.worst
        before, after = apart(pair.before, pair.after)
        return f"as before on {before}, on {after}: {now.probe}: {now.status} {now.kind or ''}: {now.reason}"
    both = f"{told(worst.before)} → {told(worst.after)}"
    return f"{rule_phrase(pair, change)}; {counted(change.counts)}; {worst.probe}: {both}"


def _output(pair: Pair, change: RuleChange) -> Iterator[str]:
    rule = change.rule
    yield f"{rule.id} ({rule.contract}, {rule.level}): {rule.statement}"
    yield f"sources: {'; '.join(rule.sources)}"
    for probe in change.probes[:_PROBES]:
        yield from _probe(pair, probe)
    if len(change.probes) > _PROBES:
        yield f"… and {len(change.probes) - _PROBES} more probes"


def _probe(pair: Pair, probe: ProbeChange) -> Iterator[str]:
    before, after = apart(probe.since, pair.after)
    yield f"{probe.change}: {probe.probe}"
    yield f"    {before}: {told(probe.before)}"
    yield f"    {after}: {told(probe.after)}"
    yield from (f"    repeat {number}: {says}" for number, says in enumerate(probe.varied, 1))
