from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model.run_record import CellRecord
from harness.model.verdict import STATUSES
from harness.reports.kcidb import STATUSES as KCIDB_STATUSES
from harness.reports.kcidb import kcidb
from harness.reports.ktap import ktap
from harness.reports.markdown import code, markdown, text
from tests.builders import cell, default_matrix, fifty_cells, lost_cell, result, rule, run

kcidb_io = pytest.importorskip("kcidb_io", reason="kcidb-io is not installed (pip install kcidb-io)")

LINE = re.compile(r"(  )?(ok|not ok) (\d+) ([^#]+?)(?: # (SKIP|XFAIL|ERROR)(?: .*)?)?")
HOSTILE = "\x1b[2J| `a` <img src=x> @all #1 !2\nok 1 fake # SKIP\x00"


def test_ktap_counts_every_cell_and_every_rule(tmp_path: Path) -> None:
    done = default_matrix(tmp_path)
    lines = ktap(done).splitlines()
    assert lines[:2] == ["KTAP version 1", "1..7"]
    results = [match for line in lines if not line.lstrip().startswith("#") and (match := LINE.fullmatch(line))]
    cells = [match for match in results if not match[1]]
    assert [match[4] for match in cells] == [c.id for c in done.record.cells]
    assert {match[4]: match[2] for match in cells}["debian-7.3.x86_64"] == "not ok"
    rules = [match for match in results if match[1]]
    assert len(rules) == sum(len(found) for found in done.results.values())
    assert {(m[2], m[5]) for m in rules} == {
        ("ok", None), ("ok", "SKIP"), ("ok", "XFAIL"), ("not ok", None), ("not ok", "ERROR"),
    }  # fmt: skip
    assert len(results) + sum(line.startswith(("  #", "  KTAP", "  1..")) for line in lines) + 2 == len(lines)


def test_ktap_of_a_kernel_that_never_came_up() -> None:
    rules = [rule("a"), rule("b")]
    lines = ktap(run(Path("r"), [lost_cell("debian-7.3", rules, "panic: no init")])).splitlines()
    assert "  # lost: panic: no init" in lines
    assert "  not ok 1 a # ERROR panic: no init" in lines
    assert lines[-1] == "not ok 1 debian-7.3.x86_64"


def test_ktap_takes_nothing_a_guest_said_for_a_result() -> None:
    found = [result(rule("a"), "fail", HOSTILE, "bypass"), result(rule("b"), "skip", HOSTILE)]
    lines = ktap(run(Path("r"), [(cell("debian-7.3", reason=HOSTILE), found)])).splitlines()
    assert [line for line in lines if line.strip().startswith("ok 1")] == []
    assert not any("\x1b" in line or "\0" in line for line in lines)


def test_markdown_says_the_worst_first(tmp_path: Path) -> None:
    done = default_matrix(tmp_path)
    page = markdown(done)
    assert page.startswith("## ✗ Memory sealing: 3 fail, ")
    assert "| `munmap-across` |" in page
    causes, _, rest = page.partition("| rule |")
    assert "### What failed, by cause" in causes
    assert "**munmap no longer looks at the seal: in 1 of 3 probes (1 rule)**" in causes
    assert "on debian-7.3 (x86\\_64, arm64)" in causes
    assert "repeat: `sealmatrix run -k debian-7.3 -a x86_64 -r munmap/" in causes
    widths = {line.count("|") for line in ("| rule |" + rest).split("\n\n")[0].splitlines()}
    assert len(widths) == 1


def test_markdown_of_many_cells_has_only_the_columns_that_differ(tmp_path: Path) -> None:
    page = markdown(fifty_cells(tmp_path, "munmap-2", "madvise-0"))
    (head,) = (line for line in page.splitlines() if line.startswith("| rule |"))
    assert head == "| rule | debian-6.12.43<br>x86\\_64 | debian-6.12.67<br>arm64 |"
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == ["| `munmap-2` | ✓ | ✗ bypass |", "| `madvise-0` | ✓ | ✗ bypass |"]
    assert "- 48 cells like **debian-6.12.43 x86\\_64**: debian-6.12.43" in page
    assert "- ✓ pass on each of 50 cells: 18 rules of munmap, mprotect, madvise, mremap" in page
    assert len(page) < 8000


def test_markdown_of_many_cells_that_agree_is_a_few_lines(tmp_path: Path) -> None:
    page = markdown(fifty_cells(tmp_path)).partition("<details>")[0]
    assert "- 49 cells like **debian-6.12.43 x86\\_64**" in page
    assert "- ✓ pass on each of 50 cells: 20 rules" in page
    assert len(page.splitlines()) < 10


def test_markdown_says_what_is_new_above_what_failed(tmp_path: Path) -> None:
    page = markdown(default_matrix(tmp_path), ("nightly r: 7 cells", "new: R7 @all munmap"))
    assert page.index("### Since last night") < page.index("- new: R7 &#64;all munmap") < page.index("### What failed")


def test_markdown_tells_kernels_without_mseal_together(tmp_path: Path) -> None:
    page = markdown(default_matrix(tmp_path))
    assert page.count("ENOSYS") == 1
    assert "- **debian-6.1 (x86\\_64, arm64)**: 18 of 18 rules skip: no mseal (ENOSYS)" in page


def test_markdown_renders_what_a_guest_said_as_it_is() -> None:
    found = [result(rule("a"), "fail", HOSTILE, "bypass")]
    page = markdown(run(Path("r"), [(cell("debian-7.3", reason=HOSTILE), found)]))
    assert "<img" not in page
    assert "@all" not in page
    assert "\n" not in text(HOSTILE)
    assert code("a`b|c") == "`a'b¦c`"


@pytest.mark.parametrize("origin", ["sealmatrix", "my_lab2"])
def test_kcidb_is_valid(tmp_path: Path, origin: str) -> None:
    done = default_matrix(tmp_path)
    report = kcidb(done, origin)
    version = kcidb_io.schema.V5_3
    assert version.is_compatible_exactly(report)
    version.validate(report)
    assert len(report["tests"]) == sum(len(found) for found in done.results.values())
    assert {incident["test_id"] for incident in report["incidents"]} <= {test["id"] for test in report["tests"]}
    assert {test["build_id"] for test in report["tests"]} <= {build["id"] for build in report["builds"]}


def test_kcidb_of_hostile_and_missing_kernels_is_valid() -> None:
    gone = CellRecord(id="debian-7.0.arm64", profile="standard", arch="arm64", state="lost", reason=HOSTILE)
    found = [result(rule("a"), "miss", HOSTILE)]
    report = kcidb(run(Path("r"), [(gone, found), (cell("k", reason=HOSTILE), [result(rule("a"), "known", HOSTILE)])]))
    kcidb_io.schema.V5_3.validate(report)
    assert report["builds"][0]["status"] == "MISS"
    assert [test["status"] for test in report["tests"]] == ["MISS", "ERROR", "FAIL"]


def test_every_status_has_a_word_of_kcidb() -> None:
    assert set(KCIDB_STATUSES) == set(STATUSES)


@pytest.mark.parametrize("origin", ["", "My Lab", "a:b", "a\n"])
def test_an_origin_that_kcidb_refuses_is_refused(tmp_path: Path, origin: str) -> None:
    with pytest.raises(UsageError, match="no KCIDB origin"):
        kcidb(default_matrix(tmp_path), origin)
