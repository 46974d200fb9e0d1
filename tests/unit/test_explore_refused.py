"""Exploring a kernel on which mseal itself fails: from before mseal there is nothing to ask, else it is a failure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from errno import EACCES, EINVAL, ENOSYS, EPERM
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.bisect import program as bisect_program
from harness.explore.corpus import load_corpus
from harness.explore.exploration import Exploration
from harness.explore.record import record_of
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.verdicts import judge_exploration
from harness.matrix.model import Profile
from harness.model.verdict import Status
from harness.mutants.exploring import summary
from harness.reports.explore import Explored, explored_json, explored_junit
from harness.reports.explore_text import explored_lines
from tests.support.promising_kernel import PromisingKernel

OLD, NEW, UNKNOWN = "6.9.12", "7.3.4+deb13-cloud-amd64", "mine"
CORPUS = [kept.program for kept in load_corpus()][:3]


def explored(folder: Path, error: int, release: str) -> Explored:
    kernel = PromisingKernel(folder, mseal=error)
    outcome = Exploration(1, release=release, arch="x86_64")
    Explorer(lambda: kernel, b"elf", lambda text: None).explore(ProgramSource(1), 60.0, outcome, CORPUS)
    return Explored("k", "x86_64", outcome)


def statuses(one: Explored) -> dict[str, Status]:
    return {r.rule.id: r.status for r in judge_exploration(record_of(one.outcome), one.outcome.kernel)}


@pytest.mark.parametrize(
    ("error", "release", "says"),
    [(error, release, "(0, 0, 0) answers E") for error in (EPERM, EACCES, EINVAL) for release in (OLD, NEW, UNKNOWN)]
    + [(ENOSYS, NEW, "no mseal (ENOSYS), which every 64-bit kernel since 6.10 has")],
)
def test_a_kernel_that_has_to_have_mseal_and_refuses_it_fails(
    tmp_path: Path, error: int, release: str, says: str
) -> None:
    one = explored(tmp_path, error, release)
    told = statuses(one)
    assert told.pop("explore-answer") == "fail"
    assert set(told.values()) == {"miss"}
    assert one.exit_code == 1 and not one.skipped and one.outcome.judged == 0
    (line,) = explored_lines(one, tmp_path)
    assert ": failed: " in line and says in line
    assert explored_json(one)["oracles"]["answer"] == "fail"
    (suite,) = ET.fromstring(explored_junit([one])).findall("testsuite")
    cases = {case.get("name"): [child.tag for child in case] for case in suite.findall("testcase")}
    assert cases.pop("explore-answer") == ["failure"] and set(map(tuple, cases.values())) == {("error",)}
    mutant = summary(one.outcome)
    assert says in mutant.failed["explore-answer"] and not (mutant.passed or mutant.skipped)


def test_a_kernel_from_before_mseal_is_skipped(tmp_path: Path) -> None:
    one = explored(tmp_path, ENOSYS, OLD)
    assert set(statuses(one).values()) == {"skip"} and one.skipped and one.exit_code == 0
    assert [line.partition(": ")[2] for line in explored_lines(one, tmp_path)] == ["skipped: no mseal (ENOSYS)"]
    assert len(summary(one.outcome).skipped) == len(statuses(one))


def test_without_mseal_and_without_a_version_there_is_no_answer(tmp_path: Path) -> None:
    one = explored(tmp_path, ENOSYS, UNKNOWN)
    assert set(statuses(one).values()) == {"miss"} and one.exit_code == 3
    assert summary(one.outcome).lost == "no mseal (ENOSYS), and the kernel did not tell its version"


@pytest.mark.parametrize(("error", "release", "trouble"), [(ENOSYS, OLD, "skip"), (ENOSYS, NEW, "no-answer"),
                                                            (EPERM, NEW, "no-answer")])  # fmt: skip
def test_a_search_skips_only_kernels_from_before_mseal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, release: str, trouble: str
) -> None:
    guest = PromisingKernel(tmp_path, mseal=error)
    monkeypatch.setattr(PromisingKernel, "boot", lambda self: None)
    monkeypatch.setattr(bisect_program, "QemuGuest", lambda *_: guest)
    elf = tmp_path / "payload"
    elf.write_bytes(b"elf")
    asker = bisect_program.program_asker(
        str(CORPUS[0]),
        SimpleNamespace(path=elf),
        Profile("p"),
        tmp_path,
        acceleration="tcg",
        scale=1.0,  # type: ignore[arg-type]
    )
    kernel = SimpleNamespace(release=release, arch="x86_64", version="")
    answer = asker.ask(kernel, tmp_path)  # type: ignore[arg-type]
    assert answer.trouble == trouble
    assert trouble or (answer.seen is not None and answer.seen.status == "skip")
