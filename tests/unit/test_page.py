"""The page: everything is in it once, nothing that a guest wrote can run, and it stays small."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.model.run_record import read_run, write_run
from harness.nightly.marks import NightRecord, write_mark
from harness.observations.stream import parse_line
from harness.reports.page import Sightings, page_html
from harness.reports.page.columns import columns
from harness.reports.page.console import during, excerpts
from harness.reports.page.facts import lay_out
from harness.reports.page.render import headline, script_json
from harness.reports.page.timeline import timelines
from harness.reports.write import write_page, write_reports
from harness.runs.cells import upstream_version
from harness.runs.commands import repeat_command
from harness.runs.model import RunDone
from tests.builders import OOPS, cell, default_matrix, lost_cell, result, rule, run

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \x00\x1b[2J \ud800 ]]> \u2028"
HALF = {"stage": "done", "before": ["rw-p anon a0 a -"], "result": 0, "errno": 0, "after": ["rw-p anon a0 a -"],
        "write": "w", "mprotect": [0], "munmap": [0]}  # fmt: skip


def line(probe: str, microseconds: int = 7, **sealed: object) -> str:
    facts = {"type": "observation", "probe": probe, "layout": "S", "unit": 4096, "microseconds": microseconds,
             "control": HALF, "sealed": HALF | {"seal": [0]} | sealed}  # fmt: skip
    return json.dumps(facts, separators=(",", ":"))


class Elements(HTMLParser):
    """What a browser would make of the page: every start tag, and the text of scripts by id."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id") or "code"

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


def parsed(page: str) -> Elements:
    found = Elements()
    found.feed(page)
    return found


def data(page: str) -> tuple[dict[str, Any], dict[str, Any]]:
    scripts = parsed(page).scripts
    return json.loads(scripts["outline"]), json.loads(zlib.decompress(base64.b64decode(scripts["evidence"])))


def test_every_rule_and_cell_is_in_the_table_with_its_status_in_words() -> None:
    done = default_matrix(Path("r"))
    found = parsed(page_html(done))
    tiles = [attrs for tag, attrs in found.tags if tag == "td" and attrs.get("role") == "gridcell"]
    assert len(tiles) == 7 * 18
    assert sum(t["class"] == "fail" for t in tiles) == 3
    assert {t["aria-label"] for t in tiles} >= {
        "fail bypass",
        "fail crash",
        "pass",
        "skip",
        "known not-atomic",
        "fixed",
    }
    scopes = [attrs.get("scope") for tag, attrs in found.tags if tag == "th"]
    assert scopes.count("row") >= 18
    assert None not in scopes


def test_nothing_is_loaded_from_anywhere() -> None:
    page = page_html(default_matrix(Path("r")))
    found = parsed(page)
    assert [a for _, a in found.tags if "src" in a] == []
    assert all((a["href"] or "").startswith(("#", "data:")) for _, a in found.tags if "href" in a)
    assert "://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", page)
    (policy,) = [a["content"] or "" for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy"]
    code = base64.b64encode(sha256(found.scripts["code"].encode()).digest()).decode()
    assert f"script-src 'sha256-{code}'" in policy
    assert "default-src 'none'" in policy


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec=None), max_size=80))
@example(HOSTILE)
@example("<!--<script>")
@example("{{ 7*7 }}{% raw %}")
def test_hostile_text_adds_no_element(text: str) -> None:
    calm, wild = (
        parsed(page_html(run(Path("r"), [(cell("k", reason=t, state="lost", note=t, crashes=[
            OOPS.model_copy(update={"title": t, "lines": (t,)})]),
            [result(rule("munmap-a"), "fail", t, "bypass", observed=t)])])))
        for t in ("calm", text)
    )  # fmt: skip
    assert [tag for tag, _ in wild.tags] == [tag for tag, _ in calm.tags]
    assert not any(name.startswith("on") for _, attrs in wild.tags for name in attrs)
    outline = json.loads(wild.scripts["outline"])
    assert text.encode("utf-8", "replace") in [v[2].encode("utf-8", "replace") for v in outline["verdicts"]]


def test_the_page_is_utf8_whatever_is_in_it() -> None:
    page_html(run(Path("r"), [lost_cell("k", [rule("a")], HOSTILE)])).encode("utf-8")


@given(st.text())
def test_script_json_reads_back_and_cannot_end_its_element(text: str) -> None:
    told = script_json([text])
    assert json.loads(told) == [text]
    assert "<" not in told


