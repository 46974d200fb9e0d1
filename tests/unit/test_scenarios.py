"""Scenarios over scripted guests: what a user's script said is judged here, and what it never said is no pass."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.cli.main import cli
from harness.errors import BootFailed, ConfigError, KernelUnavailable, LostGuest, UsageError
from harness.guests.deadlines import deadlines
from harness.guests.model import Exited
from harness.matrix.model import Profile
from harness.model.run_record import CellRecord, RunRecord
from harness.observations.model import numbered
from harness.reports.scenario import print_scenario, scenario_json
from harness.reports.write import write_reports
from harness.runs.execution.run import execute
from harness.runs.model import Cell, RunDone, Workload
from harness.runs.plan import RunPlan
from harness.runs.planning.payload_tasks import Script
from harness.runs.planning.scenario_parser import read_script
from harness.runs.run_store import load_run
from harness.verdicts.scenario import Scenario, slug
from tests.fakes import FakeGuest

SCENARIO = Scenario("resize", "import guest\n", ("growing", "shrinking"))
PROBE = SCENARIO.probe.id


def encode(**record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


PLAN = encode(
    type="plan", stream=1, payload="python", id="id", machine="x86_64", release="6.12.0-fake", page_size=4096,
    pid1=False, probes=[PROBE],
)  # fmt: skip
BEGIN = encode(type="begin", probe=PROBE)
END = encode(type="end", probes=1)


def fact(name: str, value: object, *wanted: object) -> bytes:
    return encode(type="fact", name=name, value=value, **({"wanted": wanted} if wanted else {}))


def outcome(ended: str = "done", text: str = "", line: int = 0) -> bytes:
    return encode(type="outcome", probe=PROBE, ended=ended, text=text, line=line)


GROWING, SHRINKING = fact("growing", "EPERM", "EPERM"), fact("shrinking", "EPERM", "EPERM", 0)
WHOLE = (PLAN, BEGIN, fact("mseal", 0), GROWING, SHRINKING, outcome(), END)


def run(folder: Path, guests: dict[str, FakeGuest], **kernels: KernelUnavailable) -> RunDone:
    cells = [Cell(name, "x86_64", Profile("standard"), kernels.get(name)) for name in (*guests, *kernels)]
    record = RunRecord(
        id=folder.name, state="running", started="2026-11-24T00:00:00+00:00", sealmatrix="0", command=(), options={},
        host={}, matrix={}, payload="python", payload_id="id", catalogue_sha256="", jobs=2,
        cells=tuple(CellRecord(id=c.id, profile="standard", arch="x86_64") for c in cells),
    )  # fmt: skip
    files = (("resize.py", b"import guest\n"),)
    workload = Workload("python", "id", "0" * 64, b"ELF", ("-m", "guest"), (SCENARIO.probe,), files)
    plan = RunPlan(folder, record, tuple(cells), {"x86_64": workload}, SCENARIO, 2)
    return execute(plan, lambda c, _: guests[c.id], lambda _: None)


def one(tmp_path: Path, *script: object, **facts: object) -> RunDone:
    guest = FakeGuest(script=script, console=tmp_path / "console", **facts)  # type: ignore[arg-type]
    return run(tmp_path / "r", {"a.x86_64": guest})


def statuses(done: RunDone, cell: str = "a.x86_64") -> list[str]:
    return [result.status for result in done.results[cell]]


def reasons(done: RunDone) -> list[str]:
    return [result.worst.reason for result in done.results["a.x86_64"]]


def test_a_script_that_finds_what_it_expects_passes(tmp_path):
    guest = FakeGuest(script=WHOLE, console=tmp_path / "console")
    done = run(tmp_path / "r", {"a.x86_64": guest})
    assert statuses(done) == ["pass"] * 3
    assert done.exit_code == 0
    assert [r.rule.id for r in done.results["a.x86_64"]] == ["resize", "resize-growing", "resize-shrinking"]
    assert guest.pushed["resize.py"] == b"import guest\n"
    assert guest.calls[1:4] == ["push payload-python 755", "push resize.py 644", "run /work/payload-python -m guest"]
    stored = load_run(tmp_path / "r", {})
    assert dict(stored.results) == dict(done.results)


@pytest.mark.parametrize(
    ("value", "wanted", "status"),
    [
        ("EPERM", ["EPERM"], "pass"),
        ("EPERM", ["EINVAL", "EPERM"], "pass"),
        (0, [0], "pass"),
        (True, [True], "pass"),
        (None, [None], "pass"),
        (["r--p", "-"], [["r--p", "-"]], "pass"),
        ("EPERM", [0], "fail"),
        (0, ["0"], "fail"),
        (1, [True], "fail"),
        (0, [False], "fail"),
        (["r--p"], ["r--p"], "fail"),
        ("x", [], "fail"),
    ],
)
def test_the_host_judges_and_not_the_guest(tmp_path, value, wanted, status):
    said = encode(type="fact", name="growing", value=value, wanted=wanted)
    done = one(tmp_path, PLAN, BEGIN, said, SHRINKING, outcome(), END)
    assert statuses(done) == ["pass", status, "pass"]
    assert done.exit_code == (1 if status == "fail" else 0)
    if status == "fail":
        assert "expected" in reasons(done)[1]


PANIC = f"sealmatrix: begin {PROBE}\n[    1.000000] Kernel panic - not syncing: sysrq triggered crash\n"


@pytest.mark.parametrize(
    ("script", "facts", "expected", "code", "reason"),
    [
        ((), {"booted": BootFailed("no hello")}, ["miss"] * 3, 3, "no hello"),
        ((), {"pushing": LostGuest("gone")}, ["miss"] * 3, 3, "gone"),
        ((PLAN,), {}, ["miss"] * 3, 3, "ended after 0 of 1"),
        ((PLAN, BEGIN, GROWING, LostGuest("QEMU died")), {}, ["error", "pass", "error"], 3, "QEMU died"),
        ((PLAN, BEGIN, GROWING), {"console_text": PANIC}, ["fail", "pass", "error"], 1, "panic"),
        ((PLAN, BEGIN, GROWING, Exited(None, 9)), {}, ["error", "pass", "error"], 3, "signal 9"),
        (
            (PLAN, BEGIN, GROWING, outcome("raised", "ValueError: x", 7), END),
            {}, ["error", "pass", "error"], 3, "ValueError: x (line 7)",
        ),
        ((PLAN, BEGIN, outcome("timeout", "no end within 30 s"), END), {}, ["error"] * 3, 3, "no end within 30 s"),
        ((PLAN, BEGIN, outcome("killed", "killed by SIGSEGV"), END), {}, ["error"] * 3, 3, "SIGSEGV"),
        ((PLAN, BEGIN, outcome("exited", "sys.exit(0)", 2), END), {}, ["error"] * 3, 3, "ended early: sys.exit(0)"),
        ((PLAN, BEGIN, GROWING, SHRINKING, outcome("exited", "sys.exit(0)"), END), {}, ["pass"] * 3, 0, ""),
        ((PLAN, BEGIN, GROWING, SHRINKING, outcome("exited", "sys.exit(4)"), END), {},
         ["error", "pass", "pass"], 3, "sys.exit(4)"),
        ((PLAN, BEGIN, outcome("skipped", "no protection keys", 4), END), {}, ["skip"] * 3, 0, "no protection keys"),
        ((PLAN, BEGIN, GROWING, outcome(), END), {}, ["pass", "pass", "miss"], 3, ""),
        ((PLAN, BEGIN, GROWING, SHRINKING, outcome()), {}, ["pass"] * 3, 3, ""),
    ],
)  # fmt: skip
def test_every_ending_has_its_outcome(tmp_path, script, facts, expected, code, reason):
    done = one(tmp_path, *script, **facts)
    assert statuses(done) == expected
    assert done.exit_code == code
    assert reason in reasons(done)[0]
    assert all(reasons(done)[i] for i, status in enumerate(expected) if status != "pass")


def test_hostile_records_are_garbage_and_a_second_outcome_is_no_answer(tmp_path):
    done = one(
        tmp_path, PLAN, BEGIN, b'{"type":"fact","name":"","value":1}\n', encode(type="fact", name="x", value={"a": 1}),
        GROWING, b"\xff\xfe\n", SHRINKING, outcome("raised", "boom"), outcome(), END,
    )  # fmt: skip
    assert statuses(done) == ["error", "error", "error"]
    assert done.record.cells[0].garbage == 4


def test_names_that_look_alike_stay_apart(tmp_path):
    same = (fact("Growing!", 1, 1), fact("growing?", 1, 2))
    done = one(tmp_path, PLAN, BEGIN, GROWING, SHRINKING, *same, outcome(), END)
    ids = [result.rule.id for result in done.results["a.x86_64"]]
    assert ids == ["resize", "resize-growing", "resize-shrinking", "resize-growing-2", "resize-growing-3"]
    assert tuple(numbered(["a", "b", "a", "a"])) == ("a", "b", "a (2)", "a (3)")
    assert tuple(numbered(["a (2)", "a", "a"], ["a"])) == ("a (2)", "a (3)", "a (4)")
    assert slug("…") == "scenario"


def test_every_expectation_counts_however_often_its_name_is_said(tmp_path):
    """Two children of a script know nothing of each other; the second answer must not hide behind the first."""
    done = one(tmp_path, PLAN, BEGIN, GROWING, SHRINKING, fact("growing", 0, "EPERM"), outcome(), END)
    assert [(r.rule.statement, r.status) for r in done.results["a.x86_64"]][1:] == [
        ("growing", "pass"), ("shrinking", "pass"), ("growing (2)", "fail"),
    ]  # fmt: skip
    assert done.exit_code == 1
    assert done.record.cells[0].garbage == 0


def test_what_is_found_and_expected_under_one_name_is_no_expectation_that_was_not_reached(tmp_path):
    done = one(tmp_path, PLAN, BEGIN, fact("growing", "found"), GROWING, SHRINKING, outcome(), END)
    assert statuses(done) == ["pass"] * 3
    assert scenario_json(done, SCENARIO)["cells"][0]["facts"] == {
        "growing (2)": "found", "growing": "EPERM", "shrinking": "EPERM",
    }  # fmt: skip


def shown(done: RunDone) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_scenario(console, done, SCENARIO)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def three(tmp_path: Path) -> RunDone:
    other = (PLAN, BEGIN, fact("mseal", 0), fact("growing", 0, "EPERM"), SHRINKING, outcome(), END)
    printed = encode(type="printed", text="a \x1b[31mred\x1b[0m word")
    broken = (PLAN, BEGIN, printed, outcome("raised", "NameError: x", 3), END)
    guests: dict[str, Sequence[bytes]] = {"a": WHOLE, "b": WHOLE, "c": other, "d": broken}
    made = {f"{n}.x86_64": FakeGuest(script=s, console=tmp_path / n) for n, s in guests.items()}
    return run(tmp_path / "r", made, **{"e.x86_64": KernelUnavailable("not in the archive")})


def test_what_differs_comes_first_side_by_side(tmp_path):
    text = shown(three(tmp_path))
    heads = [text.index(word) for word in ("Differs", "a, b (x86_64)", "growing", "Not as expected", "Printed")]
    assert heads == sorted(heads)
    assert "✓ EPERM" in text
    assert "✗ 0" in text
    assert "✗ fail: growing: found 0, expected EPERM [c (x86_64)]" in text
    assert "! error: the scenario runs to its end: NameError: x (line 3) [d (x86_64)]" in text
    assert "? miss: growing: not in the archive [e (x86_64)]" in text
    assert "a \\x1b[31mred\\x1b[0m word" in text


def test_what_is_alike_is_one_column(tmp_path):
    guests = {f"{n}.x86_64": FakeGuest(script=WHOLE, console=tmp_path / n) for n in "ab"}
    text = shown(run(tmp_path / "r", guests))
    assert "The same on every kernel" in text
    assert "Differs" not in text
    assert "mseal      0" in text


def test_json_and_junit_of_a_run(tmp_path):
    done = three(tmp_path)
    told = scenario_json(done, SCENARIO)
    assert told["exit_code"] == 1
    cells = {cell["cell"]: cell for cell in told["cells"]}
    assert cells["c.x86_64"]["facts"] == {"mseal": 0, "growing": 0, "shrinking": "EPERM"}
    assert cells["d.x86_64"]["ended"] == {"how": "raised", "text": "NameError: x", "line": 3}
    assert cells["e.x86_64"]["reason"] == "not in the archive"
    json.dumps(told)
    write_reports(done, page=False)
    assert {path.name for path in (tmp_path / "r").iterdir() if path.is_file()} >= {"junit.xml", "verdicts.json"}
    junit = (tmp_path / "r/junit.xml").read_text()
    assert 'errors="7" failures="1" tests="16"' in " ".join(sorted(junit.splitlines()[1].split()))
    assert not (tmp_path / "r/report.html").exists()


class TestReadingScripts:
    def read(self, tmp_path: Path, text: str | bytes) -> Scenario:
        path = tmp_path / "my question.py"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_script(path)

    def test_expectations_are_found_in_the_text(self, tmp_path):
        text = (
            'import guest\nfrom guest import expect\nguest.expect("one", 1, 1)\n'
            'for i in range(2):\n    expect("two", 1, 1); guest.expect(f"{i}", 1, 1)\n'
            'other.expect("no", 1)\nguest.observe("no", 1)\nguest.expect("one", 2, 2)\n'
        )
        found = self.read(tmp_path, text)
        assert (found.name, found.expectations) == ("my question", ("one", "two", "one (2)"))
        assert found.probe.id == "scenario/my-question/whole"

    @pytest.mark.parametrize(
        ("text", "line", "words"),
        [
            ("import guest\n  x = 1\n", 2, "not Python 3.11: unexpected indent"),
            ("x = (\n", 1, "never closed"),
            ("return 1\n", 1, "outside function"),
            ("ELF\x7f\x00\n", 0, "null bytes"),
            ("<html>\n", 1, "invalid syntax"),
        ],
    )
    def test_what_is_no_script_names_its_line(self, tmp_path, text, line, words):
        with pytest.raises(ConfigError, match=words) as caught:
            self.read(tmp_path, text)
        assert caught.value.line == line
        assert "\n" not in str(caught.value)

    def test_what_cannot_be_read(self, tmp_path):
        with pytest.raises(UsageError, match=r"none\.py: cannot be read: No such file"):
            read_script(tmp_path / "none.py")
        with pytest.raises(UsageError, match="Is a directory"):
            read_script(tmp_path)
        with pytest.raises(UsageError, match="not UTF-8"):
            self.read(tmp_path, b"\xff\xfe")
        with pytest.raises(UsageError, match="larger than 1 MiB"):
            self.read(tmp_path, b"#" * (1 << 20) + b"\n")


def test_the_command_says_what_is_wrong_before_anything_starts(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("x = (\n")
    for arguments in (["none.py"], [str(bad)], [str(bad), "--host"]):
        done = CliRunner().invoke(cli, ["scenario", *arguments, "--results", str(tmp_path / "results")])
        assert isinstance(done.exception, UsageError)
    good = tmp_path / "good.py"
    good.write_text("import guest\n")
    done = CliRunner().invoke(cli, ["scenario", str(good), "--host", "-a", "arm64"])
    assert done.exit_code == 2
    assert not (tmp_path / "results").exists()


def test_a_deadline_a_guest_would_not_live_to_see_is_refused():
    with pytest.raises(UsageError, match="48 s here, not 60 s; --scale makes all deadlines longer"):
        Script(SCENARIO, 60).workload("x86_64", deadlines("x86_64", "kvm", "x86_64"), kmsg=True)
