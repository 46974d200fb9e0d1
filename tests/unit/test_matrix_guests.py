"""Kernels from trees and machines, and the profiles that say how a guest is entered."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from harness.errors import BootFailed, ConfigError, UsageError
from harness.guests.model import Waits
from harness.guests.ssh import SshGuest
from harness.guests.ssh_connect import Place, parse_place, place_of, target_of
from harness.guests.ssh_install import words_of
from harness.kernels.model import Kernel, Origin
from harness.kernels.store import Store
from harness.matrix.load import parse_matrix
from harness.matrix.model import InQemu, InVirtme, OverSsh
from harness.matrix.plan import plan_cells, refuse_impossible
from harness.matrix.sources.machine import MachineSource
from harness.matrix.sources.tree import TreeSource
from harness.runs.guest_factory import remote_limits

PATH = Path("/somewhere/kernels.yaml")

GOOD = """\
version: 1
kernels:
  here:
    source: machine
    architectures: [arm64]
  mine:
    source: tree
    tree: ../linux
    commit: v6.17
    fragments: [extra.config]
    architectures: [x86_64, arm64]
profiles:
  plain: {smp: 2}
  lived-in: {guest: virtme, memory: 512, root: {arm64: arm64-root}}
  board:
    guest: ssh
    host: board.local
    port: 2222
    user: root
    key: keys/board
    secret: BOARD_SECRET
    jump: me@gate.example:22
    install: [./flash, "{image}"]
selections:
  default: {kernels: [mine], profiles: [board]}
