"""Looking at a guest by hand: what is meant, what is run, what is shown; without a guest."""

from __future__ import annotations

import os
import pty
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.byhand import attach
from harness.cli.main import cli
from harness.errors import KernelUnavailable, LostGuest, SealmatrixError, UsageError
from harness.guests.deadlines import deadlines, unlimited
from harness.guests.model import Exited, Output
from harness.guests.terminal import bridge, followed
from harness.kernels.archive import Package, Saying
from harness.kernels.model import Kernel, Origin
from harness.kernels.resolve import Resolution
from harness.kernels.store import Store
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import Profile
from harness.model.architectures import ARCHES
from harness.payload.busybox import busybox
from harness.payload.compiler import compile_given
from harness.payload.elf import unfit
from harness.runs.interactive import pick, run_command
from harness.runs.model import Cell
from tests.fakes import FakeGuest
from tests.unit.kernel_fakes import make_deb

MATRIX = ["-f", str(shipped_path())]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["exec", "debain-6.12", "--", "true"], "did you mean 'debian-6.12"),
        (["exec", "./absent", "--", "true"], "no such file"),
        (["exec", "debian-6.12"], "Missing argument"),
        (["exec", "debian-6.12", "-p", "standrad", "--", "true"], "did you mean 'standard'"),
        (["shell", "debian-6.12-16k", "-a", "x86_64"], "exists for x86_64"),
        (["exec", "debian-6.12", "--push", "/absent", "--", "true"], "does not exist"),
    ],
)
def test_bad_input(words: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, [words[0], *MATRIX, *words[1:]])
    told = str(done.exception) if isinstance(done.exception, SealmatrixError) else done.output
    assert message in told
    assert done.exit_code == 2 or (isinstance(done.exception, SealmatrixError) and done.exception.exit_code == 2)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ((Output("out", b"a"), Output("err", b"b"), Output("out", b"c"), Exited(7, None)), 7),
        ((Output("out", b"ac"), Output("err", b"b"), Exited(None, 9)), 137),
    ],
)
def test_a_command_s_output_and_end(script: Sequence[Output | Exited], status: int) -> None:
    written = {"out": b"", "err": b""}

    def write(stream: str, data: bytes) -> None:
        written[stream] += data

    guest = FakeGuest(script)
    assert run_command(guest, ["uname", "-a b"], write) == status
    assert written == {"out": b"ac", "err": b"b"}
    assert guest.calls == ['run /bin/sh -c exec "$@" sh uname -a b']


def test_a_guest_that_is_lost() -> None:
    with pytest.raises(LostGuest, match="gone"):
        run_command(FakeGuest((LostGuest("gone"),)), ["true"], lambda stream, data: None)


def test_a_person_may_take_for_ever() -> None:
    limits = deadlines("arm64", "tcg", "x86_64")
    assert unlimited(limits).boot == limits.boot
    assert unlimited(limits).silence == unlimited(limits).total == unlimited(limits, boot=True).boot == float("inf")


@pytest.mark.parametrize(("profile", "swap"), [(None, 0), ("standard", 64), ("two-cpus", 64)])
def test_a_guest_by_hand_has_swap_where_its_profile_was_asked_for(
    profile: str | None, swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel("k", "6.12", "x86_64", "own", Path("/s/image"), "bzImage", "", Origin("file", ""))
    resolution = Resolution({("debian-6.12", arch): kernel for arch in ARCHES})
    monkeypatch.setattr("harness.runs.interactive.provide", lambda *words, **options: resolution)
    cell = pick(load_matrix(shipped_path()), "debian-6.12", None, profile, offline=True, say=lambda *words: None)
    assert (cell.profile.swap, cell.profile.hugepages) == (swap, 8)


@pytest.mark.parametrize(
    ("arch", "image_format", "line"),
    [
        ("x86_64", "vmlinux", "gdb -ex 'target remote /t/gdb' /s/image"),
        ("x86_64", "bzImage", "gdb -ex 'target remote /t/gdb'"),
        ("arm64", "Image", "gdb-multiarch -ex 'set architecture aarch64' -ex 'target remote /t/gdb'"),
    ],
)
def test_how_a_debugger_attaches(arch: str, image_format: str, line: str) -> None:
    kernel = Kernel("k", "6.12", arch, "own", Path("/s/image"), image_format, "", Origin("file", ""))  # type: ignore[arg-type]
    cell = Cell("k", arch, Profile("standard"), kernel)  # type: ignore[arg-type]
    assert attach(cell, Path("/t/gdb")) == line


@pytest.mark.parametrize("given", ["arch/x86/boot/bzImage", "bzImage", ""])
def test_a_debugger_is_given_the_person_s_own_vmlinux(tmp_path: Path, given: str) -> None:
    place = tmp_path / "linux" / given
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "linux").mkdir(exist_ok=True)
    (tmp_path / "linux" / "vmlinux").touch()
    kernel = Kernel("k", "6.12", "x86_64", "own", Path("/s/image"), "bzImage", "", Origin("file", "file bzImage"))
    told = attach(Cell("k", "x86_64", Profile("standard"), kernel), Path("/t/gdb"), str(place))
    assert told == f"gdb -ex 'target remote /t/gdb' {tmp_path}/linux/vmlinux"


