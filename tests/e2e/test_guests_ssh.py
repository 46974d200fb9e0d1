"""Guests over SSH against a real OpenSSH server on the loopback interface."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BootFailed, LostGuest
from harness.guests.host import HostGuest
from harness.guests.model import Deadlines, Event, Exited, Output
from harness.guests.pid1 import build_init
from harness.guests.ssh import SshGuest, detect_arch
from harness.kernels.model import Kernel, Origin
from harness.kernels.store import SETTING, Store, default_root
from harness.matrix.model import OverSsh
from harness.model.architectures import ARCHES, Arch, host_arch
from tests.sshd import Account, Server, keygen, running

ROOT = Path(__file__).parents[2]
SEALMATRIX = [sys.executable, "-m", "harness"]
LIMITS = Deadlines(boot=30, probe=1, silence=30, total=60)
HERE: Arch = next(arch for arch in ARCHES if arch == host_arch())
OTHER: Arch = next(arch for arch in ARCHES if arch != HERE)
GREET = b"#!/bin/sh\necho out\necho err >&2\npwd\nexit 7\n"
LINGER = b"#!/bin/sh\necho $$\nsetsid sleep 1000 &\nwait\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")

MakeGuest = Callable[..., SshGuest]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where guests make their directories; every test leaves it empty."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def guest(server: Server, place: Path, tmp_path: Path) -> Iterator[MakeGuest]:
    made: list[SshGuest] = []

    def make(target: OverSsh | None = None, arch: Arch = HERE, limits: Deadlines = LIMITS, **more: object) -> SshGuest:
        target = target or server.with_(directories=(str(place),))
        # A store of each test's own: tests that run side by side are not to wait for each other's machine.
        more.setdefault("store", Store(tmp_path / "store"))
        made.append(SshGuest(target, arch, limits, agent=build_init, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    with ExitStack() as stack:

        def mount(options: str) -> Path:
            folder = tmp_path / f"tmpfs-{re.sub('[^a-z0-9]', '-', options)}"
            folder.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield mount


def ran(guest: SshGuest, script: bytes) -> list[Event]:
    return list(guest.run([guest.push("program", script)]))


def text(events: list[Event], stream: str) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Output) and event.stream == stream)


def emptied(folder: Path, seconds: float = 20) -> bool:
    """The agent removes its directory by itself, some moments after its connection has gone."""
    end = time.monotonic() + seconds
    while list(folder.iterdir()) and time.monotonic() < end:
        os.sched_yield()
    return not list(folder.iterdir())


def test_a_machine_is_a_guest_and_is_left_as_it_was(guest: MakeGuest, place: Path) -> None:
    one = guest()
    booted = one.boot()
    assert (booted.release, booted.machine) == (platform.release(), platform.machine())
    assert booted.page_size == os.sysconf("SC_PAGE_SIZE")
    here = HostGuest(LIMITS)
    assert booted.config == here.boot().config
    here.stop()
    (work,) = place.iterdir()
    assert work.stat().st_mode & 0o777 == 0o700
    events = ran(one, GREET)
    assert text(events, "out") == f"out\n{work}\n".encode()
    assert text(events, "err") == b"err\n"
    assert events[-1] == Exited(7, None)
    assert ran(one, b"#!/bin/sh\nkill -SEGV $$\n")[-1] == Exited(None, signal.SIGSEGV)
    one.stop()
    assert list(place.iterdir()) == []


def test_what_a_payload_leaves_running_is_ended(guest: MakeGuest) -> None:
    one = guest()
    one.boot()
    events = ran(one, b"#!/bin/sh\nsetsid sleep 1000 &\necho $!\n")
    pid = int(text(events, "out"))
    assert not Path(f"/proc/{pid}").exists()


def test_an_unknown_host_key_is_refused(guest: MakeGuest, server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_key.pub")], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    with pytest.raises(BootFailed, match="its host key is unknown") as refusal:
        guest(server.with_(known_hosts=known)).boot()
    assert printed in str(refusal.value)
    known.write_text(str(refusal.value).rpartition(f"{known}: ")[2] + "\n")
    assert guest(server.with_(known_hosts=known)).boot().machine  # the remedy it names is one


def test_a_changed_host_key_is_refused(guest: MakeGuest, server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{server.port} {other[0]} {other[1]}\n")
    with pytest.raises(BootFailed, match=r"its host key CHANGED: .*ssh-keygen -R"):
        guest(server.with_(known_hosts=known)).boot()


def test_a_key_nobody_accepts(guest: MakeGuest, server: Server, tmp_path: Path) -> None:
    with pytest.raises(BootFailed, match=r"refused the key .*stranger"):
        guest(server.with_(key=keygen(tmp_path / "stranger"))).boot()


def test_a_key_with_a_passphrase(guest: MakeGuest, tmp_path: Path) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir()
    keygen(folder / "key", "open sesame")
    with running(folder) as server:
        with pytest.raises(BootFailed, match="has a passphrase"):
            guest(server.target).boot()
        target = server.with_(secret="THE_SECRET")
        with pytest.raises(BootFailed, match="THE_SECRET, which is not set"):
            guest(target, environment={}).boot()
        with pytest.raises(BootFailed) as refusal:
            guest(target, environment={"THE_SECRET": "open barley"}).boot()
        assert "barley" not in str(refusal.value)
        assert guest(target, environment={"THE_SECRET": "open sesame"}).boot().machine


@needs_root
def test_a_password_and_an_ordinary_user(guest: MakeGuest, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="home-") as name:  # pytest's own folders let nobody else in
        account = Account("ordinary", "open sesame", 54321, Path(name))
        os.chown(name, account.uid, account.uid)
        with running(tmp_path / "sshd", "PasswordAuthentication yes", account=account) as server:
            target = server.with_(user=account.name, key=None, secret="WORD", directories=("/dev/shm/absent", "~"))
            with pytest.raises(BootFailed, match=r"agent's keys, those in ~/\.ssh and the secret") as refusal:
                guest(target, environment={"WORD": "open barley"}).boot()
            assert "barley" not in str(refusal.value)
            one = guest(target, environment={"WORD": account.password})
            notes = one.boot().notes
            assert "the payload ran as user 54321, not as root: probes that need root are skipped" in notes
            events = ran(one, b"#!/bin/sh\nid -u\npwd\ncat /etc/shadow\n")
            user, work = text(events, "out").decode().split()
            assert (user, Path(work).parent) == ("54321", account.home)
            assert Path(work).stat().st_uid == account.uid
            assert b"Permission denied" in text(events, "err")
            one.stop()
            assert list(account.home.iterdir()) == []


def test_keys_of_an_agent(guest: MakeGuest, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, str(default_root()))
    monkeypatch.setenv("HOME", str(tmp_path))  # no keys in ~/.ssh
    place = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(place))
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(place)], stdout=subprocess.DEVNULL) as agent:
        try:
            while not place.exists():
                assert agent.poll() is None
                os.sched_yield()
            target = server.with_(key=None)
            with pytest.raises(BootFailed, match="no key was found"):
                guest(target).boot()
            subprocess.run(["ssh-add", "-q", str(keygen(tmp_path / "stranger"))], check=True)
            with pytest.raises(BootFailed, match="refused the agent's keys"):
                guest(target).boot()
            subprocess.run(["ssh-add", "-q", str(server.folder / "key")], check=True)
            assert guest(target).boot().machine
        finally:
            agent.terminate()


def test_through_a_jump_host(guest: MakeGuest, server: Server) -> None:
    jump = f"{server.target.user}@127.0.0.1:{server.port}"
    one = guest(server.with_(jump=jump))
    one.boot()
    assert ran(one, GREET)[-1] == Exited(7, None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    with pytest.raises(BootFailed, match=f"cannot reach 127.0.0.1:{closed}"):
        guest(server.with_(jump=jump, port=closed), store=Store(server.folder / "store")).boot()


def test_a_dropped_connection_loses_the_guest_and_leaves_nothing(guest: MakeGuest, server: Server, place: Path) -> None:
    one = guest()
    one.boot()
    pid = 0
    with pytest.raises(LostGuest, match=r"the connection to .* was lost"):
        for event in one.run([one.push("linger", LINGER)]):
            assert isinstance(event, Output)
            pid = int(event.data)
            for session in server.sessions():
                os.kill(session, signal.SIGKILL)
    one.stop()
    assert emptied(place)
    assert not Path(f"/proc/{pid}").exists()


def test_stop_from_another_thread(guest: MakeGuest, place: Path) -> None:
    one = guest()
    one.boot()
    with pytest.raises(LostGuest, match="stopped"):
        for _ in one.run([one.push("linger", LINGER)]):
            threading.Thread(target=one.stop).start()
    assert emptied(place)
    with pytest.raises(BootFailed, match="stopped"):
        one.boot()


def test_deadlines_hold(guest: MakeGuest) -> None:
    one = guest(limits=replace(LIMITS, silence=0.5))
    one.boot()
    with pytest.raises(LostGuest, match=r"silent for 0\.5 s"):
        ran(one, LINGER)


def test_a_machine_that_freezes_is_given_up(guest: MakeGuest, server: Server, place: Path) -> None:
    """It acknowledges all it is sent, and carries out nothing: neither what runs nor what ends it waits for ever."""
    one = guest(limits=replace(LIMITS, silence=1))
    one.boot()
    frozen = server.sessions()
    begun = time.monotonic()
    with pytest.raises(LostGuest, match="silent for 1 s"):
        for _ in one.run([one.push("linger", LINGER)]):
            for session in frozen:
                os.kill(session, signal.SIGSTOP)
    one.stop()
    assert time.monotonic() - begun < 30
    for session in frozen:
        os.kill(session, signal.SIGCONT)
    assert emptied(place)


def test_a_server_that_never_speaks(guest: MakeGuest, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = server.with_(port=mute.getsockname()[1])
        with pytest.raises(BootFailed, match=r"127\.0\.0\.1"):
            guest(target, limits=replace(LIMITS, boot=0.5)).boot()
    with pytest.raises(BootFailed, match="Connection refused"):
        guest(target).boot()


def test_the_wrong_architecture(guest: MakeGuest, server: Server) -> None:
    assert detect_arch(server.target, 30) == HERE
    with pytest.raises(BootFailed, match=f"is {HERE}, not {OTHER}"):
        guest(arch=OTHER).boot()


@needs_root
def test_a_directory_nothing_can_be_executed_in(
    guest: MakeGuest, server: Server, mounted: Callable[[str], Path], place: Path
) -> None:
    noexec = mounted("noexec")
    with pytest.raises(BootFailed, match=r"tmpfs-noexec: nothing can be executed there"):
        guest(server.with_(directories=(str(noexec),))).boot()
    assert list(noexec.iterdir()) == []
    one = guest(server.with_(directories=(str(noexec), "/nonexistent", str(place))))
    notes = one.boot().notes
    assert [note.partition(": ")[0] for note in notes] == ["directory passed over"] * 2
    assert ran(one, GREET)[-1] == Exited(7, None)


@needs_root
def test_a_full_disk(guest: MakeGuest, server: Server, mounted: Callable[[str], Path]) -> None:
    full = mounted("size=16k")
    with pytest.raises(BootFailed, match=r"size-16k: no space left: \d+ KiB free, \d+ KiB needed"):
        guest(server.with_(directories=(str(full),))).boot()
    assert list(full.iterdir()) == []
    small = mounted("size=128k")
    one = guest(server.with_(directories=(str(small),)))
    one.boot()
    with pytest.raises(LostGuest, match="No space left on device"):
        one.push("large", bytes(1 << 20))


def test_servers_that_are_no_use(guest: MakeGuest, tmp_path: Path) -> None:
    with running(tmp_path / "a", sftp=False) as server, pytest.raises(BootFailed, match="Subsystem sftp"):
        guest(server.target).boot()
    mute = running(tmp_path / "c", "Subsystem sftp sleep 1000", sftp=False)
    with mute as server, pytest.raises(BootFailed, match=r"sftp is refused \(no answer within 2 s\)"):
        guest(server.target, limits=replace(LIMITS, boot=2)).boot()
    short = "Subsystem sftp dd bs=1 count=60 status=none | /usr/lib/openssh/sftp-server"
    with running(tmp_path / "d", short, sftp=False) as server, pytest.raises(BootFailed, match="sftp broke off"):
        guest(server.target).boot()
    refusal = pytest.raises(BootFailed, match=r"is not a Linux machine: .*welcome")
    with running(tmp_path / "b", "ForceCommand echo welcome") as server, refusal:
        guest(server.target).boot()


# --- a kernel of ours on a machine that is not ----------------------------------------------------------------------


def kernel(release: str) -> Kernel:
    return Kernel("k", release, HERE, "own", Path("/store/image"), "Image", "0" * 64, Origin("file", "here"))


def test_a_kernel_is_installed_and_waited_for(guest: MakeGuest, tmp_path: Path) -> None:
    """The machine goes down for it: the command starts the server that answers afterwards."""
    folder = tmp_path / "sshd"
    with running(folder) as server:
        pass
    ready = tmp_path / "go"
    install = ("sh", "-c", 'echo "$0" >"$1"', "{image} {release} {arch} {host}:{port} {user} {other}", str(ready))
    with ExitStack() as stack:
        came = threading.Event()

        def come_up() -> None:
            while not ready.exists():
                if came.wait(0.05):
                    return
            stack.enter_context(running(folder, port=server.port))

        reboot = threading.Thread(target=come_up)
        reboot.start()
        try:
            one = guest(server.with_(install=install), kernel=kernel(platform.release()), folder=tmp_path)
            booted = one.boot()
            assert booted.release == platform.release()
            assert any("that it has rebooted" in note for note in booted.notes)
        finally:
            came.set()
            reboot.join()
        one.stop()
    user = server.target.user
    assert ready.read_text() == f"/store/image {platform.release()} {HERE} 127.0.0.1:{server.port} {user} {{other}}\n"


def test_an_installation_that_fails(guest: MakeGuest, server: Server, tmp_path: Path) -> None:
    def boot(release: str, *install: str) -> None:
        target = server.with_(install=install, patience=3)
        guest(target, kernel=kernel(release), folder=tmp_path).boot()

    with pytest.raises(BootFailed, match="ended with status 3: no such board"):
        boot("6.1", "sh", "-c", "echo no such board; exit 3")
    with pytest.raises(BootFailed, match="cannot be run"):
        boot("6.1", str(tmp_path / "absent"))
    with pytest.raises(BootFailed, match=rf"did not come up with 9\.9 within 3 s; it runs {platform.release()}"):
        boot("9.9", "true")
    with pytest.raises(BootFailed, match=r"did not come up .*; install: the board's power supply is off"):
        boot("9.9", "sh", "-c", 'echo power; echo "the board\'s power supply is off" &')
    with pytest.raises(BootFailed, match="has not rebooted"):
        boot(platform.release(), "true")  # it runs that release, as it did before


# --- a whole run -----------------------------------------------------------------------------------------------------


def statuses(folder: Path) -> dict[str, str]:
    (path,) = folder.glob("*/verdicts.json")
    (cell,) = json.loads(path.read_text())["cells"]
    return {rule: entry["status"] for rule, entry in cell["rules"].items()}


def over_ssh(
    server: Server, secret: str, *globs: str, keyed: bool = True, command: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """A run as its user starts it, with a matrix in ``server.folder`` and results in ``remote`` there."""
    target = server.target
    (server.folder / "kernels.yaml").write_text(
        f"version: 1\nextends: none\nkernels:\n  here: {{source: machine, architectures: [{HERE}]}}\n"
        f"profiles:\n  board:\n    guest: ssh\n    host: 127.0.0.1\n    port: {server.port}\n    user: {target.user}\n"
        "    known_hosts: known_hosts\n    secret: BOARD_SECRET\n" + ("    key: key\n" if keyed else "")
    )
    words = ["-k", "here", "-p", "board", "--results", "remote"]
    for glob in globs:
        words += ["-r", glob]
    return subprocess.run(
        [*SEALMATRIX, *(command or ["run"]), *words],
        cwd=server.folder, env=os.environ | {"BOARD_SECRET": secret}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def told(done: subprocess.CompletedProcess[str], results: Path) -> str:
    """All that a run has said and kept."""
    kept = [path.read_text("utf-8", "replace") for path in results.rglob("*") if path.is_file()]
    assert kept
    return "\n".join([done.stdout, done.stderr, *kept])


def test_the_same_kernel_gives_the_same_verdicts_and_no_secret_is_kept(tmp_path: Path) -> None:
    """This machine's kernel, through SSH and directly; nothing in the run's folder gives a key or passphrase away."""
    secret = "correct horse battery"
    keygen(tmp_path / "key", secret)
    some = ("munmap/*", "mprotect-none/anon-*")
    with running(tmp_path) as server:
        done = over_ssh(server, secret, *some)
    direct = subprocess.run(
        [*SEALMATRIX, "run", "--host", "-r", some[0], "-r", some[1], "--results", "direct"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, direct.returncode) == (0, 0), done.stdout + done.stderr + direct.stderr
    assert statuses(tmp_path / "remote") == statuses(tmp_path / "direct")
    all_told = told(done, tmp_path / "remote")
    assert secret not in all_told
    assert (tmp_path / "key").read_text().splitlines()[2] not in all_told
    (run,) = (tmp_path / "remote").glob("*/run.json")
    (cell,) = json.loads(run.read_text())["cells"]
    assert (cell["machine"]["guest"], cell["machine"]["release"]) == ("ssh", platform.release())


@needs_root
def test_no_password_is_kept_and_an_ordinary_user_is_named(tmp_path: Path) -> None:
    password = "correct horse battery"
    with tempfile.TemporaryDirectory(prefix="home-") as home:
        account = Account("ordinary", password, 54321, Path(home))
        with running(tmp_path, "PasswordAuthentication yes", account=account) as server:
            server.target = server.with_(user=account.name)
            for secret, status in ((password, 0), ("hand of hearts", 3)):
                done = over_ssh(server, secret, "munmap/anon-rw/*", keyed=False)
                assert done.returncode == status, done.stdout + done.stderr
                assert secret not in told(done, tmp_path / "remote")
                assert ("the payload ran as user 54321" in done.stdout) == (status == 0)


def test_scenarios_and_the_second_payload_go_over_ssh_too(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        script = tmp_path / "question.py"
        script.write_text("import guest\nguest.expect('pages', len(guest.pages(3)), 3)\n")
        done = over_ssh(server, "", command=["scenario", str(script), "-a", HERE])
        assert done.returncode == 0, done.stdout + done.stderr
        assert "pages  ✓ 3" in done.stdout
        done = over_ssh(server, "", "munmap/anon-rw/*", command=["crosscheck"])
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"both payloads observed [1-9]\d* probes on 1 cell; they differ on none", done.stdout)
