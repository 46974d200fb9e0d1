"""The library that scenarios import, under the host's Python: who of a script's processes and threads tells its end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.observations.collector import Collector, Journalled
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


@pytest.mark.parametrize(
    "line",
    [
        '{"type":"end","probes":1}',
        '{"type":"outcome","probe":"scenario/question/whole","ended":"done","text":"","line":0}',
        '{"type":"fact","type":"end","probes":1}',
        '{"type":"fact","name":"x","value":1,"\\u0074ype":"end"}',
        '{"type":"printed","text":"x"} {"type":"end","probes":1}',
        '{"type": "fact", "name": "x", "value": 1}',
        "hello",
    ],
)
def test_a_script_that_writes_to_its_standard_output_has_printed(library: Path, tmp_path: Path, line: str) -> None:
    text = f"import guest, os\nos.write(1, {line!r}.encode() + b'\\n')\nguest.expect('x', 1, 2)\n"
    told = play(library, tmp_path, text)
    assert told.printed == (line,)
    assert [(fact.name, fact.value) for fact in told.facts] == [("x", 1)]
    assert told.outcome is not None
    assert told.outcome.ended == "done"
    assert not told.doubts


def test_what_outlives_a_script_is_not_heard_any_more(library: Path, tmp_path: Path) -> None:
    text = "import guest, os\nif not os.fork():\n    os.setsid()\n    try:\n        while True: guest.observe('x', 1)\n"
    text += "    except BrokenPipeError: os._exit(0)\n"
    told = play(library, tmp_path, text + "guest.observe('y', 1)\n")
    assert ("y", 1) in [(fact.name, fact.value) for fact in told.facts]
    assert not told.doubts


SAID = (1, -7, 0, True, None, "", 'a"b\\c', "\n\0", "ä✓", (), (1, "x", None), 2**70, '{"type":"end"}')


def test_every_fact_that_can_be_said_is_passed_on(library: Path, tmp_path: Path) -> None:
    told = play(library, tmp_path, f"import guest\nfor x in {SAID!r}: guest.expect('a', x, x, [x] if x == 1 else x)\n")
    assert tuple(fact.value for fact in told.facts) == SAID
    assert told.printed == ()


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


def told(library: Path, folder: Path, *lines: str) -> dict[str, object]:
    """What a script observes, by name."""
    journalled = play(library, folder, "import errno, os, guest\n" + "\n".join(lines) + "\n")
    assert journalled.outcome is not None
    assert journalled.outcome.text == ""
    return {fact.name: fact.value for fact in journalled.facts}


REFUSED = "guest.munmap(guest.Area(1, guest.PAGE))"  # an address that is not aligned: EINVAL


@pytest.mark.parametrize(
    ("comparison", "holds"),
    [
        ("refused == 'EINVAL'", True),
        ("'EINVAL' == refused", True),
        ("refused != 'EINVAL'", False),
        ("refused == 'EPERM'", False),
        ("refused != 'EPERM'", True),
        ("refused == errno.EINVAL", True),
        ("refused != errno.EINVAL", False),
        ("refused == -errno.EINVAL", True),
        ("refused == errno.EPERM", False),
        ("refused == 0", False),
        ("refused in ('EPERM', 'EINVAL')", True),
        ("refused in (0, 'EPERM')", False),
        ("refused == guest.munmap(guest.Area(1, guest.PAGE))", True),
        ("refused == 'killed by SIGSEGV'", False),
        ("done == 0", True),
        ("done != 0", False),
        ("done == 'EINVAL'", False),
        ("done == refused", False),
        ("guest.syscall('getpid') == os.getpid()", True),
        ("guest.calls.Answer(-95) == 'ENOTSUP'", True),
        ("guest.calls.Answer(-95) == 'EOPNOTSUPP'", True),
        ("guest.calls.Answer(-512) == 'errno 512'", True),
        ("guest.Area(0, 4096) == 'ENOMEM'", False),
        ("guest.Area(0, 4096) == guest.Area(0, 4096)", True),
        ("guest.Area(0, 4096) == guest.Area(0, 8192)", False),
        ("{guest.Area(0, 4096): 'here'}[guest.Area(0, 4096)] == 'here'", True),
    ],
)
def test_an_answer_equals_its_own_name_and_number(library, tmp_path, comparison, holds):
    lines = (f"refused, done = {REFUSED}, guest.syscall('mseal', 0, 0, 1)", "done = guest.calls.Answer(0)")
    assert told(library, tmp_path, *lines, f"guest.observe('holds', {comparison})") == {"holds": holds}


@pytest.mark.parametrize(
    ("misuse", "kind", "words"),
    [
        ("refused == 'EPREM'", "ValueError", "'EPREM' is no error's name"),
        ("refused != 'eperm'", "ValueError", "'eperm' is no error's name"),
        ("refused == '0'", "ValueError", "'0' is no error's name"),
        ("refused in ('EPERM', 'sealed')", "ValueError", "'sealed' is no error's name"),
        ("guest.Area(0, 4096) == 'EPREM'", "ValueError", "'EPREM' is no error's name"),
        ("refused in {'EPERM'}", "TypeError", "cannot be looked up in a set or a dict: compare it with =="),
        ("bool(guest.in_child(os.abort))", "TypeError", "the child returned nothing (killed by SIGABRT)"),
        ("guest.in_child(os.abort) or 1", "TypeError", "neither true nor false"),
        ("guest.syscall('io_setpu')", "ValueError", "no system call is called 'io_setpu' here (io_setup"),
        ("guest.syscall('xyzzy')", "ValueError", "one that is newer can be given by its number"),
    ],
)
def test_a_misuse_is_told_in_a_sentence(library, tmp_path, misuse, kind, words):
    outcome = play(library, tmp_path, f"import os, guest\nrefused = {REFUSED}\n{misuse}\n").outcome
    assert outcome is not None
    assert (outcome.ended, outcome.line) == ("raised", 3)
    assert outcome.text.startswith(kind)
    assert words in outcome.text


@pytest.mark.parametrize(
    ("function", "found", "same"),
    [
        ("lambda: 0", 0, "not child and child == 0"),
        ("lambda: None", None, "child is None"),
        ("lambda: [1, 'two']", (1, "two"), "child == [1, 'two']"),
        ("lambda: 'a text'", "a text", "child.startswith('a ')"),
        (f"lambda: {REFUSED}", "EINVAL", "child == 'EINVAL' and child.errno == errno.EINVAL"),
        ("os.abort", "killed by SIGABRT", "child.startswith('killed') and child == 'killed by SIGABRT'"),
        ("lambda: os.kill(os.getpid(), 40)", "killed by signal 40", "isinstance(child, guest.Child)"),
        ("lambda: os._exit(4)", "exited with status 4", "child != 0"),
        ("lambda: 1 / 0", "raised ZeroDivisionError: division by zero", "'Zero' in child"),
    ],
)
def test_what_a_child_returned_is_used_as_it_is(library, tmp_path, function, found, same):
    lines = (f"child = guest.in_child({function})", "guest.observe('found', child)", f"guest.observe('same', {same})")
    assert told(library, tmp_path, *lines) == {"found": found, "same": True}


def test_every_system_call_has_its_number(library, tmp_path):
    some = {"io_setup": (206, 0), "perf_event_open": (298, 241), "clone3": (435, 435), "open": (2, None)}
    lines = [f"guest.observe({name!r}, str(guest.numbers.NUMBERS[{name!r}]))" for name in some]
    assert told(library, tmp_path, *lines) == {name: str(numbers) for name, numbers in some.items()}
    assert told(library, tmp_path, "guest.observe('ring', guest.syscall('io_setup', 0, 0))") == {"ring": "EFAULT"}


def test_places_for_pages_are_apart_and_their_end_is_told(library, tmp_path):
    lines = (
        "places = guest.calls._Places()",
        "guest.observe('first', [places.take(guest.PAGE), places.take(1 << 30), places.take(guest.PAGE)])",
        "try:\n    while True: places.take(1 << 28)",
        "except guest.SetupFailed as problem: guest.observe('end', str(problem))",
    )
    found = told(library, tmp_path, *lines)
    assert found["first"] == (0x500000000, 0x510000000, 0x560000000)
    assert found["end"] == "pages: there is no place left; name an address of your own: pages(…, at=ADDRESS)"
