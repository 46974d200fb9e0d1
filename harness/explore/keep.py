"""What an exploration leaves on disk: ``exploration.json``, and each finding as a program to replay and as C."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from harness.errors import UsageError
from harness.explore.exploration import Exploration, ExploreFinding
from harness.explore.record import EXPLORATION, record_of
from harness.explore.reproducer import reproducer
from harness.kernels.store import telling
from harness.model.atomic_files import write_atomically
from harness.model.verdict import Verdict


def keep_exploration(folder: Path, outcome: Exploration) -> None:
    """Write them into a cell's folder. Raises ``StoreError``."""
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / EXPLORATION, (record_of(outcome).model_dump_json(indent=1) + "\n").encode())
        keep_findings(folder, outcome)


def keep_findings(folder: Path, outcome: Exploration) -> None:
    """Write each finding."""
    for number, finding in enumerate(outcome.findings, 1):
        _keep_finding(folder / f"finding-{number}", finding)


def found_program(folder: Path, verdict: Verdict) -> Path | None:
    """The file of the program that a verdict tells of."""
    said = f"# {verdict.rule.removeprefix('explore-')}: {verdict.observed}"
    for path in sorted(folder.glob("finding-*.txt")):
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text(encoding="utf-8").splitlines()[:1] == [said]:
                return path
    return None


def _keep_finding(path: Path, finding: ExploreFinding) -> None:
    """The program, to be replayed, and where it is no more than calls in a row, as C."""
    problem = finding.problem
    path.parent.mkdir(parents=True, exist_ok=True)
    said = f"# {problem.oracle}: {problem.text}\n{finding.program}\n"
    write_atomically(path.with_suffix(".txt"), said.encode())
    with suppress(UsageError):
        write_atomically(path.with_suffix(".c"), reproducer(finding.program, problem).encode())
