"""`sealmatrix explore`: what is refused before anything boots, and what is left in the end."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.cli.explore import _keep, explore
from harness.config.duration import seconds_of
from harness.errors import UsageError
from harness.explore.executor import BatchPlan
from harness.explore.exploration import Exploration, ExploreFinding
from harness.explore.operations import OPERATIONS
from harness.explore.oracles import ORACLES, StepProblem
from harness.explore.program import parse_program
from harness.kernels.resolve import Resolution
from harness.reports.explore import Explored
from harness.reports.explore_text import explored_lines, print_explored
from harness.reports.style import Page

PROGRAM = parse_program("window 2 x 1 page, usual: anon 2 rw sealed\nmunmap 0-1")
PROBLEM = StepProblem("refused", 0, "munmap", "munmap answers 0 instead of EPERM", ("U1",))


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60.0), ("5m", 300.0), ("1.5h", 5400.0), ("7", 7.0)])
def test_a_time_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-3s", "1d", "3 s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write a number and s, m or h"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["debian-6.12", "--time", "soon"], "--time soon"),
        (["debian-6.12", "--replay", "nowhere.txt"], "nowhere.txt: cannot be read"),
        (["debian-6.12", "--resume", "nowhere"], "--resume nowhere"),
        (["debian-6.12", "--against", "debian-6.12"], "--against debian-6.12: no other kernel"),
    ],
)
def test_bad_input_is_one_line_before_anything_boots(tmp_path: Path, words: list[str], complaint: str) -> None:
    done = CliRunner().invoke(explore, [*words, "--results", str(tmp_path)])
    assert isinstance(done.exception, UsageError) and complaint in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_replay_of_what_is_no_text_names_the_file_once_and_no_codec(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    image.write_bytes(b"MZ\xff\xfe")
    for path, said in [
        (image, f"{image}: this is no text; "),
        (tmp_path, f"{tmp_path}: cannot be read: Is a directory"),
    ]:
        done = CliRunner().invoke(explore, ["debian-6.12", "--replay", str(path)])
        assert isinstance(done.exception, UsageError) and str(done.exception).startswith(said)
        assert str(done.exception).count(str(path)) == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[{"cell": "a", "seed": "abc", "batches": 1, "exhaustive": 1}]', "0.seed: Input should be a valid integer"),
        ('[{"cell": "a", "seed": 1, "batches": "x", "exhaustive": 1}]', "0.batches"),
        ('[{"cell": "a", "seed": 1, "batches": 1, "exhaustive": -1}]', "0.exhaustive"),
        ('[{"cell": "a", "batches": 1, "exhaustive": 1}]', "0.seed: Field required"),
        ('{"a": 1}', "Input should be a valid array"),
        ("[{", "Invalid JSON"),
        ("\udcff", "Invalid JSON"),
    ],
)
def test_an_exploration_that_cannot_be_resumed_is_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "explore.json").write_bytes(text.encode(errors="surrogateescape"))
    done = CliRunner().invoke(explore, ["debian-6.12", "--resume", "earlier", "--results", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    said = str(done.exception)
    assert "explore.json: this is no exploration: " in said and complaint in said and "\n" not in said


def outcome(*findings: ExploreFinding, judged: int = 10, lost: str = "", mseal: int = 0) -> Exploration:
    return Exploration(
        3,
        programs=10,
        judged=judged,
        asked={operation.name: judged for operation in OPERATIONS.values()},
        findings=list(findings),
        lost=lost,
        plan=BatchPlan(2, 4096, True, True, mseal),
    )


@pytest.mark.parametrize(
    ("told", "code", "statuses"),
    [
        (outcome(), 0, {"pass"}),
        (outcome(ExploreFinding(PROBLEM, PROGRAM, PROGRAM)), 1, {"pass", "fail"}),
        (outcome(ExploreFinding(PROBLEM, PROGRAM, PROGRAM), lost="gone"), 1, {"miss", "fail"}),
        (outcome(lost="the guest went away"), 3, {"miss"}),
        (outcome(judged=0), 3, {"miss"}),
        (outcome(judged=0, mseal=38), 3, {"miss"}),
    ],
)
def test_nothing_that_was_not_judged_passes(tmp_path: Path, told: Exploration, code: int, statuses: set[str]) -> None:
    one = Explored("debian-6.12", "x86_64", told, cell="debian-6.12.x86_64.two-cpus")
    assert one.exit_code == code
    assert ("no finding" in next(explored_lines(one, tmp_path))) == (code == 0)
    _keep(tmp_path, [one])
    (kept,) = json.loads((tmp_path / "explore.json").read_text())
    assert set(kept["oracles"]) == set(ORACLES) and set(kept["oracles"].values()) == statuses
    (suite,) = ElementTree.fromstring((tmp_path / "junit.xml").read_text())
    cases = {case.get("name"): {child.tag for child in case} for case in suite.findall("testcase")}
    assert set(cases) == {f"explore-{oracle}" for oracle in ORACLES}
    assert ("failure" in cases["explore-refused"]) == ("fail" in statuses)
    assert any("error" in tags for tags in cases.values()) == ("miss" in statuses)


def test_a_finding_is_kept_to_be_replayed_and_as_c(tmp_path: Path) -> None:
    one = Explored("k", "x86_64", outcome(ExploreFinding(PROBLEM, PROGRAM, PROGRAM)), cell="k.x86_64")
    _keep(tmp_path, [one])
    assert parse_program((tmp_path / "k.x86_64" / "finding-1.txt").read_text()) == PROGRAM
    assert "munmap(at(0), 2 * UNIT)" in (tmp_path / "k.x86_64" / "finding-1.c").read_text()
    text = "\n".join(explored_lines(one, tmp_path))
    assert "refused: munmap, step 1: munmap answers 0 instead of EPERM" in text and ": 1 finding" in text


def many(findings: int) -> Exploration:
    """An exploration with as much in it as a real one, and ``findings`` of them."""
    wide = parse_program("window 12 x 1 page, usual: anon 12 rw sealed written\n" + "munmap 0-1\n" * 12)
    found = [
        ExploreFinding(StepProblem("refused", 0, "munmap", f"munmap answers {n} " + "long " * 12, ("U1",)), wide, wide)
        for n in range(findings)
    ]
    told = outcome(*found)
    told.recorded = {f"refused call-{n} divides mappings otherwise": (n + 1, wide) for n in range(11)}
    told.steps, told.states, told.seconds, told.exhausted = 8213, 4310, 7.0, 512
    return told


def shown(told: Exploration, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    print_explored(Page(console), Explored("debian-newest", "x86_64", told, cell="c"), Path("results/explore/ID"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("findings", "most"), [(0, 9), (1, 30), (30, 64)])
@pytest.mark.parametrize("width", [60, 80])
def test_the_end_of_an_exploration_is_short_and_fits_the_screen(findings: int, most: int, width: int) -> None:
    lines = shown(many(findings), width)
    assert max(map(len, lines)) <= width and len(lines) <= most
    recorded = [line for line in lines if "divides mappings otherwise" in line]
    assert [line.strip() for line in recorded] == [
        f"{n + 1} times: refused call-{n} divides mappings otherwise" for n in (10, 9, 8)
    ]
    text = " ".join(" ".join(lines).split())
    assert "8 more, and a program for each: results/explore/ID/explore.json" in text
    assert ("23 more findings" if findings == 30 else "finding") in text


def test_numbers_of_a_part_are_of_that_part_and_the_exhaustive_programs_of_both() -> None:
    told = many(0)
    assert "512 of them exhaustive;" in " ".join(shown(told))
    told.exhausted_before = 384
    assert "128 of them exhaustive (512 with the parts before);" in " ".join(shown(told))


@pytest.mark.parametrize("asked", [[], ["--json"]])
def test_the_last_line_is_the_next_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    found = outcome(ExploreFinding(PROBLEM, PROGRAM, PROGRAM))
    results = tmp_path / "my results"
    words = ["debian-6.12", "debian-7.2", "-a", "x86_64", "--results", str(results), *asked]
    onwards = "to continue: sealmatrix explore debian-6.12 debian-7.2 -a x86_64 --time 60s"
    replays = "to repeat the finding: sealmatrix explore debian-6.12 -a x86_64 --replay "
    for told, following in ((outcome(), onwards), (found, replays)):
        monkeypatch.setattr(
            "harness.cli.explore._ExploreRun.alone",
            lambda _run, spec, told=told: Explored(spec.kernel.name, spec.arch, told, cell=spec.id),
        )
        monkeypatch.setattr("harness.cli.explore.provide", lambda *_, **__: Resolution({}))
        output = CliRunner().invoke(explore, words, standalone_mode=False).stdout
        if asked:
            assert [one["kernel"] for one in json.loads(output)] == ["debian-6.12", "debian-7.2"]
            continue
        last = output.splitlines()[-1]
        assert last.startswith(following)
        *_, replayed = shlex.split(last)
        assert told is not found or parse_program(Path(replayed).read_text()) == PROGRAM
