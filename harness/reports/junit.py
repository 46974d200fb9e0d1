"""JUnit XML, for the test pages of continuous-integration servers: a suite for each cell, a case for each rule.

Two readers are aimed at. Jenkins nests by the dots in ``classname`` (package, then class) and wants
``testsuites/testsuite``; GitLab shows ``classname`` as the suite and keeps one case for each pair of ``classname`` and
``name``. So ``classname`` is ``sealmatrix.KERNEL.ARCH`` without further dots, unique for each cell, and ``name`` is the
rule's id, equal in all cells and all runs, so that they compare. A test of a foreign suite has the suite behind the
architecture: ``sealmatrix.KERNEL.ARCH.SUITE``.

============================  =======================================================
``fail``                      ``failure``, its type the kind
``error``, ``miss``           ``error``, its type the status
``known``, ``skip``           ``skipped``, with the reason
``fixed``, ``observed``       passed, with what there is to say in ``system-out``
``pass``                      passed
============================  =======================================================

What is said of a case is at most 2 KB; of what went wrong it begins with the cause, the command that repeats it and the
page. Where most rules of a cell are skipped for one reason, as on a kernel without mseal, a family is one skipped case.

A cell that is not clean (its guest was lost, its kernel crashed while no probe ran) has one case more, ``cell``, with
an ``error`` whose type is the cell's state: no suite of such a cell is without an error, however good its rules look.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, indent, tostring

from junit_xml import TestCase, TestSuite

from harness.explore.verdicts import is_generated
from harness.model.rule import Rule, Test
from harness.model.run_record import CellRecord, CrashRecord, RunRecord
from harness.model.verdict import RuleResult, Status, Verdict
from harness.names import escaped
from harness.runs.causes import command_line, commands_for, first_lines, plainest_failures
from harness.runs.cells import kernel_name, plural, profile_suffix, ran_on, release
from harness.runs.commands import repeat_command
from harness.runs.model import RunDone
from harness.verdicts.causes import Cause

# Attributes longer than this make the servers' tables unreadable; the element's text has more.
_MESSAGE = 300
# A failure as it stands in the document, in bytes: it begins with what matters, and servers show no more.
_MOST = 2048
_TAGS = len('<failure type="changed-by-mseal" message=""></failure>')
# The name of the case that tells of the cell itself; no rule has it.
CELL = "cell"
PAGES = "SEALMATRIX_PAGES"
"""The setting that says where the pages of `sealmatrix site build` are served: https://ci.example/sealmatrix."""
_SAID: frozenset[Status] = frozenset({"fail", "error", "miss", "known", "fixed"})
# XML 1.0 has no way at all to write control characters and surrogates; those it only discourages (C1 controls and
# noncharacters, which junit-xml drops) go the same way.
_PLANES = "".join(f"{chr(plane << 16)}-{chr(plane << 16 | 0xFFFD)}" for plane in range(1, 17))
_NOT_XML = re.compile(f"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd{_PLANES}]")


def xml_text(text: str) -> str:
    """Text that can stand in an XML 1.0 document: what cannot is written as an escape, never dropped."""
    return _NOT_XML.sub(lambda match: escaped(match[0]), text)


def one_line(text: str) -> str:
    """Text for an attribute: one line, not too long."""
    line = " ".join(xml_text(text).split())
    return line if len(line) <= _MESSAGE else line[: _MESSAGE - 1] + "…"


def page_address(run: str, rule: str, cell: str) -> str:
    """Where a run's page tells of a rule on a cell: on the site, if there is one, else in the run's folder."""
    site = os.environ.get(PAGES, "").rstrip("/")
    page = f"{site}/runs/{run}/report.html" if site else "report.html"
    return f"{page}#{urlencode({'rule': rule, 'cell': cell})}"


def classnames(cells: Sequence[CellRecord]) -> Mapping[str, str]:
    """``sealmatrix.debian-6_12.x86_64`` for each cell, by its id; two cells never get the same."""
    found: dict[str, str] = {}
    for cell in cells:
        machine = "-".join(filter(None, (cell.arch, profile_suffix(cell))))
        name = f"sealmatrix.{kernel_name(cell).replace('.', '_')}.{machine}"
        number = 1
        while (unique := name if number == 1 else f"{name}-{number}") in found.values():
            number += 1
        found[cell.id] = unique
    return found


def suite(done: RunDone, cell: CellRecord, classname: str, times: Mapping[str, int]) -> TestSuite:
    """One cell. ``times`` has the microseconds of each probe; a rule whose probes have none has no time."""
    run = done.record
    why = _Why(run, cell, done.causes_of(cell.id))
    results = done.results.get(cell.id, ())
    alike = _skipped_alike(results)
    told = {result.rule.id for result in alike}
    cases = [_case(classname, result, why, _seconds(result, times)) for result in results if result.rule.id not in told]
    cases += _families(classname, alike)
    if not cell.clean:
        cases.append(unclean(classname, cell.state, cell.trouble))
    return TestSuite(
        classname,
        cases,
        package="sealmatrix",
        hostname=cell.id,
        timestamp=timestamp(cell.started or run.started),
        properties={name: one_line(value) for name, value in _properties(run, cell).items() if value},
    )


