"""Scenarios as a user runs them: every ending on this machine's kernel, and the documented examples on real ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.guests.deadlines import deadlines
from harness.guests.host import HostGuest
from harness.guests.model import Output
from harness.matrix.model import Profile
from harness.model.architectures import this_arch
from harness.observations.collector import Collector, Journalled
from harness.observations.model import named
from harness.observations.stream import StreamParser
from harness.runs.execution.cell_worker import CellWorker
from harness.runs.model import Cell
from harness.runs.planning.payload_tasks import Script
from harness.runs.planning.scenario_parser import read_script
from harness.verdicts.scenario import Scenario, judge_scenario, said

pytestmark = pytest.mark.kernels
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs/use/scenarios").glob("*.py"))


def on_the_host(text: str, folder: Path, seconds: float | None = None) -> tuple[Journalled, list[tuple[str, str]]]:
    """Run a script here. Returns what it said, and (status, reason) of what is judged: first of the script itself."""
    path = folder / "question.py"
    path.write_text(text)
    scenario = read_script(path)
    arch = this_arch()
    limits = deadlines(arch, "none", arch)
    workload = Script(scenario, seconds).workload(arch, limits, kmsg=False)
    cell = Cell("host", arch, Profile("host"), None)
    outcome = CellWorker(cell, workload, folder, HostGuest(limits), lambda _: None).run()
    assert outcome.journalled is not None
    results = judge_scenario(scenario, outcome.journalled, outcome.lost, outcome.crashes)
    return outcome.journalled, [(r.status, r.worst.reason) for r in results]


def values(seen: Journalled) -> dict[str, object]:
    return {name: fact.value for name, fact in named(seen.facts).items()}


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("", "pass", ""),
        ("import sys\nsys.exit()\n", "pass", ""),
        ("import sys\nsys.exit('no')\n", "error", r"ended early: sys\.exit\('no'\) \(line 2\)"),
        ("import os\nos._exit(0)\n", "error", "ended with status 0 in the midst"),
        ("1 / 0\n", "error", r"ZeroDivisionError: division by zero \(line 1\)"),
        ("def f():\n    raise OSError(2, 'x')\n\n\nf()\n", "error", r"x \(line 2\)"),
        ("import guest\nguest.no_such_call()\n", "error", r"no attribute 'no_such_call' \(line 2\)"),
        (
            "import _kernel\n_kernel.syscall(0, 0, 0, 0) and None\nimport os\nos.kill(os.getpid(), 11)\n",
            "error",
            "SIGSEGV",
        ),
        ("while True:\n    pass\n", "error", "no end within 1 s"),
        ("import os, time\nif os.fork():\n    os._exit(3)\nos.setsid()\ntime.sleep(600)\n", "error", "status 3"),
        ("import guest\nguest.skip('no keys here')\n", "skip", r"no keys here \(line 2\)"),
        ("import guest\nguest.need(guest.munmap(guest.Area(1, 1)), 'munmap')\n", "error", "set up: munmap: EINVAL"),
        ("import guest\nguest.expect('x')\n", "error", "TypeError"),
    ],
)
def test_every_ending_is_told(tmp_path, text, status, words):
    _, judged = on_the_host(text, tmp_path, seconds=1 if "while" in text else None)
    assert judged[0][0] == status
    assert re.search(words, judged[0][1])


def test_an_expectation_that_was_not_reached_says_why(tmp_path):
    text = "import guest\nguest.expect('first', 1, 1)\nx = 1 / 0\nguest.expect('second', 1, 1)\n"
    _, judged = on_the_host(text, tmp_path)
    assert [status for status, _ in judged] == ["error", "pass", "error"]
    assert judged[2][1] == "never reached: ZeroDivisionError: division by zero (line 3)"


def test_what_the_library_gives(tmp_path):
    text = """
import os
import guest

area = guest.pages(3)
guest.observe("contents", guest.contents(area))
guest.observe("perms", guest.perms(area), )
guest.observe("protect", guest.mprotect(area[1], guest.PROT_NONE))
guest.observe("after", perms=guest.perms(area), contents=guest.contents(area), seals=guest.seals(area))
guest.observe("window", guest.window(area[:2]))
guest.observe("parts", [len(area[1:]), len(area.grown(2)), area[2].start - area.start])
try:
    area[1].read()
except guest.Fault as fault:
    guest.observe("fault", signal=fault.signal, inside=area[1].start <= fault.address < area[1].end)
try:
    area[1].write(b"x")
