"""Reports name the published bugs of a run's kernels, and whether the run saw them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from rich.console import Console

from harness.history.database import database_url, reading
from harness.history.record import remember
from harness.model.run_record import CellRecord
from harness.model.verdict import RuleResult
from harness.reports.markdown import markdown
from harness.reports.page import page_html
from harness.reports.site import build_site
from harness.reports.terminal import print_run
from harness.rules.load import load_catalogue
from harness.runs.model import RunDone
from harness.runs.published_bugs import by_bug, published_bugs
from harness.runs.summary import summary_json
from tests.builders import cell, result, rule, run
from tests.support.histories import on_disk

RULE = rule("after-mergeable-unmergeable", "sequences")

OUTSIDE = "the record is of 2026-11-29, when 7.3 was the newest release"


def of_version(name: str, version: str) -> CellRecord:
    record = cell(name)
    assert record.kernel
    digest = sha256(name.encode()).hexdigest()
    return record.model_copy(update={"kernel": record.kernel.model_copy(update={"version": version, "sha256": digest})})


def night(folder: Path) -> RunDone:
    """A kernel with the bug, one whose distribution fixed it, one that was not asked, and two the record does not know
    or has nothing of."""
    pairs: list[tuple[CellRecord, Sequence[RuleResult]]] = [
        (of_version("old", "6.17.2"), [result(RULE, "known", "known: CVE", "bypass")]),
        (of_version("mended", "6.17.2"), [result(RULE)]),
        (of_version("unasked", "6.17.2"), [result(rule("munmap-a"))]),
        (of_version("newest", "7.3.4"), [result(RULE)]),
        (of_version("future", "99.99"), [result(RULE)]),
    ]
    return run(folder, pairs)


def printed(done: RunDone, *, every: bool = False) -> str:
    raw = io.StringIO()
    print_run(Console(file=raw, width=1000), done, every=every)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("kernel", "says"),
    [
        ("old", "cve-2025-40040 (seen here by rule after-mergeable-unmergeable)"),
        ("mended", "cve-2025-40040 (not seen here by rule after-mergeable-unmergeable, so it may be fixed)"),
        ("unasked", "cve-2025-40040 (seen by rule after-mergeable-unmergeable; exploration: "),
        ("old", "cve-2026-23077 (no test of ours sees it: "),
    ],
)
def test_each_kernel_has_its_bugs_and_what_the_run_saw(kernel: str, says: str) -> None:
    sentence = published_bugs(night(Path("r")))[f"{kernel}.x86_64"].sentence
    assert sentence.startswith("affected, going by the version: ")
    assert says in sentence


def test_what_the_record_does_not_cover_is_not_said_to_have_none() -> None:
    found = published_bugs(night(Path("r")))
    assert found["newest.x86_64"].sentence == ""
    assert found["future.x86_64"].sentence == f"not known which published bugs it has: {OUTSIDE}"
    told = {part["cell"]: part["published_bugs"] for part in summary_json(night(Path("r")))["cells"]}
    assert told["future.x86_64"] == {"version": "99.99", "covered": False, "affected_by_published_range": []}
    assert told["newest.x86_64"] == {"version": "7.3.4", "covered": True, "affected_by_published_range": []}
    ids = [bug["id"] for bug in told["old.x86_64"]["affected_by_published_range"]]
    assert "cve-2025-40040" in ids


def test_the_terminal_says_it_of_each_kernel() -> None:
    text = printed(night(Path("r")))
    (line,) = (
        line for line in text.splitlines() if line.startswith("  old (x86_64): affected, going by the version: ")
    )
    assert "cve-2025-40040 (seen here by rule after-mergeable-unmergeable)" in line
    assert f"  future (x86_64): not known which published bugs it has: {OUTSIDE}" in text


def test_the_terminal_says_it_of_each_bug_where_kernels_are_many() -> None:
    pairs = [(of_version(f"k{n}", "6.17.2"), [result(RULE, "known", "known: CVE", "bypass")]) for n in range(20)]
    text = printed(run(Path("r"), pairs))
    lines = [line for line in text.splitlines() if "affected, going by the version" in line]
    assert len(lines) == len(by_bug(published_bugs(run(Path("r"), pairs))))
    assert "  all 20 cells: affected, going by the version: cve-2025-40040 (seen here by rule" in text


def test_markdown_and_page_say_it() -> None:
    told = markdown(night(Path("r")))
    (row,) = (line for line in told.splitlines() if line.startswith("| old x86"))
    assert "cve-2025-40040" in row
    assert "(seen here by rule after-mergeable-unmergeable)" in told
    (row,) = (line for line in told.splitlines() if line.startswith("| future x86"))
    assert f"not known: {OUTSIDE}" in row
    page = page_html(night(Path("r")))
    assert "affected, going by the version: " in page
    assert "cve-2025-40040 (seen here by rule after-mergeable-unmergeable)" in page


def test_the_kernels_page_of_the_site_says_it(tmp_path: Path) -> None:
    done = on_disk(night(tmp_path / "r-00"), "r-00")
    assert remember(done.folder) == ""
    with reading(database_url(tmp_path)) as connection:
        build_site(connection, tmp_path / "site", load_catalogue(), 10)
    pages = {path.name: path.read_text() for path in (tmp_path / "site/kernels").iterdir() if path.name != "index.html"}
    assert len(pages) == 5
    (old,) = (text for text in pages.values() if "<span>old</span>" in text)
    assert "affected, going by the version: <b>cve-2025-40040</b>" in old
    assert "(seen here by rule after-mergeable-unmergeable)" in old
    (newest,) = (text for text in pages.values() if "<span>newest</span>" in text)
    assert "Published bugs" not in newest
    (future,) = (text for text in pages.values() if "<span>future</span>" in text)
    assert f"Not known: {OUTSIDE}." in future
