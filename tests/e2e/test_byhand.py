"""``sealmatrix exec`` and ``shell`` as a person has them: real kernels, a real terminal, a debugger's protocol."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.kernels.model import Kernel
from tests.support.command_line import CLOSED
from tests.support.real_kernels import GetKernel

ROOT = Path(__file__).parents[2]
SEALMATRIX = [sys.executable, "-m", "harness"]
MATRIX = ["-f", str(ROOT / "kernels.yaml")]

pytestmark = pytest.mark.kernels


def execute(kernel: str, arch: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Without a terminal anywhere: in a session of its own, all three descriptors pipes or nothing."""
    return subprocess.run(
        [*SEALMATRIX, "exec", kernel, "-a", arch, *MATRIX, *options, "--", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False, start_new_session=True,
    )  # fmt: skip


def test_a_command_in_a_guest(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\necho pushed $1\n")
    script = (
        "mine 1; echo wrong >&2; payload --id; python3 -c 'print(6 * 7)'; tty; cat | wc -c; "
        "touch /sys/kernel/x /proc/x 2>/dev/null; ls /sys/class/net; exit 7"
    )
    done = execute("debian-6.12", "x86_64", "sh", "-c", script, options=("-q", "--push", str(tmp_path / "mine")))
    assert done.returncode == 7, done.stderr
    assert done.stderr == "wrong\n"
    lines = done.stdout.splitlines()
    assert lines[0] == "pushed 1"
    assert re.fullmatch(r"[0-9a-f]{16}", lines[1])
    assert lines[2:5] == ["42", "not a tty", "0"]
    assert set(lines[5:]) <= {"lo"}  # no network


def test_the_other_architecture_its_console_and_a_signal() -> None:
    done = execute("debian-6.12", "arm64", "sh", "-c", "uname -m; kill -9 $$", options=("--console",))
    assert done.returncode == 128 + signal.SIGKILL, done.stderr
    assert done.stdout == "aarch64\n"
    assert "Linux version 6.12" in done.stderr


def test_a_path_names_a_kernel_too(kernel: GetKernel, tmp_path: Path) -> None:
    found: Kernel = kernel("debian-6.12", "arm64")
    image = tmp_path / "Image"
    image.write_bytes(found.image.read_bytes())
    options = ".config", "\n".join(f"CONFIG_{name}={value}" for name, value in found.config.items())
    (tmp_path / options[0]).write_text(options[1])
    done = subprocess.run(
        [*SEALMATRIX, "exec", "-q", *MATRIX, str(image), "--", "uname", "-r"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{found.release}\n"), done.stderr


@pytest.mark.parametrize(
    ("kernel", "profile", "prompt"),
    [("debian-6.12", "standard", ":/work# "), ("debian-6.12-full", "lived-in", ".lived-in:~# ")],
    ids=["ours", "virtme"],
)
def test_a_shell_on_a_terminal(tmp_path: Path, kernel: str, profile: str, prompt: str) -> None:
    """Its size, its signals, its exit status; raw while it lasts, and as it was before afterwards."""
    matrix = tmp_path / "kernels.yaml"
    profiles = "\nprofiles:\n  lived-in: {guest: virtme, memory: 384}\n"
    matrix.write_text((ROOT / "kernels.yaml").read_text().replace("\nprofiles:\n", profiles, 1))
    ours, theirs = pty.openpty()
    command = [*SEALMATRIX, "shell", kernel, "-a", "x86_64", "-p", profile, "-f", str(matrix)]
    environment = os.environ | {"TERM": "dumb"}
    # Before the shell begins, which asks for the size once.
    subprocess.run(["stty", "rows", "33", "cols", "120"], stdin=theirs, check=True)
    before = subprocess.run(["stty", "-g"], stdin=theirs, capture_output=True, check=True).stdout
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment
    ) as process:
        try:
            seen = Screen(ours)
            seen.wait_for(prompt, 240)
            os.write(ours, b"stty size; sleep 1000\r")
            seen.wait_for("33 120", 60)
            # It reaches the guest's sleep, not us; between two commands a shell may take it for itself, and goes on.
            seen.press_until(b"\x03", prompt, 60)
            os.write(ours, b"exit 5\r")
            seen.until_gone(process, 60)
            assert process.returncode == 5
        finally:
            process.kill()  # or a failure would be waited for
    after = subprocess.run(["stty", "-g"], stdin=theirs, capture_output=True, check=True).stdout
    assert after == before
    os.close(ours)
    os.close(theirs)


class Screen:
    """What a terminal shows, waited for."""

    def __init__(self, fd: int) -> None:
        self._fd, self._text = fd, ""

    def wait_for(self, words: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while words not in self._text:
            assert self._read(end), f"{words!r} never came: {self._text}"
        self._text = self._text.partition(words)[2]

    def press_until(self, key: bytes, words: str, seconds: float) -> None:
        """Press a key, again after a while without an answer, until the words come."""
        end = time.monotonic() + seconds
        while words not in self._text:
            assert time.monotonic() < end, f"{words!r} never came: {self._text}"
            os.write(self._fd, key)
            again = min(end, time.monotonic() + 3)
            while words not in self._text and self._read(again):
                pass
        self._text = self._text.partition(words)[2]

    def until_gone(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        end = time.monotonic() + seconds
        while process.poll() is None:
            self._read(time.monotonic() + 0.1)
            assert time.monotonic() < end, self._text

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        if ready:
            self._text += os.read(self._fd, 65536).decode("utf-8", "replace")
        return bool(ready)


def test_a_debugger_finds_the_guest_stopped_and_lets_it_go() -> None:
    """The remote serial protocol of gdb, spoken by hand: stopped before the first instruction, then continued."""
    command = [*SEALMATRIX, "exec", "debian-6.12", "-a", "x86_64", "--gdb", *MATRIX, "--", "uname", "-r"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stderr is not None
        said = next(line.decode() for line in process.stderr if b"attach with" in line)
        path = re.search(r"target remote (\S+?)'", said)
        assert path is not None, said
        with socket.socket(socket.AF_UNIX) as stub:
            _connect(stub, path[1], process)
            stub.sendall(b"$?#3f")
            answer = stub.recv(4096)
            while b"T05" not in answer:
                answer += stub.recv(4096)
            stub.sendall(b"+$D#44")  # detach: it goes on without us
            out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.startswith(b"6.12")


def _connect(stub: socket.socket, path: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            stub.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            assert process.poll() is None
            assert time.monotonic() < end
            os.sched_yield()
        else:
            return


def test_a_program_that_cannot_run_there_is_told_before_anything_boots() -> None:
    for arch, told in (("x86_64", "is dynamically linked (to /lib"), ("arm64", "is for x86_64, the guest is arm64")):
        done = execute("debian-6.12", arch, "ls", options=("-q", "--push", "/bin/ls"))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"sealmatrix: ls {told}")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", CLOSED, ids=str)
def test_descriptors_that_are_closed(closed: tuple[int, ...], tmp_path: Path) -> None:
    """Daemons and CI agents start programs like this: exec, shell, run and compare come to what they always come to."""
    results = str(tmp_path / "results")
    kernel = ["debian-6.12", "-a", "x86_64", *MATRIX]

    def status(*words: str) -> int:
        command = ["bash", "-c", f'exec "$@" {" ".join(f"{n}>&-" for n in closed)}', "bash", *SEALMATRIX, *words]
        done = subprocess.run(command, input=b"exit 5\n", capture_output=True, timeout=300, check=False)
        assert b"Traceback" not in done.stdout + done.stderr
        return done.returncode

    assert status("exec", *kernel, "--", "sh", "-c", "echo out; echo err >&2; exit 7") == 7
    assert status("shell", *kernel) == (0 if 0 in closed else 5)  # without input there is no script
    assert status("run", "-k", *kernel, "-r", "munmap/anon-rw/*", "--results", results) == 0
    (run,) = [path.parent.name for path in (tmp_path / "results").glob("*/run.json")]
    assert status("compare", run, run, "--results", results) == 0


def test_a_reader_that_goes_away_ends_the_command_in_the_guest() -> None:
    command = [*SEALMATRIX, "exec", "-q", "debian-6.12", "-a", "x86_64", *MATRIX, "--", "yes"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_full_disk_ends_the_command_in_the_guest() -> None:
    command = [*SEALMATRIX, "exec", "-q", "debian-6.12", "-a", "x86_64", *MATRIX, "--", "yes"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith(b"sealmatrix: standard output cannot be written: No space left on device")
    assert done.stderr.count(b"\n") == 1
