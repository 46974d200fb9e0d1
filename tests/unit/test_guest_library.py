"""The library that scenarios import, under the host's Python: who of a script's processes and threads tells its end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.observations.journal import Collector, Journalled
from harness.observations.stream import StreamParser
from harness.verdicts.scenario import Scenario, judge_scenario
from tests import kernel_stub

LIBRARY = Path(__file__).parents[2] / "guest_payload/python/library"
PROBE = Scenario("question", "").probe.id


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as the interpreter packs it."""
    folder = tmp_path_factory.mktemp("library")
    shutil.copytree(LIBRARY / "guest", folder / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "guest/_identity.py").write_text('ID = "id"\n')
    shutil.copy(kernel_stub.__file__, folder / "_kernel.py")
    return folder


def play(library: Path, folder: Path, text: str) -> Journalled:
    path = folder / "question.py"
    path.write_text(text)
    options = ["--deadline-ms", "20000", PROBE, str(path)]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "guest", *options],
        cwd=library, env={"PYTHONPATH": str(library)}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == b""
    collector, parser = Collector(), StreamParser()
    for _, record in (*parser.feed(done.stdout), *parser.close()):
        collector.add(record)
    assert collector.garbage == []
    assert collector.ended
    return collector.journalled()


FORK = "import guest, os\npid = os.fork()\n"
WAIT = "status = os.waitpid(pid, 0)[1]\nguest.observe('status', os.waitstatus_to_exitcode(status))\n"
THREAD = "import guest, sys, threading\n"


@pytest.mark.parametrize(
    ("text", "ended", "words", "line"),
    [
        (FORK + "if pid:\n    " + WAIT.replace("\n", "\n    ") + "1 / 0\n", "raised", "ZeroDivisionError", 6),
        (FORK + "if pid:\n    " + WAIT.replace("\n", "\n    ") + "guest.skip('no')\n", "skipped", "no", 6),
        (FORK + "if not pid:\n    1 / 0\n" + WAIT, "done", "", 0),
        (FORK + "if not pid:\n    guest.skip('the child only')\n" + WAIT, "done", "", 0),
        (THREAD + "def f():\n    1 / 0\nt = threading.Thread(target=f)\nt.start()\nt.join()\n", "raised", "Zero", 3),
        (THREAD + "threading.Thread(target=lambda: 1 / 0).start()\n", "raised", "ZeroDivisionError", 2),
        (THREAD + "threading.Thread(target=lambda: 1 / 0).start()\nsys.exit(0)\n", "raised", "Zero", 2),
        (THREAD + "threading.Thread(target=lambda: 1 / 0).start()\nguest.skip('x')\n", "raised", "Zero", 2),
        (THREAD + "threading.Thread(target=sys.exit).start()\n", "done", "", 0),
        (THREAD + "threading.Thread(target=lambda: guest.skip('no keys')).start()\n", "skipped", "no keys", 2),
    ],
)
def test_the_script_s_own_process_and_its_threads_tell_the_end(library, tmp_path, text, ended, words, line):
    outcome = play(library, tmp_path, text).outcome
    assert outcome is not None
    assert (outcome.ended, outcome.line) == (ended, line)
    assert words in outcome.text


def test_a_forked_process_has_an_exit_status_of_its_own(library, tmp_path):
    for child, status in (("1 / 0", 1), ("sys.exit(3)", 3), ("sys.exit('x')", 1), ("pass", 0), ("sys.exit()", 0)):
        text = f"import sys\n{FORK}if not pid:\n    {child}\nelse:\n    " + WAIT.replace("\n", "\n    ") + "\n"
        assert [fact.value for fact in play(library, tmp_path, text).facts] == [status]


def test_what_a_child_forks_does_not_answer_for_it(library, tmp_path):
    text = (
        "import guest, os\ndef f():\n    pid = os.fork()\n    if pid:\n        os.waitpid(pid, 0)\n"
        "    return 'child' if pid else 'grandchild'\nguest.observe('answer', guest.in_child(f))\n"
    )
    assert [fact.value for fact in play(library, tmp_path, text).facts] == ["child"]


def test_what_every_child_says_is_judged(library, tmp_path):
    text = (
        "import guest\ndef f(found):\n    guest.expect('munmap', found, 'EPERM')\n"
        "guest.in_child(f, 'EPERM')\nguest.in_child(f, 0)\nguest.observe('munmap', 'as well')\n"
    )
    seen = play(library, tmp_path, text)
    judged = judge_scenario(Scenario("question", text, ("munmap",)), seen, "", ())
    assert [(r.rule.statement, r.status) for r in judged[1:]] == [("munmap", "pass"), ("munmap (2)", "fail")]


def test_an_expectation_in_a_child_that_was_killed_is_not_all_well(library, tmp_path):
    text = "import guest, os\ndef f():\n    os.abort()\n    guest.expect('growing', 0, 0)\nguest.in_child(f)\n"
    judged = judge_scenario(Scenario("question", text, ("growing",)), play(library, tmp_path, text), "", ())
    assert [result.status for result in judged] == ["pass", "miss"]
