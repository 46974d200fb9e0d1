"""``show``: verdicts with both halves, and selections that select nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from harness.errors import UsageError
from harness.reports.listing import print_verdicts
from harness.runs.model import RunDone
from tests.builders import default_matrix

BEFORE = ["rw-p anon a0 a -", "rw-p anon a1 a s"]
OBSERVED = {
    "type": "observation",
    "probe": "munmap/anon-0/into",
    "layout": "pS",
    "unit": 4096,
    "microseconds": 2950,
    "control": {"stage": "done", "before": BEFORE, "result": 0, "errno": 0, "after": [BEFORE[0], "-"],
                "write": "w-", "mprotect": [0, 12], "munmap": [0, 0]},
    "sealed": {"stage": "done", "seal": [0], "before": BEFORE, "result": 0, "errno": 0, "after": [BEFORE[0], "-"],
               "write": "w-", "mprotect": [0, 12], "munmap": [0, 0], "extra": {"child": "gone"}},
}  # fmt: skip


@pytest.fixture
def done(tmp_path: Path) -> RunDone:
    folder = tmp_path / "cells" / "debian-7.3.x86_64"
    folder.mkdir(parents=True)
    (folder / "observations.jsonl").write_text(json.dumps(OBSERVED) + "\n")
    return default_matrix(tmp_path)


def shown(done: RunDone, **selection: str) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_verdicts(console, done, **selection)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_failure_is_shown_with_both_halves_and_their_windows(done: RunDone) -> None:
    text = shown(done, cell="debian-7.3.x86_64", status="fail")
    assert "✗ munmap-across (U1, required): 1 fail, 2 pass" in text
    assert "control 0; unit 1 was unmapped" in text
    assert "sealed  0; child gone; unit 1 was unmapped" in text
    assert "control S  rw-p anon a1 a s       -                       - 12 0" in text
    assert text.splitlines()[-1] == "1 verdict"


def test_without_a_journal_the_summary_is_shown(done: RunDone) -> None:
    text = shown(done, cell="debian-7.3.arm64", rule="munmap-across", status="fail")
    assert "control 0, sealed 0; unit 2 was unmapped" in text


def test_rules_come_worst_first_and_all_verdicts_are_there(done: RunDone) -> None:
    text = shown(done, cell="debian-7.3.arm64")
    assert text.splitlines()[-1] == f"{18 * 3} verdicts"
    assert text.index("munmap-across") < text.index("mprotect-mixed") < text.index("munmap-refused")


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"cell": "debian-9*"}, r"no cell of this run matches 'debian-9\*'"),
        ({"rule": "munmap-acros"}, "no rule .* .did you mean 'munmap-across'"),
        ({"status": "failed"}, "there is no status 'failed' .did you mean 'fail'"),
    ],
)
def test_a_selection_of_nothing_is_told(done: RunDone, selection: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        shown(done, **selection)


def test_no_verdict_of_a_status_is_no_error(done: RunDone) -> None:
    assert shown(done, status="miss").splitlines()[-1] == "0 verdicts"