def test_observations_are_kept_once_and_found_for_every_cell(tmp_path: Path) -> None:
    rules = [rule("munmap-a")]
    done = run(tmp_path, [(cell(name), [result(rules[0])]) for name in ("a", "b")])
    for name in ("a", "b"):
        folder = tmp_path / "cells" / f"{name}.x86_64"
        folder.mkdir(parents=True)
        probes = [
            line("munmap/anon-0/into"),
            line("munmap/anon-1/into", 9),
            line("munmap/anon-2/into", errno=1, result=-1),
        ]
        (folder / "observations.jsonl").write_text("\n".join(probes) + "\n")
    write_reports(done)
    outline, large = data((tmp_path / "report.html").read_text())
    assert len(large["observations"]) == 2
    assert large["probes"] == [f"munmap/anon-{i}/into" for i in range(3)]
    assert large["seen"] == [[0, 0, 1], [0, 0, 1]]
    assert large["judged"][0][0] == large["judged"][0][1]
    assert outline["kernels"][0]["repeat"] == "sealmatrix run -k a -a x86_64"


def test_journals_in_any_form_read_the_same(tmp_path: Path) -> None:
    quick, slow = line("a"), json.dumps(json.loads(line("b")), indent=None, separators=(", ", ": "))
    twice = line("c").replace('"unit":4096', '"unit":4096,"probe":"a"').encode()
    path = tmp_path / "j"
    good = [quick.encode(), slow.encode(), line("a", 9).encode()]
    bad = [b"\xff", b'{"type":"observation"}', line("x", sealed=1).encode(), twice, quick.encode()[:90]]
    path.write_bytes(b"\n".join([*bad[:2], *good, *bad[2:]]))
    found = Sightings()
    assert dict(found.read("cell", path)) == {"a": 7, "b": 7}
    assert found.of(["cell", "another"], ["a", "b", "c", "x"]) == [[0, 0, -1, -1], [-1] * 4]
    assert len(found.distinct) == 1
    assert dict(found.read("gone", tmp_path / "no")) == {}