def test_a_c_file_is_compiled_static_for_the_guest_s_architecture(tmp_path: Path) -> None:
    source = tmp_path / "repro.c"
    source.write_text("int main(int count, char **words) { int unused; return 7; }\n")
    assert unfit(compile_given(source, "arm64"), "arm64") == ""
    source.write_text("int main(void) { return absent; }\n")
    with pytest.raises(UsageError, match=r"repro for x86_64 does not compile: .*repro.c:1:25: error"):
        compile_given(source, "x86_64")


def test_a_terminal_is_joined_and_left() -> None:
    ours, guests = socket.socketpair()
    screen, stdin = pty.openpty()
    shown_in, shown_out = os.pipe()
    left = threading.Event()

    def leave() -> None:
        left.set()
        guests.close()

    with ours, bridge(ours, leave, stdin, shown_out):
        os.write(screen, b"ls\x03\r")
        assert guests.recv(16) == b"ls\x03\r"  # raw: neither a signal nor a newline here
        guests.sendall(b"file\r\n")
        assert os.read(shown_in, 16) == b"file\r\n"
        os.write(screen, b"\x1d")
        assert left.wait(10)
    for fd in (screen, stdin, shown_in, shown_out):
        os.close(fd)


def test_what_a_guest_wrote_last_is_not_lost() -> None:
    ours, guests = socket.socketpair()
    screen, stdin = pty.openpty()
    shown_in, shown_out = os.pipe()
    with ours, bridge(ours, guests.close, stdin, shown_out):
        guests.sendall(b"the end")
        guests.close()
    assert os.read(shown_in, 16) == b"the end"
    for fd in (screen, stdin, shown_in, shown_out):
        os.close(fd)


def test_a_console_is_followed_to_its_end(tmp_path: Path) -> None:
    console, shown = tmp_path / "console.log", tmp_path / "shown"
    with shown.open("wb") as into, followed(console, into.fileno()):
        console.write_bytes(b"Linux version\n")
        with console.open("ab") as more:
            more.write(b"Power down\n")
    assert shown.read_bytes() == b"Linux version\nPower down\n"


@dataclass
class Shelf:
    """Packages that hold one file."""

    place: str
    asked: list[str] = field(default_factory=list)

    def named(self, suite: str, architecture: str, names: Sequence[str]) -> tuple[Package, ...]:
        self.asked.append(architecture)
        return tuple(Package(name, "1.0", "0" * 64, 1, suite) for name in names) if self.place else ()

    def download(self, architecture: str, packages: Sequence[Package], folder: Path, say: Saying) -> list[Path]:
        file = folder / "busybox.deb"
        file.write_bytes(make_deb({self.place.removeprefix("./"): b"tool"}))
        return [file]


def test_busybox_is_fetched_once(tmp_path: Path) -> None:
    shelf = Shelf("./bin/busybox")
    store = Store(tmp_path)
    first = busybox("arm64", lambda text: None, store, shelf)
    assert first.read_bytes() == b"tool"
    assert busybox("arm64", lambda text: None, store, shelf) == first
    assert shelf.asked == ["arm64"]


@pytest.mark.parametrize(("place", "message"), [("", "has no busybox-static"), ("./bin/sh", "no busybox in it")])
def test_no_busybox(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(KernelUnavailable, match=message):
        busybox("x86_64", lambda text: None, Store(tmp_path), Shelf(place))
