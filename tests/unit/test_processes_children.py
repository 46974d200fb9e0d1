"""Whatever we start dies with us: at the first signal, and when we are killed outright."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import ToolMissing
from harness.kernels.apt import keyring
from harness.kernels.store import Store, default_root
from harness.processes.children import MERGED, PIPE, Done, OutOfTime, ask, run, start

ROOT = Path(__file__).parents[2]
_MARK = "SEALMATRIX_TEST_MARK"

# A program that leaves compilers behind in sessions of their own, some of which ignore what asks them to end. It makes
# a file when it has done so, and then works for ever.
FAMILY = """#!/bin/sh
trap '' TERM INT HUP
setsid sh -c 'sleep 1000; :' &
(setsid sh -c 'trap "" TERM; sleep 1000; :' &) &
sleep 1000 &
printf begun > "$0.begun"
wait
sleep 1000
"""
TOOLS = ("flex", "bison", "bc", "gcc")


def left(mark: str) -> list[str]:
    """The processes that carry a mark in their environment, as every descendant of a marked process does."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{_MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def until(holds: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.02)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A kernel tree with two commits, programs that never end instead of make and others, and a matrix."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "apt-get"):
        (tools / name).write_text(FAMILY)
    for name in TOOLS:
        (tools / name).write_text("#!/bin/sh\n")
    for program in tools.iterdir():
        program.chmod(0o755)
    tree = tmp_path / "lin"
    tree.mkdir()
    git = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    for sublevel in ("1", "2"):
        (tree / "Makefile").write_text(f"VERSION = 6\nPATCHLEVEL = {sublevel}\n")
        (tree / "Kbuild").write_text("")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", sublevel], check=True)
        subprocess.run([*git, "tag", f"v6.{sublevel}"], check=True)
    (tmp_path / "kernels.yaml").write_text(
        "version: 1\nkernels:\n"
        "  lin: {source: tree, tree: lin, architectures: [x86_64]}\n"
        "  deb: {source: debian, suites: [trixie], release: newest, architectures: [x86_64]}\n"
        "  arm: {source: tree, tree: lin, architectures: [x86_64], commit: v6.1}\n"
        "selections:\n  default: {kernels: [lin]}\n"
    )
    package = tmp_path / "python" / "ziglang"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(f"import os\nos.execv({str(tools / 'zig')!r}, ['zig'])\n")
    shutil.copy(tools / "make", tools / "zig")
    return tmp_path


def commands(place: Path) -> dict[str, tuple[list[str], str, str]]:
    """What is interrupted: the command, the program that is running then, and what is said of it."""
    matrix = ["-f", str(place / "kernels.yaml"), "--results", str(place / "results")]
    tree = str(place / "lin")
    both = ["--good", "v6.1", "--bad", "v6.2"]
    return {
        "run, of a tree": (["run", *matrix, "-k", "lin"], "make", "while building the configuration; run the same"),
        "run, two trees": (["run", *matrix, "-k", "lin", "-k", "arm"], "make", "while building the configuration"),
        "run, of packages": (["run", *matrix, "-k", "deb"], "apt-get", "while fetching the index of trixie"),
        "payload": (["run", "--host", *matrix[2:]], "zig", "while building program32 for x86_64; run the same command"),
        "mutants": (["mutants", "build", "--tree", tree], "make", "while building the configuration; run the same"),
        "bisect": (
            ["bisect", "--tree", tree, "--rule", "munmap-blocked", *both, *matrix[2:]],
            "make",
            r"while building the configuration; to continue: sealmatrix bisect --resume \S+ --results \S+",
        ),
    }


@contextlib.contextmanager
def sealmatrix(place: Path, argv: list[str], mark: str, cache: str = "cache") -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{place / 'python'}:{ROOT}",
        "SEALMATRIX_CACHE": str(place / cache),
        "SEALMATRIX_MIRROR": f"file://{place}/mirror",
        _MARK: mark,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", *argv],
        env=environment, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


WAYS = ("run, of a tree", "run, two trees", "run, of packages", "payload", "mutants", "bisect")


@pytest.mark.parametrize(
    ("way", "number"),
    [*((way, signal.SIGINT) for way in WAYS), ("run, of a tree", signal.SIGTERM), ("run, of a tree", signal.SIGHUP)],
)
def test_the_first_signal_ends_everything_and_it_is_said_what(way: str, number: signal.Signals, place: Path) -> None:
    argv, program, message = commands(place)[way]
    mark = prepared(way, place)
    with sealmatrix(place, argv, mark) as process:
        until((place / "bin" / f"{program}.begun").exists)
        assert len(left(mark)) >= 5
        process.send_signal(number)
        _, err = process.communicate(timeout=30)  # a tenth of a second where nothing else runs; the programs never end
    assert left(mark) == []
    assert process.returncode == 130
    assert re.search(f"interrupted {message}", err.strip().splitlines()[-1]), err
    assert "Traceback" not in err


@pytest.mark.parametrize("way", WAYS)
def test_killed_outright_we_leave_nothing(way: str, place: Path) -> None:
    argv, program, _ = commands(place)[way]
    mark = prepared(way, place)
    with sealmatrix(place, argv, mark) as process:
        until((place / "bin" / f"{program}.begun").exists)
        process.kill()
        process.wait()
        until(lambda: not left(mark), 10)


def prepared(way: str, place: Path) -> str:
    if way == "run, of packages":
        try:
            keyring()
        except ToolMissing as problem:
            pytest.skip(str(problem))
    if way == "bisect":  # it asks the payload which probes there are before it builds anything
        (place / "cache").mkdir()
        (place / "cache" / "payload").symlink_to(default_root() / "payload")
        shutil.rmtree(place / "python" / "ziglang")
    return secrets.token_hex(8)


