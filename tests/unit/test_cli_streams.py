"""Started in any environment: descriptors closed, readers that go away, full disks, screens of no width."""

from __future__ import annotations

import functools
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from harness.mutants.catalogue import load_mutants
from harness.rules.load import load_catalogue
from tests.support.command_line import CLOSED

SEALMATRIX = [sys.executable, "-m", "harness"]

# A command that tells, in a file, what its own descriptors and those of a program it starts are.
_TELLS = """
import json, os, subprocess, sys
from pathlib import Path
from harness.cli.main import cli, main
def tell(**_):
    look = "import os, sys; print([os.readlink('/proc/self/fd/%d' % n) for n in range(3)], file=open(sys.argv[1], 'w'))"
    subprocess.run([sys.executable, "-c", look, sys.argv[1] + ".child"], check=True)
    print("out"); print("err", file=sys.stderr)
    ours = [os.readlink(f"/proc/self/fd/{n}") for n in range(3)]
    Path(sys.argv[1]).write_text(json.dumps([ours, sys.stdin.read()]))
    return 1
cli.main = tell
main()
"""
# A command with more to print than a pipe holds, and an exit status of its own.
_PRINTS = """
import sys
from harness.cli.main import cli, main
def much(**_):
    for number in range(100_000):
        print(number, file=sys.stdout)
    return int(sys.argv[1])
cli.main = much
main()
"""


def closing(closed: tuple[int, ...], command: list[str]) -> list[str]:
    return ["bash", "-c", f'exec "$@" {" ".join(f"{n}>&-" for n in closed)}', "bash", *command]


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_what_is_closed_is_dev_null_for_us_and_our_children(closed: tuple[int, ...], tmp_path: Path) -> None:
    told = tmp_path / "told"
    done = subprocess.run(
        closing(closed, [sys.executable, "-c", _TELLS, str(told)]),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert (done.stdout, done.stderr) == ("" if 1 in closed else "out\n", "" if 2 in closed else "err\n")
    ours, read = json.loads(told.read_text())
    assert read == ""
    assert [n for n in range(3) if ours[n] == "/dev/null"] == sorted({0, *closed})
    assert (tmp_path / "told.child").read_text().strip() == str(ours)


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_reader_that_goes_away_changes_no_exit_status(status: int) -> None:
    command = [sys.executable, "-c", _PRINTS, str(status)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (status, b"")


@pytest.mark.parametrize("words", [["rules", "list"], ["rules", "list", "--json"], ["--help"], ["--version"]], ids=str)
def test_real_commands_whose_reader_never_was_there(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*SEALMATRIX, *words], stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [["rules", "list"], ["rules", "list", "--json"], ["--help"], ["--version"]], ids=str)
def test_a_full_disk_is_one_line_and_no_rule_that_failed(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*SEALMATRIX, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert (
        done.stderr == "sealmatrix: standard output cannot be written: No space left on device; some output is lost\n"
    )


def test_standard_error_on_a_full_disk_changes_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*SEALMATRIX, "rules", "show", "nope"], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.returncode == 2


@functools.cache
def listed(*words: str, **environment: str) -> str:
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.run(
        [*SEALMATRIX, *words], env=plain | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("columns", ["0", "-1", "", "²"])
def test_a_screen_of_no_width_is_as_if_nobody_had_said_so(columns: str) -> None:
    words = ("rules", "list", "--family", "munmap")
    assert listed(*words, COLUMNS=columns, LINES=columns) == listed(*words) != ""


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "40"}], ids=str)
def test_lists_that_are_piped_have_whole_sentences(environment: dict[str, str]) -> None:
    """Each entry is one line, without spaces at its end."""
    rules = listed("rules", "list", **environment).splitlines()
    entries = zip(load_catalogue().values(), rules[1:], strict=True)
    assert [rule.id for rule, line in entries if rule.statement not in line] == []
    mutants = listed("mutants", "list", **environment)
    assert [mutant.what for mutant in load_mutants().values() if mutant.what not in mutants] == []
    kernels = listed("kernels", "list", **environment)
    assert "debian bookworm cloud release=6.1" in kernels
    assert [line for line in (*rules, *mutants.splitlines(), *kernels.splitlines()) if line != line.rstrip()] == []


def test_a_list_on_a_terminal_fits_it() -> None:
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", "90"], stdin=theirs, check=True)
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [*SEALMATRIX, "rules", "list", "--family", "munmap"], env=plain | {"TERM": "dumb"}, stdout=theirs
    ):
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
    os.close(ours)
    lines = seen.decode().splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 90
