"""The site tells what is new first, has a page for each regression, and a feed of them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from harness.history.database import database_url, reading, writing
from harness.history.record import remember
from harness.history.regressions import keep
from harness.nightly.marks import Mark, write_mark
from harness.reports.feed import feed
from harness.reports.site import build_site
from harness.rules.load import load_catalogue
from tests.builders import default_matrix
from tests.unit.test_history import on_disk
from tests.unit.test_regressions import one

ATOM = "{http://www.w3.org/2005/Atom}"


def test_what_is_new_stands_first_and_each_regression_has_its_page(tmp_path: Path) -> None:
    done = on_disk(default_matrix(tmp_path / "r-00"), "r-00")
    assert remember(done.folder) == ""
    write_mark(done.folder, Mark(state="done", selection="nightly", news=("nightly r-00: 7 cells", "new: R1 <script>")))
    with writing(database_url(tmp_path)) as connection:
        keep(connection, one(rules=("munmap-across",), link="javascript:alert(1)"))
        keep(connection, one(state="fixed", fixed_in="7.3.5"))
    with reading(database_url(tmp_path)) as connection:
        build_site(connection, tmp_path / "site", load_catalogue(), 10)
    index = (tmp_path / "site/index.html").read_text()
    assert index.index("Since last night") < index.index("Regressions <small") < index.index("Trend")
    assert "new: R1 &lt;script&gt;" in index
    assert 'href="regressions/R1.html"' in index
    assert 'href="regressions/R2.html"' not in index
    page = (tmp_path / "site/regressions/R1.html").read_text()
    assert "sealmatrix run -k debian-7.3 -a x86_64 -r munmap/anon-rw/exact" in page
    assert 'href="../rules/munmap-across.html"' in page
    assert 'href="javascript:' not in page
    assert "fixed in 7.3.5" in (tmp_path / "site/regressions/R2.html").read_text()
    assert ElementTree.parse(tmp_path / "site/feed.xml").getroot().tag == f"{ATOM}feed"


def test_the_feed_has_an_entry_for_each_event_newest_first() -> None:
    first = one(number=1).told("2026-11-29T00:00:00+00:00", "n-2", "also on b")
    ended = one(number=2).told("2026-11-30T00:00:00+00:00", "n-3", "fixed in 7.3.5", state="fixed", fixed_in="7.3.5")
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
