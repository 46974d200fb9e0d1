"""A real OpenSSH server on the loopback interface, for one test: own keys, own configuration, run by whoever we are."""

from __future__ import annotations

import functools
import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.matrix.model import OverSsh

SSHD = Path("/usr/sbin/sshd")
_SFTP = Path("/usr/lib/openssh/sftp-server")


@dataclass(frozen=True)
class Account:
    """One that exists for the server alone: it has files of accounts of its own, in a mount namespace of its own."""

    name: str
    password: str
    uid: int
    home: Path


@dataclass
class Server:
    """``target`` reaches it; ``folder`` holds its keys, its log and the key it accepts."""

    folder: Path
    port: int
    target: OverSsh
    process: subprocess.Popen[bytes]
    extra: tuple[str, ...] = field(default=())

    def with_(self, **changes: object) -> OverSsh:
        return replace(self.target, **changes)  # type: ignore[arg-type]

    def sessions(self) -> list[int]:
        """The processes that serve its connections: those below the listener that are sshd's own.

        There may be several for one connection: in OpenSSH 10 the one that the listener starts watches over another,
        which holds the connection.
        """
        found, parents = [], {self.process.pid}
        while parents:
            children = [pid for pid, parent, name in _processes() if parent in parents and name.startswith("sshd")]
            found += children
            parents = set(children)
        return found


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield every process with its parent and the name of its program (proc(5))."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = entry.read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(entry.parent.name), int(after.split()[1]), before.partition("(")[2]


@functools.cache
def _without_penalties(host_key: Path) -> tuple[str, ...]:
    """A test is not to be turned away for what another did. OpenSSH before 9.8 never does that, nor knows this."""
    setting = "PerSourcePenalties no"
    argv = [str(SSHD), "-t", "-f", "/dev/null", "-h", str(host_key), "-o", setting]
    return (setting,) if subprocess.run(argv, capture_output=True, check=False).returncode == 0 else ()


def keygen(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(
    folder: Path, *extra: str, port: int | None = None, sftp: bool = True, account: Account | None = None
) -> Iterator[Server]:
    """Start one, wait until it listens, end it. ``extra`` are lines of its configuration; accounts take root."""
    folder.mkdir(parents=True, exist_ok=True)
    key, host_key = folder / "key", folder / "host_key"
    for path in (key, host_key):
        if not path.exists():
            keygen(path)
    (folder / "authorized").write_bytes(key.with_suffix(".pub").read_bytes())
    if os.geteuid() == 0:  # where sshd separates its privileges into; a package's service would have made it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = port or free_port()
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {' '.join(host_key.with_suffix('.pub').read_text().split()[:2])}\n")
    (folder / "sshd_config").write_text(
        "\n".join(
            [
                *extra,
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {host_key}",
                f"AuthorizedKeysFile {folder / 'authorized'}",
                "PidFile none",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                *_without_penalties(host_key),
                *([f"Subsystem sftp {_SFTP}"] if sftp else []),
            ]
        )
        + "\n"
    )
    log = (folder / "sshd.log").open("ab")
    argv = [*_having(account, folder), str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (
        log,
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        target = OverSsh("127.0.0.1", port, getpass.getuser(), key, known_hosts=known)
        server = Server(folder, port, target, process)
        try:
            _await(port, process, folder)
            yield server
        finally:
            for pid in [*server.sessions(), process.pid]:
                try:
                    os.kill(pid, 15)
                except ProcessLookupError:
                    continue


def _having(account: Account | None, folder: Path) -> list[str]:
    """What to start a program with for it to see an account that the machine does not have."""
    if account is None:
        return []
    hashing = ["openssl", "passwd", "-6", "-stdin"]
    hashed = subprocess.run(hashing, input=account.password, capture_output=True, text=True, check=True).stdout.strip()
    lines = {
        "passwd": f"{account.name}:x:{account.uid}:{account.uid}::{account.home}:/bin/sh\n",
        "shadow": f"{account.name}:{hashed}:20000::::::\n",
    }
    for name, line in lines.items():
        (folder / name).write_text(Path("/etc", name).read_text() + line)
    (folder / "shadow").chmod(0o600)
    script = 'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && shift 2 && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *(str(folder / name) for name in lines)]


def _await(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    while True:
        if process.poll() is not None:
            raise AssertionError(f"sshd ended: {(folder / 'sshd.log').read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                if connection.recv(4, socket.MSG_WAITALL) == b"SSH-":
                    return
        except ConnectionError:
            os.sched_yield()