def _skipped_alike(results: Sequence[RuleResult]) -> list[RuleResult]:
    """The rules of a cell that were skipped for one reason, where that is most of them."""
    reasons = Counter(result.worst.reason for result in results if result.status == "skip")
    for reason, number in reasons.most_common(1):
        if 2 * number > len(results):
            return [result for result in results if (result.status, result.worst.reason) == ("skip", reason)]
    return []


def _weight(text: str) -> int:
    """How many bytes a text has in the document, where markup stands as entities."""
    return len(escape(text).encode())


def _families(classname: str, skipped: Sequence[RuleResult]) -> Iterator[TestCase]:
    """One skipped case for each family of a cell that has nothing to be asked: a kernel without mseal, for example."""
    families: dict[str, list[RuleResult]] = {}
    for result in skipped:
        families.setdefault(result.rule.family, []).append(result)
    for family, results in families.items():
        case = TestCase(family, classname)
        case.add_skipped_info(
            one_line(f"skip: {plural(len(results), 'rule')}: {results[0].worst.reason}"),
            xml_text("\n".join(result.rule.id for result in results)),
        )
        yield case


def to_xml(suites: Sequence[TestSuite]) -> str:
    """A whole document, encoded as it says when written as UTF-8."""
    return document([element(suite) for suite in suites])


def element(suite: TestSuite) -> Element:
    """A suite as a part of documents."""
    made: Element = suite.build_xml_doc(encoding="utf-8")
    made.set("time", _rounded(made))
    for part in made.iter():
        # Names, too, come from outside: a kernel's, a machine's, a scenario's.
        for key, value in part.items():
            if not _is_plain(value):
                part.set(key, xml_text(value))
        if part.text and not _is_plain(part.text):
            part.text = xml_text(part.text)
    return made


def _rounded(*suites: Element) -> str:
    """The sum of the suites' seconds, to a tenth of a millisecond as each case's."""
    return f"{sum(float(suite.get('time', 0)) for suite in suites):.4f}"


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def document(suites: Sequence[Element]) -> str:
    """A whole document of suites, which may be parts of other documents too.

    junit-xml writes documents itself, but through a tree that needs ten times the memory of this one.
    """
    root = Element("testsuites")
    for key in ("disabled", "errors", "failures", "tests"):
        root.set(key, str(sum(int(suite.get(key, 0)) for suite in suites)))
    root.set("time", _rounded(*suites))
    root.extend(suites)
    indent(root, "\t")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def timestamp(iso: str) -> str:
    """UTC without the offset: the form both dialects know."""
    try:
        return datetime.fromisoformat(iso).replace(tzinfo=None).isoformat(timespec="seconds")
    except ValueError:
        return ""


def _seconds(result: RuleResult, times: Mapping[str, int]) -> float | None:
    microseconds = sum([times.get(verdict.probe, 0) for verdict in result.verdicts])
    # junit-xml prints sums with str(), and below 0.1 ms that has an exponent, which an xs:decimal must not have.
    return max(round(microseconds / 1e6, 4), 0.0001) if microseconds else None


def _properties(run: RunRecord, cell: CellRecord) -> Mapping[str, str]:
    kernel, machine = cell.kernel, cell.machine
    return {
        "run": run.id,
        "cell": cell.id,
        "state": cell.state,
        "reason": cell.reason,
        "kernel": kernel_name(cell),
        "release": release(cell),
        "arch": cell.arch,
        "profile": cell.profile,
        "page_size": str(machine.page_size) if machine and machine.page_size else "",
        "kernel_sha256": kernel.sha256 if kernel else "",
        "config_sha256": kernel.config_sha256 if kernel else "",
        "kernel_note": kernel.note if kernel else "",
        "acceleration": machine.acceleration if machine else "",
        "acceleration_reason": machine.acceleration_reason if machine else "",
        "start": machine.start if machine else "",
        "start_reason": machine.start_reason if machine else "",
        "saved_guest": machine.saved_guest if machine else "",
        "filter": machine.filter if machine else "",
        "worker": ran_on(cell),
        "payload": run.payload,
        "payload_id": run.payload_id,
        "payload_sha256": cell.payload_sha256,
        "sealmatrix": run.sealmatrix,
    }


def unclean(classname: str, state: str, trouble: str) -> TestCase:
    """The case of a cell that is not clean, whatever its rules say."""
    case = TestCase(CELL, classname)
    case.add_error_info(one_line(trouble), xml_text(trouble), state)
    return case


