"""The site tells what is new first, has a page for each regression, and a feed of them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from harness.history.database import database_url, reading, writing
from harness.history.kernels import kernel_histories
from harness.history.queries import latest_results, runs
from harness.history.record import remember
from harness.history.regressions import keep
from harness.nightly.marks import NightRecord, write_mark
from harness.reports.feed import feed
from harness.reports.site import build_site
from harness.rules.load import load_catalogue
from harness.runs.model import RunDone
from tests.builders import cell, default_matrix, result, rule, run
from tests.support.histories import on_disk, regression

ATOM = "{http://www.w3.org/2005/Atom}"


def test_what_is_new_stands_first_and_each_regression_has_its_page(tmp_path: Path) -> None:
    done = on_disk(default_matrix(tmp_path / "r-00"), "r-00")
    assert remember(done.folder) == ""
    write_mark(
        done.folder, NightRecord(state="done", selection="nightly", news=("nightly r-00: 7 cells", "new: R1 <script>"))
    )
    with writing(database_url(tmp_path)) as connection:
        keep(connection, regression(rules=("munmap-across",), link="javascript:alert(1)"))
        keep(connection, regression(state="fixed", fixed_in="7.3.5"))
    with reading(database_url(tmp_path)) as connection:
        build_site(connection, tmp_path / "site", load_catalogue(), 10)
    index = (tmp_path / "site/index.html").read_text()
    assert index.index("Since last night") < index.index("Open regressions <small") < index.index("Trend")
    assert 'new: <a href="regressions/R1.html">R1</a> &lt;script&gt;' in index
    assert 'href="regressions/R1.html"' in index
    assert 'href="regressions/R2.html"' not in index
    page = (tmp_path / "site/regressions/R1.html").read_text()
    assert "sealmatrix run -k debian-7.3 -a x86_64 -r munmap/anon-rw/exact" in page
    assert 'href="../rules/munmap-across.html"' in page
    assert 'href="javascript:' not in page
    assert "fixed in 7.3.5" in (tmp_path / "site/regressions/R2.html").read_text()
    assert ElementTree.parse(tmp_path / "site/feed.xml").getroot().tag == f"{ATOM}feed"


def builds(folder: Path, name: str, **digests: str) -> RunDone:
    """A run of kernels of 7.3.4, each of its own digest, under the names given."""
    of = rule("munmap-across")
    pairs = []
    for number, (kernel, sha256) in enumerate(digests.items()):
        record = cell(kernel)
        assert record.kernel
        assert record.machine
        built = record.kernel.model_copy(update={"sha256": sha256, "version": "7.3.4"})
        machine = record.machine.model_copy(update={"release": "7.3.4-amd64"})
        answer = result(of, "fail", "was <unmapped>", "bypass") if number else result(of)
        pairs.append((record.model_copy(update={"kernel": built, "machine": machine}), [answer]))
    return on_disk(run(folder / name, pairs), name)


def site_of(results: Path) -> Path:
    with reading(database_url(results)) as connection:
        build_site(connection, results / "site", load_catalogue(), 10)
    return results / "site"


def test_each_kernel_has_a_page_and_two_of_one_release_are_two(tmp_path: Path) -> None:
    stock, mine = "a1" * 32, "b2" * 32
    for name in ("r-00", "r-01"):
        assert remember(builds(tmp_path, name, stock=stock, mine=mine).folder) == ""
    with writing(database_url(tmp_path)) as connection:
        keep(connection, regression(cells=("mine.x86_64",), good="7.3.3", first="7.3.4", last="7.3.4"))
    site = site_of(tmp_path)
    well, ill = (site / "kernels" / f"{digest[:16]}.html" for digest in (stock, mine))
    assert "No rule fails, and none is known to differ." in well.read_text()
    told = ill.read_text()
    assert "was &lt;unmapped&gt;" in told
    assert 'href="../runs/r-01/report.html#rule=munmap-across&amp;cell=mine.x86_64"' in told
    assert 'href="../regressions/R1.html"' in told
    assert "R1" not in well.read_text()
    assert f'href="../kernels/{mine[:16]}.html"' in (site / "regressions/R1.html").read_text()
    index = (site / "kernels/index.html").read_text()
    assert index.count("7.3.4-amd64") == 2
    assert "2 kernels" in index


def test_a_kernel_that_another_name_means_tonight_keeps_its_page(tmp_path: Path) -> None:
    assert remember(builds(tmp_path, "r-00", newest="a1" * 32).folder) == ""
    before = sorted(path.name for path in (site_of(tmp_path) / "kernels").iterdir())
    assert remember(builds(tmp_path, "r-01", newest="b2" * 32, old="a1" * 32).folder) == ""
    pages = sorted(path.name for path in (site_of(tmp_path) / "kernels").iterdir())
    assert set(before) <= set(pages)
    told = (tmp_path / "site/kernels" / f"{'a1' * 8}.html").read_text()
    assert "newest, old" in told
    assert "2 runs" in told


def test_kernels_are_listed_by_version_newest_first(tmp_path: Path) -> None:
    versions = ("6.9.7", "6.12.117", "6.12.43", "7.3-rc7", "7.3")
    pairs = []
    for number, version in enumerate(versions):
        record = cell(f"k{number}")
        assert record.kernel
        built = record.kernel.model_copy(update={"sha256": f"{number}" * 64, "version": version})
        pairs.append((record.model_copy(update={"kernel": built}), [result(rule("munmap-across"))]))
    assert remember(on_disk(run(tmp_path / "r-00", pairs), "r-00").folder) == ""
    with reading(database_url(tmp_path)) as connection:
        found = kernel_histories(connection)
    assert [one.version for one in found] == ["7.3", "7.3-rc7", "6.12.117", "6.12.43", "6.9.7"]


def test_a_repeat_is_no_cell_of_its_own_and_its_failure_counts(tmp_path: Path) -> None:
    first, again = cell("debian-7.3"), cell("debian-7.3").model_copy(update={"id": "debian-7.3.x86_64~2"})
    of, other = rule("munmap-across"), rule("munmap-head")
    pairs = [(first, [result(of), result(other)]), (again, [result(of, "fail", "r", "bypass"), result(other)])]
    assert remember(on_disk(run(tmp_path / "r-00", pairs), "r-00").folder) == ""
    with reading(database_url(tmp_path)) as connection:
        (line,) = runs(connection)
        assert line.cells == 1
        assert {status: number for status, number in line.counts.items() if number} == {"fail": 1, "pass": 1}
        assert latest_results(connection, "r-00") == [
            ("munmap-across", "munmap", "debian-7.3.x86_64", "fail"),
            ("munmap-head", "munmap", "debian-7.3.x86_64", "pass"),
        ]
        (kernel,) = kernel_histories(connection)
        assert [(s.rule, s.status, s.cell) for s in kernel.standing] == [
            ("munmap-across", "fail", "debian-7.3.x86_64~2"),
            ("munmap-head", "pass", "debian-7.3.x86_64"),
        ]


def test_a_rules_page_has_repeats_behind_their_cell_and_says_what_its_marks_mean(tmp_path: Path) -> None:
    first, again = cell("debian-7.3"), cell("debian-7.3").model_copy(update={"id": "debian-7.3.x86_64~2"})
    of = rule("munmap-across")
    pairs = [(first, [result(of)]), (again, [result(of, "fail", "r", "bypass")])]
    assert remember(on_disk(run(tmp_path / "r-00", pairs), "r-00").folder) == ""
    page = (site_of(tmp_path) / "rules/munmap-across.html").read_text()
    assert page.index('scope="row">debian-7.3.x86_64<') < page.index('scope="row">debian-7.3.x86_64~2<')
    assert "✗ fail, ✓ pass</small>" in page


def test_a_repeat_that_was_lost_makes_its_cell_unclean(tmp_path: Path) -> None:
    again = cell("debian-7.3", state="lost", reason="gone").model_copy(update={"id": "debian-7.3.x86_64~2"})
    pairs = [
        (cell("debian-7.3"), [result(rule("munmap-across"))]),
        (again, [result(rule("munmap-across"), "miss", "gone")]),
    ]
    assert remember(on_disk(run(tmp_path / "r-00", pairs), "r-00").folder) == ""
    with reading(database_url(tmp_path)) as connection:
        (line,) = runs(connection)
    assert (line.cells, line.unclean, line.counts["pass"], line.counts["miss"]) == (1, 1, 0, 1)


def test_ended_regressions_are_listed_beside_those_that_have_not(tmp_path: Path) -> None:
    assert remember(on_disk(default_matrix(tmp_path / "r-00"), "r-00").folder) == ""
    with writing(database_url(tmp_path)) as connection:
        keep(connection, regression())
        keep(connection, regression(state="fixed", fixed_in="7.3.5"))
    page = (site_of(tmp_path) / "regressions/index.html").read_text()
    assert page.index('href="R1.html"') < page.index("Ended") < page.index('href="R2.html"')
    assert "1 open regression<" in page


def test_the_feed_has_an_entry_for_each_event_newest_first() -> None:
    first = regression(number=1).told("2026-11-29T00:00:00+00:00", "n-2", "also on b")
    ended = regression(number=2).told(
        "2026-11-30T00:00:00+00:00", "n-3", "fixed in 7.3.5", state="fixed", fixed_in="7.3.5"
    )
    root = ElementTree.fromstring(feed([first, ended], "https://ci.example/pages"))
    entries = root.findall(f"{ATOM}entry")
    titles = [entry.findtext(f"{ATOM}title") or "" for entry in entries]
    told = [title.partition(":")[0] for title in titles]
    assert told == ["R2 fixed in 7.3.5", "R2 opened, confirmed", "R1 opened, confirmed"]
    assert root.findtext(f"{ATOM}updated") == "2026-11-30T00:00:00+00:00"
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == 3
    link = entries[0].find(f"{ATOM}link")
    assert link is not None
    assert link.get("href") == "https://ci.example/pages/regressions/R2.html"
    assert ElementTree.fromstring(feed([], "")).findall(f"{ATOM}entry") == []
