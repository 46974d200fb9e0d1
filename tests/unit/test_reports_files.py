"""JUnit and JSON: valid for their readers whatever guests wrote, and never better news than the verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import junit_xml
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped
from lxml import etree

from harness.errors import StoreError
from harness.model.rule import KernelFacts
from harness.model.verdict import STATUSES, Kind, RuleResult, Status
from harness.reports.junit import classnames, one_line, suite, to_xml, xml_text
from harness.reports.markdown import markdown
from harness.reports.write import write_reports
from harness.runs.judging import verdicts_json
from harness.runs.model import RunDone
from harness.runs.summary import summary_json
from harness.verdicts.causes import causes
from tests.builders import OOPS, cell, default_matrix, lost_cell, result, rule, run

ROOT = Path(__file__).parents[2]
DIALECTS = {
    name: etree.XMLSchema(etree.parse(ROOT / "tests" / "data" / "junit" / f"{name}.xsd"))
    for name in ("jenkins", "gitlab")
}
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "docs/reference/verdicts.schema.json").read_text()))
HOSTILE = "\x00\x1b[2J ]]> <&\"' \U0001f480 \ud800 \ufffe \x85 \r\n" + "x" * 5000


def xml_of(done: RunDone, times: dict[str, int] | None = None) -> str:
    names = classnames(done.record.cells)
    return to_xml([suite(done, c, names[c.id], times or {}) for c in done.record.cells])


def valid(xml: str) -> etree._Element:
    """The document, after both dialects have taken it."""
    document = etree.fromstring(xml.encode("utf-8"))
    for name, schema in DIALECTS.items():
        assert schema.validate(document), f"{name}: {schema.error_log}"
    return document


def one(results: Sequence[RuleResult], **of: object) -> RunDone:
    return run(Path("r"), [(cell("debian-7.3", **of), results)])  # type: ignore[arg-type]


def test_the_default_matrix_is_valid_in_both_dialects_and_reads_back() -> None:
    done = default_matrix(Path("r"))
    xml = xml_of(done)
    valid(xml)
    read = JUnitXml.fromstring(xml.encode())
    assert (read.tests, read.failures, read.errors) == (5 * 18 + 2 * 4, 3, 1)  # on 6.1 without mseal, one case a family
    assert sum(s.skipped for s in read) == 1 + 2 * 4 + 2
    rules = {r.rule for r in done.results["debian-7.3.arm64"]}
    assert {case.name for s in read for case in s} == {r.id for r in rules} | {r.family for r in rules}
    properties = {p.name: p.value for p in next(iter(read)).properties()}
    assert properties["release"] == "6.1.117-cloud-x86_64"
    assert properties["kernel_sha256"] == "ab" * 32
    assert properties["acceleration"] == "tcg"
    assert {"run", "config_sha256", "payload_id", "payload_sha256", "page_size"} <= set(properties)


@pytest.mark.parametrize(
    ("status", "kind", "element", "kind_told"),
    [
        ("fail", "bypass", Failure, "bypass"),
        ("error", None, Error, "error"),
        ("miss", None, Error, "miss"),
        ("known", "not-atomic", Skipped, "skipped"),
        ("skip", None, Skipped, "skipped"),
        ("fixed", None, None, ""),
        ("pass", None, None, ""),
        ("observed", None, None, ""),
    ],
)
def test_how_a_status_is_told(status: Status, kind: Kind | None, element: type[Failure] | None, kind_told: str) -> None:
    # An empty reason is a defect elsewhere, and must not turn a failure into a pass here.
    xml = xml_of(one([result(rule("munmap-blocked"), status, "", kind)]))
    document = valid(xml) if status != "skip" else etree.fromstring(xml.encode())
    assert document.find("testsuite").get("timestamp") == "2026-11-23T21:45:01"
    (case,) = next(iter(JUnitXml.fromstring(xml.encode())))
    if element is None:
        assert case.is_passed
        assert bool(case.system_out) == (status != "pass")
    else:
        (told,) = case.result
        assert isinstance(told, element)
        assert told.type == kind_told
        assert told.message.startswith(status)


def test_a_failure_lists_every_failing_probe_and_quotes_the_console() -> None:
    broken = result(rule("mprotect-x", "mprotect"), "fail", "the kernel reported", "crash", probes=4)
    document = valid(xml_of(one([broken], crashes=[OOPS])))
    text = document.findtext(".//failure") or ""
    assert all(f"mprotect/anon-{i}/into" in text for i in range(4))
    assert OOPS.lines[0] in text
    assert "observed: control 0, sealed EPERM" in text
    message = document.find(".//failure").get("message")
    assert message == "fail crash: 4 of 4 probes; mprotect/anon-0/into: the kernel reported"


def test_a_failure_begins_with_its_cause_and_the_command_that_repeats_it() -> None:
    broken = result(rule("mprotect-x", "mprotect"), "fail", "why", "bypass", probes=4)
    text = valid(xml_of(one([broken]))).findtext(".//failure") or ""
    first, second, third = text.splitlines()[:3]
    assert first == "mprotect gets at sealed memory: every region and span (1 rule, 4 probes)"
    assert second == f"repeat: sealmatrix run -k debian-7.3 -a x86_64 -r {broken.worst.probe}"
    assert third == "page: report.html#rule=mprotect-x&cell=debian-7.3.x86_64"


@given(
    st.sampled_from(("fail", "error", "miss", "known", "skip")),
    st.integers(1, 300),
    st.text(st.characters() | st.sampled_from("<&\"'\n"), max_size=400),
)
def test_a_failure_stays_short_and_says_where_the_rest_is(status: Status, probes: int, reason: str) -> None:
    kind: Kind | None = "bypass" if status == "fail" else None
    broken = result(rule("mprotect-x", "mprotect"), status, reason or "why", kind, probes=probes)
    xml = xml_of(run(Path("r"), [(cell("debian-7.3"), [broken, *(result(rule(f"x-{i}")) for i in range(2))])]))
    name = {"fail": "failure", "known": "skipped", "skip": "skipped"}.get(status, "error")
    (whole,) = re.findall(rf"<{name} .*?</{name}>", xml, re.DOTALL)
    assert len(whole.encode()) <= 2048
    text = etree.fromstring(xml.encode()).findtext(f".//{name}") or ""
    assert all(v.probe in text for v in broken.verdicts) or text.endswith("--rule mprotect-x")
    if name != "skipped":
        assert (
            f"repeat: sealmatrix run -k debian-7.3 -a x86_64 -r {broken.worst.probe}\npage: report.html#rule=" in text
        )


def test_a_cell_without_mseal_that_was_observed_here_and_there_is_a_case_a_family_all_the_same() -> None:
    rules = [rule(f"{family}-{i}", family) for family in ("munmap", "mprotect") for i in range(5)]
    results = [result(r, "skip", "no mseal (ENOSYS)") for r in rules]
    seen = result(rule("args-32-bit", "arguments", "open"), "observed")
    xml = xml_of(run(Path("r"), [(cell("debian-6.1"), [*results, seen])]))
    (suite,) = JUnitXml.fromstring(xml.encode())
    assert [case.name for case in suite] == ["args-32-bit", "munmap", "mprotect"]
    assert len(xml) < 3000


def test_a_cell_that_never_booted_has_every_rule_as_an_error() -> None:
    rules = [rule(f"munmap-{i}") for i in range(5)]
    document = valid(xml_of(run(Path("r"), [lost_cell("debian-7.3", rules, "no kernel image")])))
    assert [e.get("type") for e in document.iterfind(".//error")] == ["miss"] * 5 + ["lost"]
    assert document.find("testsuite").get("errors") == "6"


def test_times_are_those_of_the_probes() -> None:
    probes = ["munmap/anon-0/into", "munmap/anon-1/into"]
    done = one([result(rule("munmap-a")), result(rule("mprotect-b", "mprotect"))])
    timed, untimed = valid(xml_of(done, dict.fromkeys(probes, 2500))).iterfind(".//testcase")
    assert float(timed.get("time")) == pytest.approx(0.005)
    assert untimed.get("time") is None
    assert float(valid(xml_of(done, dict.fromkeys(probes, 1))).find("testsuite").get("time")) > 0


def test_classnames_have_two_dots_and_never_collide() -> None:
    cells = [cell("a.b"), cell("a_b"), cell("a.b", "arm64"), cell("a.b", profile="no-force")]
    names = list(classnames(cells).values())
    assert names == ["sealmatrix.a_b.x86_64", "sealmatrix.a_b.x86_64-2", "sealmatrix.a_b.arm64",
                     "sealmatrix.a_b.x86_64-no-force"]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec=None), max_size=200), st.sampled_from(STATUSES))
@example(HOSTILE, "fail")
@example("]]>", "known")
@example("", "miss")
def test_hostile_text_stays_valid_xml(text: str, status: Status) -> None:
    kind: Kind | None = "bypass" if status == "fail" else None
    done = one([result(rule("munmap-a"), status, text, kind, observed=text)], reason=text, note=text, state="lost")
    document = valid(xml_of(done))
    *_, (told,) = document.iterfind(".//testcase[@name='cell']")
    assert (told.tag, told.get("type")) == ("error", "lost")
    told.getparent().remove(told)
    bad = [e for tag in ("failure", "error", "skipped") for e in document.iter(tag)]
    assert bool(bad) == (status in ("fail", "error", "miss", "known", "skip"))


@given(st.text(st.characters(codec=None)))
def test_sanitized_text_survives_xml(text: str) -> None:
    shown = xml_text(text)
    assert shown.isascii() or shown.encode("utf-8")
    assert xml_text(shown) == shown
    element = etree.Element("a")
    element.text = shown
    assert (etree.fromstring(etree.tostring(element)).text or "") == shown
    line = one_line(text)
    assert "\n" not in line
    assert len(line) <= 300


def test_write_reports_leaves_whole_files_and_nothing_else(tmp_path: Path) -> None:
    done = default_matrix(tmp_path)
    paths = write_reports(done)
    assert len(paths) == 7 + 3
    for path in paths:
        if path.suffix == ".xml":
            valid(path.read_text())
        elif path.suffix == ".json":
            SCHEMA.validate(json.loads(path.read_text()))
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(paths)
    assert write_reports(done) == paths


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cells").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        write_reports(default_matrix(tmp_path))


def test_both_verdicts_files_keep_to_the_schema() -> None:
    done = default_matrix(Path("r"))
    data = summary_json(done)
    SCHEMA.validate(data)
    assert data["exit_code"] == 1
    assert data["counts"]["fail"] == 3
    failing = {v.probe for found in done.results.values() for r in found for v in r.verdicts if v.status == "fail"}
    assert {probe for cause in data["causes"] for probe in cause["probes"]} == failing
    assert data["cells"][5]["rules"]["mprotect-mixed"]["kind"] == "crash"
    for record in done.record.cells:
        facts = KernelFacts("6.12.1", record.arch, 4096)
        SCHEMA.validate(json.loads(json.dumps(verdicts_json("id", record, facts, done.results[record.id]))))


def test_the_schema_refuses_a_failure_without_kind_and_a_skip_without_reason() -> None:
    for status, reason in (("fail", "because"), ("skip", "")):
        record = cell("k")
        data = verdicts_json("id", record, None, [result(rule("munmap-a"), status, reason)])  # type: ignore[arg-type]
        assert not SCHEMA.is_valid(json.loads(json.dumps(data)))


def test_every_field_of_the_schema_is_documented() -> None:
    told = (ROOT / "docs/reference/results.md").read_text()
    fields = {name for part in SCHEMA.schema["$defs"].values() for name in part.get("properties", {})}
    assert [name for name in sorted(fields) if f"`{name}`" not in told] == []


def test_causes_are_found_once_for_all_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = default_matrix(tmp_path)
    found: list[int] = []
    monkeypatch.setattr("harness.runs.model.causes", lambda results: found.append(len(results)) or causes(results))
    write_reports(done)
    summary_json(done)
    markdown(done)
    assert len(found) == len(done.record.cells)


def test_a_failure_names_its_page_and_a_cell_without_mseal_is_a_case_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_PAGES", "https://ci.example/pages/")
    xml = JUnitXml.fromstring(xml_of(default_matrix(Path("r"))).encode())
    suites = {suite.hostname: suite for suite in xml}
    failures = [
        case.result[0] for case in suites["debian-7.3.x86_64"] if case.result and isinstance(case.result[0], Failure)
    ]
    (text,) = [failure.text for failure in failures]
    assert "repeat: sealmatrix run -k debian-7.3" in text
    page = "https://ci.example/pages/runs/20261123-214500-3fa2/report.html#rule=munmap-across&cell=debian-7.3.x86_64"
    assert f"page: {page}" in text
    assert len(text.encode()) <= 2048
    old = list(suites["debian-6.1.x86_64"])
    assert [case.name for case in old] == ["munmap", "mmap-fixed", "mprotect", "madvise"]
    assert all(isinstance(case.result[0], Skipped) for case in old)


def test_sums_of_seconds_are_as_exact_as_their_cases() -> None:
    cases = [junit_xml.TestCase(str(seconds), "k", seconds) for seconds in (0.1, 0.2)]
    written = to_xml([junit_xml.TestSuite("k", cases), junit_xml.TestSuite("l", cases)])
    assert written.count('time="0.3000"') == 2
    assert '<testsuites disabled="0" errors="0" failures="0" tests="4" time="0.6000">' in written