@dataclass(frozen=True)
class _Why:
    """What explains a cell's failures."""

    run: RunRecord
    cell: CellRecord
    causes: Sequence[Cause]

    def first(self, result: RuleResult) -> list[str]:
        """What the text begins with: the gravest cause, the command that repeats it, the page; then what else helps."""
        page = f"page: {page_address(self.run.id, result.rule.id, self.cell.id)}"
        suite = result.rule.family if isinstance(result.rule, Test) else ""
        if result.status != "fail":
            return [f"repeat: {repeat_command(self.run, self.cell, result.worst.probe, suite)}", page]
        failing = plainest_failures(result)
        if is_generated(failing[0].probe):
            commands = [f"repeat: {repeat_command(self.run, self.cell, failing[0].probe)}"]
        else:
            rules = {result.rule.id: result.rule} if isinstance(result.rule, Rule) else {}
            commands = [*map(command_line, commands_for(self.run, self.cell, failing, rules, suite=suite))]
        cause, *others = first_lines(self.causes, result) or [""]
        return [*filter(None, [cause]), commands[0], page, *commands[1:], *others]


def _case(classname: str, result: RuleResult, why: _Why, seconds: float | None) -> TestCase:
    if isinstance(result.rule, Test):
        classname = f"{classname}.{result.rule.family.replace('.', '_')}"
    case = TestCase(result.rule.id, classname, seconds)
    if result.status == "pass":
        return case
    message = one_line(_message(result))
    first = why.first(result) if result.status in ("fail", "error", "miss") else []
    said = [xml_text(line) for line in (*first, *_output(result, why.cell.crashes))]
    output = _short(said, f"sealmatrix show {why.run.id} --rule {result.rule.id}", _MOST - _TAGS - _weight(message))
    match result.status:
        case "fail":
            case.add_failure_info(message, output, result.kind or "fail")
        case "error" | "miss":
            case.add_error_info(message, output, result.status)
        case "known" | "skip":
            case.add_skipped_info(message, output)
        case "fixed" | "observed":
            case.stdout = output
    return case


def _short(lines: Sequence[str], whole: str, room: int) -> str:
    """Lines, as many as fit, and then where all of them are. A line too long for what is left is cut."""
    if sum(_weight(line) + 1 for line in lines) <= room:
        return "\n".join(lines)
    end = f"… the rest: {xml_text(whole)}"
    left = room - _weight(end)
    kept: list[str] = []
    for line in lines:
        if _weight(line) >= left:
            if not kept:
                kept.append(_cut(line, left - 1))
            break
        kept.append(line)
        left -= _weight(line) + 1
    return "\n".join((*kept, end))


def _cut(line: str, room: int) -> str:
    while _weight(line) > room:
        line = line[: len(line) * 3 // 4]
    return line


def _message(result: RuleResult) -> str:
    """Never empty: junit-xml drops a failure, error or skip that says nothing."""
    worst, total = result.worst, len(result.verdicts)
    what = f"{result.status} {result.kind}" if result.kind else result.status
    if result.status == "skip":
        return f"skip: {worst.reason or 'no reason was given'}"
    return f"{what}: {result.counts[result.status]} of {plural(total, 'probe')}; {worst.probe}: {worst.reason}"


def _output(result: RuleResult, crashes: Sequence[CrashRecord]) -> Iterator[str]:
    """The rule, then every verdict that says something; verdicts that say the same are put together."""
    rule = result.rule
    yield f"{rule.id} ({rule.contract}, {rule.level}): {rule.statement}"
    yield f"sources: {'; '.join(rule.sources)}"
    if result.follows:
        yield f"follows: {result.follows}"
    groups: dict[tuple[object, ...], list[Verdict]] = {}
    for verdict in result.verdicts:
        if verdict.status in _SAID or verdict.status == result.status:
            key = (verdict.status, verdict.kind, verdict.reason, verdict.observed)
            groups.setdefault(key, []).append(verdict)
    for group in sorted(groups.values(), key=lambda group: group[0].badness):
        yield from _group(group)
    probes = {verdict.probe for verdict in result.verdicts}
    for crash in crashes:
        if crash.during in probes or probes.intersection(crash.also):
            yield f"on the console during {' or '.join(filter(None, (crash.during, *crash.also)))}: {crash.title}"
            yield from (f"    at {place}" for place in crash.places)
            yield from (f"    {line}" for line in crash.lines)


def _group(group: Sequence[Verdict]) -> Iterator[str]:
    first = group[0]
    what = f"{first.status} {first.kind}" if first.kind else first.status
    yield f"{what}: {first.reason}" if first.reason else what
    if first.observed:
        yield f"    observed: {first.observed}"
    yield from (f"    {verdict.probe}" for verdict in group)
