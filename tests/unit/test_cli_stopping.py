"""Signals at every moment of a command's life: one answer, a proper exit status, and never a trace of Python's."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness.cli.stopping import Signals

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ended(program: str, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


# --- several signals ------------------------------------------------------------------------------------------------


class Installed(dict[int, Callable[[int, None], object]]):
    """What a process has for each signal."""

    def __call__(self, number: int, handler: Any) -> None:
        self[number] = handler


def test_signals_that_come_together_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal's Ctrl-C reaches us and the supervisor that passes it on."""
    monkeypatch.setattr("harness.cli.stopping.stop_all", lambda: ("building the kernel of linux",))
    now, handlers = [100.0], Installed()
    Signals(handlers, lambda: now[0]).working()
    assert set(handlers) == set(SIGNALS)
    with pytest.raises(KeyboardInterrupt, match="building the kernel of linux"):
        handlers[signal.SIGINT](signal.SIGINT, None)
    for after in (0.0, 0.001, 0.9):
        now[0] = 100.0 + after
        handlers[signal.SIGTERM](signal.SIGTERM, None)
    now[0] = 101.1
    with pytest.raises(KeyboardInterrupt):
        handlers[signal.SIGINT](signal.SIGINT, None)


def test_the_second_half_of_a_signal_does_not_cut_the_last_lines_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cli.stopping.stop_all", tuple)
    left: list[int] = []
    monkeypatch.setattr("harness.cli.stopping.at_once", lambda number, _: left.append(number))
    now, handlers = [100.0], Installed()
    signals = Signals(handlers, lambda: now[0])
    signals.working()
    with pytest.raises(KeyboardInterrupt):
        handlers[signal.SIGINT](signal.SIGINT, None)
    signals.ending()
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert left == []
    now[0] = 105.0  # whoever reads our last lines does not
    handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert left == [signal.SIGTERM]
    signals.over()
    assert set(handlers.values()) == {signal.SIG_IGN}


# --- while modules are imported -------------------------------------------------------------------------------------

_WHILE_IMPORTING = """
import os, signal, sys
wanted, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder())
from harness.cli import main
main()
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["click", "harness.cli.main", "harness.cli.lazy", "harness.cli.rules", "rich.table"])
def test_a_signal_while_modules_are_imported_leaves_no_trace(module: str, number: int) -> None:
    assert ended(_WHILE_IMPORTING, module, str(int(number)), "rules", "list") == (130, "", "sealmatrix: interrupted\n")


# --- while a command works, and after it ----------------------------------------------------------------------------

_SIGNALLED = """
import importlib, os, signal, sys
main, stopping = (importlib.import_module(f"harness.cli.{name}") for name in ("main", "stopping"))
def hit(): os.kill(os.getpid(), signal.SIGTERM)
def works(obj, **_):
    obj.working()
    if when == "working": hit()
    print("all is done")
    return 1
def told(error):
    hit()
    return ""
when = sys.argv[1]
main.cli.main = works
if when == "after":
    import atexit
    atexit.register(hit)
if when == "while it is told":
    when, main.doing = "working", told
main.main(stopping.Signals())
"""


@pytest.mark.parametrize(
    ("when", "answer"),
    [
        ("working", (130, "", "sealmatrix: interrupted\n")),
        ("while it is told", (130, "", "sealmatrix: interrupted\n")),
        ("after", (1, "all is done\n", "")),
        ("never", (1, "all is done\n", "")),
    ],
)
def test_a_signal_has_one_answer_and_none_when_all_is_done(when: str, answer: tuple[int, str, str]) -> None:
    assert ended(_SIGNALLED, when) == answer


def test_what_a_shell_has_us_ignore_stays_ignored() -> None:
    """nohup(1), and the background jobs of a shell without job control."""
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{_SIGNALLED}"
    program = program.replace("signal.SIGTERM", "signal.SIGHUP")
    assert ended(program, "working") == (1, "all is done\n", "")


# --- a terminal that is closed --------------------------------------------------------------------------------------

_IN_A_TERMINAL = """
import importlib, os, signal, sys
main, stopping = (importlib.import_module(f"harness.cli.{name}") for name in ("main", "stopping"))
def works(obj, **_):
    if sys.argv[1] == "hears of it": obj.working()
    else: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)]
    try:
        print("begun")
        os.read(int(sys.argv[2]), 1)
        while True:
            print("more")
            if sys.argv[1] != "hears of it": return 0
            signal.sigtimedwait([], 0.01)
    finally:
        os.write(int(sys.argv[3]), b"cleaned up")
main.cli.main = works
main.main(stopping.Signals())
"""


@pytest.mark.parametrize("how", ["hears of it", "only its output fails"])
def test_who_closes_the_terminal_interrupts_what_runs_in_it(how: str) -> None:
    waits, goes_on = os.pipe()
    cleaned, cleans = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        for descriptor in (waits, cleans):
            os.set_inheritable(descriptor, True)
        os.execv(sys.executable, [sys.executable, "-c", _IN_A_TERMINAL, how, str(waits), str(cleans)])
    assert os.read(terminal, 5) == b"begun"
    os.close(terminal)
    os.write(goes_on, b"x")
    _, status = os.waitpid(pid, 0)
    os.close(cleans)
    assert os.read(cleaned, 20) == b"cleaned up"
    for descriptor in (waits, goes_on, cleaned):
        os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 130