except guest.Fault as fault:
    guest.observe("store", fault.signal)
guest.observe("refused", guest.munmap(guest.Area(area.start + 1, 4096)))
guest.observe("raw", guest.syscall("getpid") == os.getpid())
guest.observe("moved", isinstance(guest.mremap(area[0], 1, guest.MREMAP_MAYMOVE), guest.Area))
guest.observe("child", guest.in_child(lambda: guest.munmap(area)))
guest.observe("still", guest.contents(area[0]))
guest.observe("dies", guest.in_child(os.abort))
guest.observe("hangs", guest.in_child(lambda: os.read(os.pipe()[0], 1), deadline=0.1))
guest.observe("raises", guest.in_child(lambda: {}["x"]))
guest.observe("gone", guest.in_child(lambda: os._exit(4)))
file = guest.pages(1, guest.RW, guest.MAP_SHARED, guest.memfd(1))
guest.observe("listed", [m.path for m in guest.maps(file)])
guest.observe("many", guest.madvise(file, 9999))
guest.observe("many", None)
print("two", "words")
print("no newline", end="")
"""
    seen, judged = on_the_host(text, tmp_path)
    assert judged == [("pass", "")]
    assert values(seen) == {
        "contents": "a0 a1 a2",
        "perms": "rw-p",
        "protect": 0,
        "after: perms": "rw-p ---p rw-p",
        "after: contents": "a0 segv a2",
        "after: seals": "---",
        "window": ("rw-p a0 -", "---p segv -"),
        "parts": (2, 5, 2 * 4096),
        "fault: signal": 11,
        "fault: inside": True,
        "store": 11,
        "refused": "EINVAL",
        "raw": True,
        "moved": True,
        "child": 0,
        "still": "a0",
        "dies": "killed by SIGABRT",
        "hangs": "no end in 0.1 s",
        "raises": "raised KeyError: 'x'",
        "gone": "exited with status 4",
        "listed": ("/memfd:memfd (deleted)",),
        "many": "EINVAL",
        "many (2)": None,
    }
    assert seen.printed == ("two words", "no newline")


def test_the_command_on_this_machine(tmp_path):
    script = tmp_path / "question.py"
    script.write_text("import guest\nguest.expect('one is two', 1, 2)\n")
    arguments = ["scenario", str(script), "--host", "--results", str(tmp_path / "results")]
    done = CliRunner().invoke(cli, [*arguments, "--json"], standalone_mode=False)
    assert done.return_value == 1
    told = json.loads(done.stdout)
    assert told["cells"][0]["facts"] == {"one is two": 1}
    (folder,) = (tmp_path / "results").iterdir()
    assert "found 1, expected 2" in (folder / "junit.xml").read_text()
    again = CliRunner().invoke(cli, ["show", "--results", str(tmp_path / "results")], standalone_mode=False)
    assert again.return_value == 1
    assert "✗ 1" in again.stdout


def played(one, scenario: Scenario, arch: str) -> Journalled:
    """Run a scenario in a guest that is up already."""
    workload = Script(scenario).workload(arch, deadlines(arch, "tcg", "other", load=2), kmsg=True)
    one.push(*workload.files[0], 0o644)
    collector, parser = Collector(), StreamParser()
    for event in one.run([one.push("python", workload.content), *workload.arguments]):
        if isinstance(event, Output) and event.stream == "out":
            for _, record in parser.feed(event.data):
                collector.add(record)
    return collector.journalled()


@pytest.mark.parametrize(("name", "arch"), [("debian-6.12", "x86_64"), ("debian-newest", "arm64")])
def test_the_documented_examples_say_what_the_document_shows(guest, name, arch):
    assert len(EXAMPLES) >= 5
    document = (ROOT / "docs/use/scenarios.md").read_text()
    one = guest(name, arch)
    one.boot()
    for path in EXAMPLES:
        scenario = read_script(path)
        seen = played(one, scenario, arch)
        judged = judge_scenario(scenario, seen, "", ())
        assert {result.status for result in judged} == {"pass"}, (path.name, judged)
        section = document.partition(f"(scenarios/{path.name})")[2].partition("\n## ")[0]
        assert section, f"docs/use/scenarios.md does not show {path.name}"
        for fact in seen.facts:
            shown = re.search(rf"^{re.escape(fact.name)}  .*$", section, re.MULTILINE)
            assert shown, f"{path.name}: {fact.name}"
            assert said(fact.value) in shown[0], f"{path.name}: {fact.name} is {said(fact.value)} on {name}: {shown[0]}"
