"""Bugs that are known are told as known, on the kernels that have them, and hide nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.explore.corpus import load_corpus
from harness.explore.exploration import Exploration
from harness.explore.known import load_known, parse_known
from harness.explore.program import Program, Step, parse_program
from harness.explore.record import EXPLORATION, ExplorationRecord, FindingRecord, read_exploration, record_of
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.verdicts import EXPLORE_RULES, judge_exploration, unexplored
from harness.model.rule import KernelFacts
from harness.model.run_record import CellRecord, ExploreRecord
from harness.model.stored_files import pack
from harness.model.verdict import Verdict
from harness.reports.explore import Explored, explored_json, explored_junit
from harness.reports.explore_text import explored_lines
from harness.runs.judging import explored_results
from tests.support.promising_kernel import MUNMAP, Memory, PromisingKernel

HAS_IT, HAS_IT_NOT = "6.16.3+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64"
UNMERGEABLE = next(kept.program for kept in load_corpus() if kept.name == "unmergeable")


def explored(kernel: PromisingKernel, release: str, programs: list[Program]) -> Explored:
    outcome = Exploration(1, release=release, arch="x86_64")
    Explorer(lambda: kernel, b"elf", lambda _text: None).explore(ProgramSource(1), 0.0, outcome, programs)
    return Explored("k", "x86_64", outcome)


def verdicts(one: Explored) -> dict[str, Verdict]:
    results = judge_exploration(record_of(one.outcome), one.outcome.kernel)
    return {verdict.probe: verdict for result in results for verdict in result.verdicts}


def test_a_kernel_that_has_a_known_bug_shows_it_as_known(tmp_path: Path) -> None:
    one = explored(PromisingKernel(tmp_path, drops_flags=True), HAS_IT, [UNMERGEABLE])
    (finding,) = one.outcome.findings
    assert finding.cause == "cve-2025-40040" and len(finding.program.steps) == 2
    assert one.exit_code == 0 and one.news == []
    text = "\n".join(explored_lines(one, tmp_path))
    assert "known as cve-2025-40040" in text and "1 known" in text and "no finding" not in text
    assert explored_json(one)["oracles"]["exactly-sealed"] == "known"
    (suite,) = ET.fromstring(explored_junit([one])).findall("testsuite")
    told = {case.get("name"): [child.tag for child in case] for case in suite.findall("testcase")}
    assert told.pop("explore-exactly-sealed") == ["skipped"]
    assert not {tag for tags in told.values() for tag in tags} - {"skipped"}
    known = verdicts(one)["end-cve-2025-40040/generated/exactly-sealed"]
    assert known.status == "known" and "CVE-2025-40040" in known.reason


def test_all_memory_can_be_made_mergeable_for_it_too() -> None:
    """Seen on 6.16.12: prctl(PR_SET_MEMORY_MERGE) in place of MADV_MERGEABLE."""
    (bug,) = load_known()
    steps = "merge_all on\nmadvise 0-0 unmergeable\nmremap 0-0 same"
    program = parse_program(f"window 1 x 1 page, usual: anon rw sealed\n{steps}")
    assert bug.involved(program)
    assert [str(step) for step in bug.without(program).steps] == ["merge_all on", "mremap 0-0 same"]
    assert not bug.involved(parse_program(str(program).replace("merge_all on", "merge_all off")))


def test_the_same_bug_elsewhere_is_a_finding(tmp_path: Path) -> None:
    one = explored(PromisingKernel(tmp_path, drops_flags=True), HAS_IT_NOT, [UNMERGEABLE])
    assert one.exit_code == 1 and len(one.news) == 1
    assert verdicts(one)["end-cve-2025-40040/generated/exactly-sealed"].status == "fail"


def test_a_known_bug_hides_no_other(tmp_path: Path) -> None:
    def defect(memory: Memory, step: Step) -> bool:
        return step.op == MUNMAP and step.units == 3

    one = explored(PromisingKernel(tmp_path, defect, drops_flags=True), HAS_IT, [UNMERGEABLE])
    (finding,) = one.news
    assert finding.problem.operation == "munmap" and finding.cause == ""
    assert [str(step) for step in finding.program.steps] == ["munmap 0-2"]
    assert one.exit_code == 1


def test_a_bug_that_is_gone_makes_its_entry_stale(tmp_path: Path) -> None:
    one = explored(PromisingKernel(tmp_path), HAS_IT, [UNMERGEABLE])
    stale = verdicts(one)["end/generated/exactly-sealed"]
    assert stale.status == "fixed" and "CVE-2025-40040" in stale.reason
    assert any(line.startswith("  fixed: ") for line in explored_lines(one, tmp_path))
    other = explored(PromisingKernel(tmp_path), HAS_IT_NOT, [UNMERGEABLE])
    assert verdicts(other)["end/generated/exactly-sealed"].status == "pass"


def test_each_entry_has_a_program_of_the_corpus_that_has_its_steps() -> None:
    corpus = {kept.name: kept.program for kept in load_corpus()}
    assert load_known()
    for bug in load_known():
        program = corpus[bug.corpus]
        assert bug.involved(program) and not bug.involved(bug.without(program))
    (cve,) = load_known()
    backwards = parse_program("window 1 x 1 page, usual: anon rw\nmadvise 0-0 unmergeable\nmadvise 0-0 mergeable")
    assert not cve.involved(backwards)
    for release, has_it in (("6.12.43", True), ("6.12.55", False), ("6.16.12", True), ("6.17.3", False)):
        assert (KernelFacts(release, "arm64", 4096) in cve) is has_it, release


@pytest.mark.parametrize(
    "text",
    ["known: [{id: a}]", "known: {", "known: [{id: A b, steps: [x], corpus: c, where: [{}], reason: r, source: s}]",
     "known: [{id: a, steps: [x], corpus: c, where: [{until: soon}], reason: r, source: s}]",
     "known: [{id: a, steps: [x], corpus: c, reason: r, source: s}]",
     "known: [{id: a, steps: [x], corpus: c, bug: cve-2025-4004, reason: r, source: s}]",
     "known: [{id: a, steps: [x], corpus: c, bug: cve-2025-40040, where: [{}], reason: r, source: s}]"],
)  # fmt: skip
def test_a_list_that_is_not_one_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_known(text)
    assert "\n" not in str(refused.value)


def finding(oracle: str, operation: str, text: str, step: int = 0) -> FindingRecord:
    return FindingRecord(oracle=oracle, operation=operation, step=step, child=False, text=text, clauses=("U1",),
                         program="window 1 x 1 page, usual: anon rw sealed\nmunmap 0-0", found_as="")  # fmt: skip


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (finding("refused", "munmap", "munmap answers 0 instead of EPERM"), "bypass"),
        (finding("refused", "munmap", "munmap answers EINVAL instead of EPERM"), "wrong-errno"),
        (finding("refused", "munmap", "munmap is refused and has changed plain memory: unit 1"), "not-atomic"),
        (finding("sealed-unchanged", "madvise", "unit 0: r--p a0 → r--p 00"), "bypass"),
        (finding("same-as-twin", "mlock", "mlock is refused with EPERM, and no seal forbids it"), "over-blocked"),
        (finding("console", "munmap", "the process is out of time"), "hang"),
        (finding("exactly-sealed", "end", "unit 0 was sealed, and in the end mprotect answers 0"), "seal-lost"),
    ],
)
def test_a_finding_is_a_failed_verdict_of_its_oracle(found: FindingRecord, kind: str) -> None:
    record = ExplorationRecord(seed=1, judged=9, asked={"munmap": 5, "madvise": 4, "mlock": 1}, findings=(found,))
    results = {result.rule.id: result for result in judge_exploration(record, None)}
    assert list(results) == list(EXPLORE_RULES)
    failed = results.pop(f"explore-{found.oracle}")
    assert (failed.status, failed.kind) == ("fail", kind) and "munmap 0-0" in failed.worst.reason
    assert {result.status for result in results.values()} <= {"pass", "skip"}


def test_what_was_not_explored_is_not_green(tmp_path: Path) -> None:
    for record in (ExplorationRecord(seed=1, lost="the guest went away"), ExplorationRecord(seed=1)):
        assert {result.status for result in judge_exploration(record, None)} == {"miss"}
    assert {result.status for result in unexplored("it never came up")} == {"miss"}
    some = ExplorationRecord(seed=1, judged=3, asked={"munmap": 3})
    told = {v.probe: v.status for result in judge_exploration(some, None) for v in result.verdicts}
    assert told["munmap/generated/refused"] == "pass" and told["mremap/generated/refused"] == "skip"
    broken = tmp_path / "exploration.json"
    broken.write_text('{"seed": "x"}')
    with pytest.raises(UsageError, match="seed"):
        read_exploration(broken)


@pytest.mark.parametrize("how", ["as it is", "packed"])
def test_an_exploration_taken_from_an_earlier_night_is_judged_as_one(tmp_path: Path, how: str) -> None:
    """Cells that are taken lie packed. They were told as not explored: a regression of 14 cells that was none."""
    record = ExplorationRecord(seed=1, judged=9, asked={"munmap": 5})
    path = tmp_path / EXPLORATION
    path.write_bytes(record.model_dump_json().encode())
    if how == "packed":
        assert pack(path) and not path.exists()
    assert read_exploration(path) == record
    cell = CellRecord(id="k", profile="standard", arch="x86_64", explore=ExploreRecord(seconds=60, seed=1))
    assert {result.status for result in explored_results(cell, tmp_path)} == {"pass", "skip"}
    assert {result.status for result in explored_results(cell, tmp_path / "nowhere")} == {"miss"}