"""


def test_good_matrix() -> None:
    matrix = parse_matrix(GOOD.encode(), PATH)
    assert matrix.kernels["here"].source == MachineSource()
    folder = PATH.parent
    assert matrix.kernels["mine"].source == TreeSource(folder / "../linux", "v6.17", (folder / "extra.config",))
    assert matrix.profiles["plain"].guest == InQemu()
    assert matrix.profiles["lived-in"].guest == InVirtme({"arm64": folder / "arm64-root"})
    assert matrix.profiles["lived-in"].memory == 512
    assert matrix.profiles["board"].guest == OverSsh(
        "board.local", 2222, "root", folder / "keys/board", "BOARD_SECRET", "me@gate.example:22",
        install=("./flash", "{image}"),
    )  # fmt: skip
    refuse_impossible(plan_cells(matrix))
    followed = parse_matrix(GOOD.replace("commit: v6.17", "branch: next/mm\n    remote: akpm").encode(), PATH)
    assert followed.kernels["mine"].source == TreeSource(
        folder / "../linux", "", (folder / "extra.config",), "next/mm", "akpm"
    )


FAULTS = [
    ("    host: board.local\n", "", "kernels.yaml:15: profiles.board.host: is missing"),
    ("guest: ssh", "guest: shh", "profiles.board.guest: unknown value 'shh' (did you mean 'ssh'?)"),
    ("guest: virtme", "guest: [a]", "profiles.lived-in.guest: "),
    ("    user: root", "    memory: 96", "kernels.yaml:19: profiles.board: unknown key 'memory'"),
    ("    user: root", "    password: x", "profiles.board: unknown key 'password'"),
    ("user: root", "user: root:secret", "without a password"),
    ("me@gate.example:22", "me:secret@gate", "without a password"),
    ("port: 2222", "port: 70000", "profiles.board.port: must be less than or equal to 65535"),
    ("BOARD_SECRET", "hunter2!", "is not the name of an environment variable"),
    ("    key: keys/board", "    directories: [tmp]", "profiles.board.directories[0]: 'tmp' is not an absolute"),
    ("    key: keys/board", "    directories: ['/tmp; rm']", "in plain characters"),
    ("root: {arm64", "root: {arm32", "profiles.lived-in.root.arm32: unknown value 'arm32'"),
    ("smp: 2}", "root: {}}", "profiles.plain: unknown key 'root'"),
    ("plain: {smp: 2}", "plain: 2", "profiles.plain: must be a mapping"),
    ("    tree: ../linux\n", "", "kernels.mine.tree: is missing"),
    ("v6.17", "--upload-pack=x", "kernels.mine.commit: '--upload-pack=x' is not a commit"),
    ("v6.17", "v6.17\n    branch: next", "kernels.mine: commit and branch exclude each other"),
    ("commit: v6.17", "remote: akpm", "kernels.mine: remote says where branch is fetched from"),
    ("commit: v6.17", "branch: next:refs/heads/x", "'next:refs/heads/x' is not the name of a branch"),
    ("commit: v6.17", "branch: next\n    remote: --upload-pack=x", "'--upload-pack=x' is not a remote of the tree"),
    ("source: tree", "source: tre", "kernels.mine.source: unknown value 'tre' (did you mean 'tree'?)"),
    ("    source: machine", "    source: machine\n    release: 6.1", "kernels.here: unknown key 'release'"),
]


@pytest.mark.parametrize(("old", "new", "said"), FAULTS)
def test_fault_is_one_line(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_matrix(GOOD.replace(old, new, 1).encode(), Path("kernels.yaml"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_come_together() -> None:
    matrix = parse_matrix(GOOD.replace('    install: [./flash, "{image}"]\n', "").encode(), PATH)
    with pytest.raises(UsageError, match=r"here \(`source: machine`\) needs a profile.*-p NAME"):
        refuse_impossible(plan_cells(matrix, kernels=["here"], profiles=["plain"]))
    with pytest.raises(UsageError, match=r"board has no `install`, so mine cannot"):
        refuse_impossible(plan_cells(matrix))
    refuse_impossible(plan_cells(matrix, kernels=["here"], profiles=["board"]))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("board", Place("board", 22, "me")),
        ("root@board", Place("board", 22, "root")),
        ("root@board:2222", Place("board", 2222, "root")),
        ("fe80::1", Place("fe80::1", 22, "me")),
        ("root@[fe80::1]:2222", Place("fe80::1", 2222, "root")),
        ("[fe80::1]", Place("fe80::1", 22, "me")),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parse_place(text, "me") == place


@pytest.mark.parametrize("text", ["", "@board", "root:hunter2@board", "board:x", "board:0", "[fe80::1", "[::1]x"])
def test_no_places(text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        target_of(text)
    assert "hunter2" not in str(refusal.value)


def test_placeholders() -> None:
    kernel = Kernel("k", "6.12.1", "arm64", "own", Path("/i"), "Image", "0" * 64, Origin("file", "here"))
    target = OverSsh("h", 23, "u", install=("{image}", "-r{release}", "{arch} {host}:{port}", "{user}", "{x} {"))
    assert words_of(target, kernel) == ["/i", "-r6.12.1", "arm64 h:23", "u", "{x} {"]
    assert str(place_of(target)) == "u@h:23"


def test_a_machine_is_used_by_one_cell_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    target = OverSsh("127.0.0.1", 9)
    init = tmp_path / "init"
    init.write_bytes(b"")
    turn = store.try_lock("ssh 127.0.0.1 9")
    assert turn is not None
    guest = SshGuest(target, "x86_64", remote_limits("x86_64", 1.0), agent=lambda arch: init, store=Store(tmp_path))
    guest.stop()
    with turn, pytest.raises(BootFailed, match="stopped"):
        guest.boot()


def test_who_is_waited_for_is_told_and_not_for_ever(tmp_path: Path) -> None:
    store, told = Store(tmp_path), list[str]()
    init = tmp_path / "init"
    init.write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    name = f"ssh 127.0.0.1 {closed}"

    def boot(waits: Waits) -> None:
        guest = SshGuest(
            OverSsh("127.0.0.1", closed, "me"), "x86_64", remote_limits("x86_64", 1.0),
            folder=tmp_path / "here.x86_64.board", agent=lambda _: init, store=store, turn_seconds=0.05,
        )  # fmt: skip
        guest.waits = waits
        guest.boot()

    turn = store.try_lock(name, "process 7, a cell")
    assert turn is not None
    with pytest.raises(BootFailed, match=r"used by another cell \(process 7, a cell\) for more than 0\.05 s"):
        boot(told.append)

    def given_back(reason: str) -> None:
        told.append(reason)
        turn.close()

    with pytest.raises(BootFailed, match="refused"):
        boot(given_back)
    used = f"me@127.0.0.1:{closed} is used by another cell (process 7, a cell)"
    assert told == [used, used, ""]
    assert re.match(rf"process {os.getpid()}, here\.x86_64\.board, since ", store.held_by(name))