def test_who_waits_for_a_build_says_so_and_is_interrupted_at_once(place: Path) -> None:
    argv, program, _ = commands(place)["run, of a tree"]
    mark = secrets.token_hex(8)
    with sealmatrix(place, argv, mark) as first:
        until((place / "bin" / f"{program}.begun").exists)
        with sealmatrix(place, argv, mark) as second:
            assert second.stderr is not None
            line = second.stderr.readline()
            assert line == f"lin x86_64: waiting for another sealmatrix (process {first.pid})\n"
            second.send_signal(signal.SIGINT)
            _, err = second.communicate(timeout=30)  # the build it waits for never ends
            assert second.returncode == 130
            assert err.strip() == "sealmatrix: interrupted"
        assert first.poll() is None
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=30)
    assert left(mark) == []


def test_a_download_that_stalls_is_interrupted_and_named(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/vmlinuz"
        with sealmatrix(place, ["run", url, "--results", str(place / "results")], secrets.token_hex(8)) as process:
            connection, _ = server.accept()  # and never an answer
            with connection:
                assert connection.recv(4) == b"GET "
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip().endswith(f"interrupted while fetching {url}; run the same command again to continue")


# --- one program ---------------------------------------------------------------------------------------------------


def test_a_program_is_what_it_was_without_a_keeper(tmp_path: Path) -> None:
    show = (
        "import os, sys, signal; print(sorted(os.environ), os.getcwd(), os.getpid() == os.getsid(0), sys.stdin.read())"
    )
    done = run([sys.executable, "-c", show], folder=tmp_path, environment={"LC_ALL": "C", "A": "b"}, given=b"given")
    assert done == Done(0, f"['A', 'LC_ALL'] {tmp_path} True given\n".encode(), b"")
    assert run(["sh", "-c", "echo out; echo err >&2; exit 7"]) == Done(7, b"out\n", b"err\n")
    assert run(["sh", "-c", "echo err >&2; kill -SEGV $$"], merged=True) == Done(-signal.SIGSEGV, b"err\n", b"")
    assert run(["sh", "-c", "trap"]).out == b""
    assert ask(["cat"], given=b"given") == Done(0, b"given", b"")


def test_it_has_only_the_descriptors_it_is_given() -> None:
    script = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:4])"
    assert run([sys.executable, "-c", script]).out == b"[0, 1, 2, 3]\n"  # 3 is that folder


@pytest.mark.parametrize("argv", [["/absent"], ["/etc"], ["/etc/passwd"]])
def test_what_cannot_be_run_is_an_error(argv: list[str]) -> None:
    with pytest.raises(OSError, match=r"No such file|Permission denied"):
        run(argv)


def test_out_of_time_it_is_ended_with_all_it_started(tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    program = tmp_path / "program"
    program.write_text(FAMILY)
    program.chmod(0o755)
    with pytest.raises(OutOfTime, match=r"no end within 0.5 s"):
        run([str(program)], environment=os.environ | {_MARK: mark}, seconds=0.5)
    assert left(mark) == []


@pytest.mark.parametrize(
    ("after", "status", "stays"), [("end", 0, False), ("leave", 0, True), ("leave", 3, False), ("end", 3, False)]
)
def test_what_it_leaves_running(after: str, status: int, stays: bool, tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ > {pid}; exec sleep 1000' & while [ ! -s {pid} ]; do :; done; exit {status}"
    environment = os.environ | {_MARK: mark}
    with start(["sh", "-c", script], environment=environment, after=after) as child:  # type: ignore[arg-type]
        assert child.wait(30) == status
    assert bool(left(mark)) is stays
    if stays:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_orphans_do_not_pile_up(tmp_path: Path) -> None:
    script = (
        "for i in $(seq 50); do (true &) ; done; grep -l '^PPid:.*'\"$PPID\" /proc/[0-9]*/status 2>/dev/null | wc -l"
    )
    with start(["sh", "-c", f"{script} > {tmp_path}/count"], stderr=MERGED, stdout=PIPE) as child:
        assert child.wait(60) == 0
    assert int((tmp_path / "count").read_text()) < 25


def test_locks_are_waited_for_and_given_back(tmp_path: Path) -> None:
    store, said = Store(tmp_path), []

    def other() -> None:
        with store.lock("builds", said.append):
            said.append("has it")

    with store.lock("builds"):
        thread = threading.Thread(target=other)
        thread.start()
        until(lambda: said)
    thread.join()
    assert said == ["waiting for its turn", "has it"]


# --- one place -------------------------------------------------------------------------------------------------------


def starters(source: str) -> Iterator[str]:
    """What a module would start programs with."""
    names = {"fork", "forkpty", "posix_spawn", "posix_spawnp", "popen", "system"}
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=found):
                yield from (
                    a.name for a in found if a.name.partition(".")[0] in ("subprocess", "multiprocessing", "pty")
                )
            case ast.ImportFrom(module="subprocess" | "multiprocessing" | "pty" as module):
                yield module
            case ast.ImportFrom(module="concurrent.futures", names=found):
                yield from (alias.name for alias in found if alias.name == "ProcessPoolExecutor")
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in names or name.startswith(
                ("exec", "spawn")
            ):
                yield name
            case ast.Attribute(value=ast.Name(id="asyncio"), attr=name) if name.startswith("create_subprocess"):
                yield name


def test_programs_are_started_in_one_place() -> None:
    found = {
        str(path.relative_to(ROOT / "harness")): sorted(set(starters(path.read_text())))
        for path in sorted((ROOT / "harness").rglob("*.py"))
    }
    assert {path: names for path, names in found.items() if names} == {
        "processes/children.py": ["subprocess"],
        "processes/keeper.py": ["execvpe", "fork"],
    }