def test_each_distinct_observation_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a probe was observed again, or took no time at all: that made the whole journal be parsed."""
    parsed: list[bytes] = []

    def counted(data: bytes) -> object:
        parsed.append(data)
        return parse_line(data)

    monkeypatch.setattr("harness.reports.page.seen.parse_line", counted)
    again = line("a", 9, errno=1, result=-1).replace('"control":', '"again":true,"control":')
    path = tmp_path / "j"
    path.write_text("\n".join([line("a"), line("b"), line("c", 0), again]) + "\n")
    found = Sightings()
    for cell_id in ("one", "two"):
        assert dict(found.read(cell_id, path)) == {"a": 7, "b": 7}
    assert found.of(["one", "two"], ["a", "b", "c"]) == [[0, 0, 0], [0, 0, 0]]
    assert len(parsed) == 2


def test_a_second_probe_hidden_in_a_line_is_not_believed(tmp_path: Path) -> None:
    hidden = line("a").replace('"control":', '"probe":"b","control":')
    path = tmp_path / "j"
    path.write_text(hidden + "\n")
    found = Sightings()
    found.read("cell", path)
    assert found.of(["cell"], ["a", "b"]) == [[-1, -1]]


def test_a_nightly_run_stays_under_three_megabytes(tmp_path: Path) -> None:
    rules = [rule(f"munmap-{i}") for i in range(100)]
    done = run(tmp_path, [(cell(f"k-{i}"), [result(r, probes=40) for r in rules]) for i in range(25)])
    found = Sightings()
    path = tmp_path / "j"
    path.write_text("\n".join(line(f"munmap/anon-{i}/into", extra={"place": i}) for i in range(4000)) + "\n")
    for record in done.record.cells:
        found.read(record.id, path)
    assert len(page_html(done, found).encode()) < 3_000_000


def test_the_columns_of_a_cell_and_of_its_repeat_are_told_apart() -> None:
    cells = [cell("debian-6.12"), cell("debian-6.12").model_copy(update={"id": "debian-6.12.x86_64~2"})]
    repeated = run(Path("r"), [(one, [result(rule("munmap-blocked"), "pass")]) for one in cells])
    page = page_html(repeated)
    heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page)
    told = [re.sub(r"<[^>]+>", "", head).split() for head in heads]
    assert ["#2" in words for words in told].count(True) == 1
    assert len({tuple(words) for words in told}) == len(told)


def test_columns_go_by_architecture_and_version() -> None:
    names = ["debian-6.12.43", "debian-6.12.117", "debian-6.9.7", "debian-7.3"]
    pairs = [(cell(n, a).model_copy(), []) for n in names for a in ("arm64", "x86_64")]
    done = run(Path("r"), pairs)  # type: ignore[arg-type]
    order = [c.cell.id for c in columns(done.record)]
    assert order[:4] == [f"{n}.x86_64" for n in ("debian-6.9.7", "debian-6.12.43", "debian-6.12.117", "debian-7.3")]


@pytest.mark.parametrize(
    ("packages", "version"),
    [
        ((("linux-image-6.1.0-50-cloud-amd64", "6.1.176-1", "0"),), "6.1.176"),
        ((("linux-base-7.3", "4.9", "0"), ("linux-binary-7.3.4", "7.3.4-1~bpo13+1", "0")), "7.3.4"),
        ((("linux-image-rc", "7.3~rc7-1~exp1", "0"),), "7.3-rc7"),
        ((), "6.12.117"),
    ],
)
def test_versions_are_upstreams(packages: tuple[tuple[str, str, str], ...], version: str) -> None:
    record = cell("debian-6.12")
    assert record.kernel
    record = record.model_copy(update={"kernel": record.kernel.model_copy(update={"packages": packages})})
    assert upstream_version(record) == version
    assert record.kernel
    told = record.model_copy(update={"kernel": record.kernel.model_copy(update={"version": "6.18.2"})})
    assert upstream_version(told) == "6.18.2"


def test_the_command_that_repeats_a_cell() -> None:
    done = default_matrix(Path("r"))
    other = done.record.model_copy(update={"command": ("sealmatrix", "run", "-f", "my matrix.yaml")})
    assert repeat_command(other, cell("k", "arm64", profile="no-pkeys")) == (
        "sealmatrix run -k k -a arm64 -p no-pkeys -f 'my matrix.yaml'"
    )


def test_headlines_are_never_better_than_the_verdicts() -> None:
    done = default_matrix(Path("r"))
    assert headline(done).startswith("2 rules fail on 2 of 7 cells; 1 rule gave an error on 1 of 7 cells")
    rules = [rule("a")]
    one = run(Path("r"), [(cell("k"), [result(rules[0])])])
    assert headline(one) == "No rule fails."
    assert "<span>1 cell</span>\n    <span>1 rule</span>" in page_html(one)
    assert "did not finish" in headline(run(Path("r"), [lost_cell("k", rules, "no boot")]))
    assert headline(run(Path("r"), [(cell("k"), [result(rules[0])])], "interrupted")).startswith("Interrupted")
    assert headline(run(Path("r"), [])) == "Nothing was judged."


def test_pictures_show_every_version_and_what_fails() -> None:
    done = default_matrix(Path("r"))
    drawn = timelines(lay_out(done, columns(done.record)))
    assert [t.family for t in drawn] == ["munmap", "mprotect", "mmap-fixed", "madvise"]  # failing first
    munmap = drawn[0]
    assert [lane.name for lane in munmap.lanes] == ["x86_64", "arm64"]
    assert "with failing rules" in munmap.says
    assert "1 fail" in munmap.lanes[0].slots[-1].says
    assert munmap.lanes[0].slots[-1].bars[-1].status == "fail"
    assert all(bar.height >= 3 for lane in munmap.lanes for slot in lane.slots for bar in slot.bars)


def test_a_family_in_which_nothing_differs_has_no_picture() -> None:
    same, other = rule("munmap-blocked"), rule("mprotect-blocked", "mprotect")
    cells = [(cell("debian-6.12"), [result(same), result(other)]),
             (cell("debian-7.3"), [result(same), result(other, "fail", "r", "bypass")])]  # fmt: skip
    done = run(Path("r"), cells)
    assert [drawn.family for drawn in timelines(lay_out(done, columns(done.record)))] == ["mprotect"]


def test_a_kernel_without_mseal_is_no_difference_along_versions() -> None:
    rules = [rule("munmap-blocked"), rule("munmap-atomic")]
    old = (cell("debian-6.1"), [result(r, "skip", "no mseal (ENOSYS)") for r in rules])
    well = [(cell(f"debian-{v}"), [*map(result, rules)]) for v in ("6.12", "7.3")]
    done = run(Path("r"), [old, *well])
    assert timelines(lay_out(done, columns(done.record))) == ()


def test_two_kernels_of_one_release_are_two_in_the_pictures() -> None:
    of = rule("munmap-blocked")
    made = []
    for name, version, answer in (
        ("debian-7.2", "7.2.1", result(of)),
        ("debian-7.3", "7.3.4", result(of)),
        ("mine", "7.3.4", result(of, "fail", "r", "bypass")),
    ):
        record = cell(name)
        assert record.kernel
        kernel = record.kernel.model_copy(update={"version": version})
        made.append((record.model_copy(update={"kernel": kernel}), [answer]))
    done = run(Path("r"), made)
    (drawn,) = timelines(lay_out(done, columns(done.record)))
    (lane,) = drawn.lanes
    assert [slot.says for slot in lane.slots] == [
        "x86_64, 7.2.1: 1 pass",
        "x86_64, 7.3.4 (debian-7.3): 1 pass",
        "x86_64, 7.3.4 (mine): 1 fail",
    ]
    assert len({slot.x for slot in lane.slots}) == 3
    assert [label for _, label in drawn.labels] == ["7.2.1", "7.3.4"]
    assert "3 kernels, 1 with failing rules" in drawn.says


def test_repeats_of_a_cell_are_one_kernel_in_the_pictures() -> None:
    of = rule("munmap-blocked")
    again = cell("debian-7.3").model_copy(update={"id": "debian-7.3.x86_64~2"})
    pairs = [(cell("debian-7.2"), [result(of)]), (cell("debian-7.3"), [result(of)]),
             (again, [result(of, "fail", "r", "bypass")])]  # fmt: skip
    (drawn,) = timelines(lay_out(done := run(Path("r"), pairs), columns(done.record)))
    assert [slot.says.partition(": ")[2] for slot in drawn.lanes[0].slots] == ["1 pass", "1 fail"]


def test_what_failed_stands_first_in_the_grid() -> None:
    done = default_matrix(Path("r"))
    rules = [of.id for of in lay_out(done, columns(done.record)).rules]
    assert rules[:2] == ["munmap-across", "munmap-refused"]  # it fails, it broke
    assert rules[2:6] == ["munmap-atomic", "munmap-head", "munmap-tail", "munmap-into"]  # as the catalogue has them
    assert rules[6:9] == ["mprotect-mixed", "mprotect-refused", "mprotect-same-protection"]
    assert rules[9] == "mmap-fixed-refused"


def test_what_is_new_stands_above_what_failed() -> None:
    page = page_html(default_matrix(Path("r")), news=("nightly r: 7 cells", "new: R1 <b>munmap</b>"))
    assert page.index("Since last night") < page.index("new: R1 &lt;b&gt;") < page.index("What failed, by cause")
    assert "Since last night" not in page_html(default_matrix(Path("r")))


def test_the_page_of_a_night_is_written_with_what_the_night_ended_with(tmp_path: Path) -> None:
    done = default_matrix(tmp_path / "r-00")
    done.folder.mkdir()
    write_run(done.folder, done.record)
    write_reports(done)
    write_mark(
        done.folder, NightRecord(state="running", selection="nightly", news=("nightly r-00: 7 cells", "new: R1 munmap"))
    )
    write_page(done, lambda rule, probe: "")
    text = (done.folder / "report.html").read_bytes()
    assert b"new: R1 munmap" in text
    assert read_run(done.folder).reports["report.html"] == sha256(text).hexdigest()
    assert "verdicts.json" in read_run(done.folder).reports


def test_console_lines_of_a_probe_are_those_between_its_begin_and_the_next() -> None:
    said = ("boot", "sealmatrix: begin a/b/c", "WARNING", "sealmatrix: begin d/e/f", "other", "sealmatrix: end", "late")
    lines = [f"[    {second}.000000] {text}" for second, text in enumerate(said)]
    assert during(lines, {"a/b/c"}) == {"a/b/c": ["[    2.000000] WARNING"]}


def test_console_lines_while_probes_run_side_by_side_are_of_both() -> None:
    lines = ["sealmatrix: begin a/b/c in lane 0", "sealmatrix: begin d/e/f in lane 1", "WARNING",
             "sealmatrix: begin g/h/i in lane 0", "other", "sealmatrix: begin j/k/l", "alone"]  # fmt: skip
    assert during(lines, {"a/b/c", "d/e/f"}) == {"a/b/c": ["WARNING"], "d/e/f": ["WARNING", "other"]}


def test_a_lost_cell_shows_its_consoles_end(tmp_path: Path) -> None:
    record, results = lost_cell("k", [rule("a")], "silent")
    done = run(tmp_path, [(record, results)])
    folder = tmp_path / "cells" / record.id
    folder.mkdir(parents=True)
    (folder / "console.log").write_bytes(b"one\n\x1b[31mtwo\xff\n")
    assert excerpts(done, done.record.cells[0], results)["tail"][:2] == ["one", "\ufffd[31mtwo\ufffd"]
    assert excerpts(replace(done, folder=tmp_path / "no"), done.record.cells[0], results) == {}


def test_reproducers_are_there_for_what_went_wrong() -> None:
    done: RunDone = default_matrix(Path("r"))
    _, large = data(page_html(done, reproduce=lambda rule, probe: f"// {probe}" if "munmap" in probe else ""))
    assert large["reproducers"] == {"munmap-across munmap/anon-0/into": "// munmap/anon-0/into"}
