"""Regressions in the forms other tools read: JUnit, KCIDB, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from junit_xml import TestCase, TestSuite

from harness.history.regressions import LIVING, OPEN, Regression
from harness.nightly.messages import repeating
from harness.reports.junit import one_line, to_xml, xml_text


def regressions_json(found: Sequence[Regression]) -> dict[str, Any]:
    """As plain data, schema version 1."""
    return {"schema_version": 1, "regressions": [{"name": one.name, **asdict(one)} for one in found]}


def regressions_xml(found: Sequence[Regression]) -> str:
    """One case a regression: an open one fails, a known one is skipped, the others pass."""
    cases = []
    for one in found:
        case = TestCase(one.name, "sealmatrix.regressions")
        text = xml_text("\n".join((one.sentence, f"on {', '.join(one.cells)}", f"since {one.first}, not in {one.good}",
                                   *(f"$ {line}" for line in repeating(one)))))  # fmt: skip
        if one.state in OPEN:
            case.add_failure_info(one_line(f"{one.state}: {one.sentence}"), text, one.kind)
        elif one.state == "known":
            case.add_skipped_info(one_line(f"known: {one.sentence} {one.link}".strip()), text)
        else:
            case.stdout = text
        cases.append(case)
    return to_xml([TestSuite("sealmatrix.regressions", cases, package="sealmatrix")])


def regressions_kcidb(found: Sequence[Regression], origin: str = "sealmatrix") -> dict[str, Any]:
    """KCIDB 5.3: an issue for each living regression; the version counts what has happened to it."""
    issues = [
        {
            "id": f"{origin}:{one.name}",
            "version": max(len(one.events), 1),
            "origin": origin,
            "culprit": {"code": True, "tool": False, "harness": False},
            "comment": f"{one.sentence}, on {', '.join(one.cells)}, since {one.first}",
            "misc": {"state": one.state, "kind": one.kind, "rules": list(one.rules), "bisected": one.bisected},
            **({"report_url": one.link} if one.link.startswith("http") else {}),
        }
        for one in found
        if one.state in LIVING
    ]
    return {"version": {"major": 5, "minor": 3}} | ({"issues": issues} if issues else {})
