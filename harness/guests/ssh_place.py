"""A private directory on a machine reached over SSH, and the agent in it."""

from __future__ import annotations

import contextlib
import posixpath
import re
import secrets
import stat
from collections.abc import Iterator

import paramiko

from harness.guests.bounds import ANSWER, SFTP, Metered
from harness.guests.channel import Gone
from harness.guests.ssh_line import BROKEN, answering
from harness.kernels.config import LARGEST

_AGENT = "agent"
_PLAIN = re.compile(r"/[A-Za-z0-9_./+-]*\Z")


class Unusable(Exception):
    """A directory cannot hold the payload; says why."""


def ask(client: paramiko.SSHClient, command: str, where: str, seconds: float) -> str:
    """Run a command there and return what it writes. Raises ``Gone`` when it cannot be run or fails."""
    transport = client.get_transport()
    assert transport is not None
    try:
        with answering(transport, seconds), contextlib.closing(transport.open_session(timeout=seconds)) as channel:
            channel.settimeout(seconds)
            channel.exec_command(command)
            said = _answer(channel)
            status = channel.recv_exit_status()
    except BROKEN as problem:
        raise Gone(f"{where} cannot run '{command}': {problem or type(problem).__name__}") from None
    if len(said) > ANSWER:
        raise Gone(f"{where} answers '{command}' with more than {ANSWER} bytes; is it a Linux machine with a shell?")
    if status != 0:
        raise Gone(f"{where} cannot run '{command}': status {status}; is it a Linux machine with a shell?")
    return said.decode("utf-8", "replace").strip()


def _answer(channel: paramiko.Channel) -> bytes:
    """What a command writes, or the beginning of what is too much; the channel is closed then."""
    said = b""
    while data := channel.recv(ANSWER):
        said += data
        if len(said) > ANSWER:
            channel.close()
            break
    return said


@contextlib.contextmanager
def files_of(client: paramiko.SSHClient, seconds: float) -> Iterator[paramiko.SFTPClient]:
    """Reach the machine's files, each answer in ``seconds``. Raises ``Gone`` where sftp is refused or breaks off."""
    transport = client.get_transport()
    assert transport is not None
    try:
        with answering(transport, seconds):
            channel = transport.open_session(timeout=seconds)
            channel.settimeout(seconds)
            channel.invoke_subsystem("sftp")
            # Its client reads a message whole, however long the server says it is.
            sftp = paramiko.SFTPClient(Metered(channel, SFTP))  # type: ignore[arg-type]
    except BROKEN as problem:
        said = problem or type(problem).__name__
        raise Gone(f"no files can be put there: sftp is refused ({said}); give its sshd a `Subsystem sftp`") from None
    try:
        yield sftp
    except (paramiko.SSHException, paramiko.SFTPError, EOFError) as problem:
        raise Gone(f"sftp broke off before all files were there: {problem or type(problem).__name__}") from None
    finally:
        with contextlib.suppress(*BROKEN):
            sftp.close()


def private_directory(files: paramiko.SFTPClient, wish: str) -> str:
    """Make a directory in ``wish`` that only we can enter. Raises ``Unusable``."""
    try:
        base = posixpath.normpath(posixpath.join(files.normalize("."), wish.replace("~", ".", 1)))
        path = posixpath.join(base, f"sealmatrix-{secrets.token_hex(8)}")
        if not _PLAIN.match(path) or len(path) > 200:
            raise Unusable("its path is too long, or has characters that are special to a shell")
        files.mkdir(path, 0o700)
        made = files.lstat(path)
    except OSError as problem:
        raise Unusable(_reason(problem)) from None
    if stat.S_IMODE(made.st_mode or 0) & 0o077:
        with contextlib.suppress(OSError):
            files.rmdir(path)
        raise Unusable("a directory created there is accessible to others")
    return path


def put_agent(client: paramiko.SSHClient, files: paramiko.SFTPClient, work: str, agent: bytes, seconds: float) -> str:
    """Write the agent into the directory. Raises ``Unusable`` when it does not arrive whole."""
    path = posixpath.join(work, _AGENT)
    try:
        with files.open(path, "wx") as file:
            file.write(agent)
        whole = files.stat(path).st_size == len(agent)
        files.chmod(path, 0o700)
    except OSError as problem:
        raise Unusable(_room(client, work, len(agent), seconds) or _reason(problem)) from None
    if not whole:
        raise Unusable(_room(client, work, len(agent), seconds) or "files written there are incomplete")
    return path


def beginning(files: paramiko.SFTPClient, path: str) -> bytes:
    """Return what a file begins with. Raises ``OSError``."""
    with files.open(path, "rb") as file:
        return bytes(file.read(LARGEST))


def remove(files: paramiko.SFTPClient, work: str) -> None:
    """Remove what ``private_directory`` and ``put_agent`` made, where the agent did not live to do it."""
    with contextlib.suppress(*BROKEN):
        with contextlib.suppress(OSError):
            files.remove(posixpath.join(work, _AGENT))
        files.rmdir(work)


def _room(client: paramiko.SSHClient, work: str, needed: int, seconds: float) -> str:
    """Say so where a directory's file system is full: SFTP (version 3) knows only "failure"."""
    try:
        line = ask(client, f"df -Pk {work}", "the machine", seconds).splitlines()[-1].split()
        free = int(line[3])
    except (Gone, IndexError, ValueError):
        return ""
    return (
        f"no space left: {free} KiB free, {needed >> 10} KiB needed at least" if free << 10 < needed + (1 << 14) else ""
    )


def _reason(problem: OSError) -> str:
    return problem.strerror or str(problem) or type(problem).__name__
