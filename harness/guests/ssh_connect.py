"""Reaching a machine over SSH: the key it shows, the key we show, the way there; each refusal one line and a remedy."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import paramiko

from harness.errors import BootFailed, UsageError
from harness.guests.bounds import CONNECTION, STRANGER, Metered
from harness.guests.ssh_line import BROKEN
from harness.matrix.model import OverSsh
from harness.secret_urls import masked

_KEEPALIVE = 10  # seconds between signs of life
_UNANSWERED = 30_000  # ms after which what was sent and not acknowledged counts as a lost connection
_KEY_FILES = ("id_rsa", "id_ecdsa", "id_ed25519")  # where paramiko looks, in both folders
_KEY_FOLDERS = ("~/.ssh", "~/ssh")
_SYSTEM_HOSTS = Path("/etc/ssh/ssh_known_hosts")

# What paramiko has to say is told in our own words or not at all: without a handler, logging prints to standard error.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Place:
    """Where to, and as whom."""

    host: str
    port: int
    user: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")

    @property
    def known_as(self) -> str:
        """Its name in a known_hosts file."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"


def place_of(target: OverSsh) -> Place:
    """Where a target is; without a user, as whoever we are."""
    return Place(target.host, target.port, target.user or getpass.getuser())


def parse_place(text: str, user: str = "") -> Place:
    """Read ``[user@]host[:port]``; an IPv6 address with a port stands in brackets. Raises ``ValueError``."""
    name, at, rest = text.rpartition("@")
    host, port = rest, "22"
    if rest.startswith("["):
        host, closed, after = rest[1:].partition("]")
        port = after.removeprefix(":") or "22"
        if not closed or (after and not after.startswith(":")):
            raise ValueError(f"{masked(text)!r} is not [user@]host[:port]")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if (at and not name) or ":" in name or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text.rpartition('@')[2]!r} is not [user@]host[:port] (passwords are not accepted)")
    return Place(host, int(port), name or user or getpass.getuser())


def target_of(text: str) -> OverSsh:
    """The target ``[user@]host[:port]`` means, with the user's own keys. Raises ``UsageError``."""
    try:
        place = parse_place(text)
    except ValueError as problem:
        raise UsageError(str(problem)) from None
    return OverSsh(place.host, place.port, place.user)


@contextlib.contextmanager
def connected(target: OverSsh, seconds: float, environment: Mapping[str, str]) -> Iterator[paramiko.SSHClient]:
    """An authenticated connection. Raises ``BootFailed``; never tells a secret."""
    place = place_of(target)
    with ExitStack() as stack:
        way = None
        if target.jump:
            jump = parse_place(target.jump, place.user)
            door = stack.enter_context(_client(target, jump, None, seconds, environment))
            way = _tunnel(door, jump, place, seconds)
        yield stack.enter_context(_client(target, place, way, seconds, environment))


@contextlib.contextmanager
def _client(
    target: OverSsh, place: Place, way: paramiko.Channel | None, seconds: float, environment: Mapping[str, str]
) -> Iterator[paramiko.SSHClient]:
    client = paramiko.SSHClient()
    secret = _secret(target, environment)
    files = _load_hosts(client, target)
    client.set_missing_host_key_policy(_RefuseUnknown(place, files[0]))
    try:
        with _telling(client, place, target, files[0]):
            metered = Metered(way or _socket(place, seconds), STRANGER)
            client.connect(
                place.host,
                place.port,
                place.user,
                sock=metered,  # type: ignore[arg-type]
                timeout=seconds,
                banner_timeout=seconds,
                auth_timeout=seconds,
                channel_timeout=seconds,
                key_filename=str(target.key) if target.key else None,
                allow_agent=target.key is None,
                look_for_keys=target.key is None,
                passphrase=secret if target.key else None,
                password=None if target.key else secret,
            )
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(_KEEPALIVE)
        metered.allow(CONNECTION)
        yield client
    finally:
        client.close()


def _socket(place: Place, seconds: float) -> socket.socket:
    """A TCP connection that notices when the other side has gone without a word."""
    connection = socket.create_connection((place.host, place.port), seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED)
    return connection


def _tunnel(door: paramiko.SSHClient, jump: Place, place: Place, seconds: float) -> paramiko.Channel:
    transport = door.get_transport()
    assert transport is not None
    try:
        return transport.open_channel("direct-tcpip", (place.host, place.port), ("", 0), timeout=seconds)
    except BROKEN as problem:
        raise BootFailed(f"{jump} cannot reach {place.host}:{place.port}: {_said(problem)}") from None


def _secret(target: OverSsh, environment: Mapping[str, str]) -> str | None:
    """The passphrase of the key or, without one, the password; None when there is none."""
    if not target.secret:
        return None
    value = environment.get(target.secret)
    if value is None:
        raise BootFailed(
            f"{place_of(target)}: its secret is in the environment variable {target.secret}, which is not set"
        )
    return value


# --- the key the machine shows ---------------------------------------------------------------------------------------


def _load_hosts(client: paramiko.SSHClient, target: OverSsh) -> tuple[Path, ...]:
    """Read the known keys; the file named alone, else the user's and the system's. The first is the one to add to."""
    own = Path("~/.ssh/known_hosts").expanduser()
    files = (target.known_hosts,) if target.known_hosts else (own, _SYSTEM_HOSTS)
    for file in files:
        try:
            client.load_system_host_keys(str(file))
        except FileNotFoundError:
            continue
        except (OSError, paramiko.SSHException) as problem:
            raise BootFailed(f"{file}: cannot be read: {_said(problem)}") from None
    return files


class _RefuseUnknown(paramiko.MissingHostKeyPolicy):
    """Nothing is trusted because it came first."""

    def __init__(self, place: Place, file: Path) -> None:
        self._place, self._file = place, file

    def missing_host_key(self, _client: paramiko.SSHClient, _hostname: str, key: paramiko.PKey) -> None:
        """Refuse, and say what to compare and where to write it."""
        raise BootFailed(
            f"{self._place}: its host key is unknown: {fingerprint(key)}; compare that with what ssh-keygen -lf says "
            f"on the machine, then add this line to {self._file}: "
            f"{self._place.known_as} {key.get_name()} {key.get_base64()}"
        )


def fingerprint(key: paramiko.PKey) -> str:
    """A key as OpenSSH shows it: ``ssh-ed25519 SHA256:…``."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


@contextlib.contextmanager
def _telling(client: paramiko.SSHClient, place: Place, target: OverSsh, hosts: Path) -> Iterator[None]:
    """Turn what paramiko and the network raise into one line."""
    try:
        yield
    except paramiko.BadHostKeyException as problem:
        raise BootFailed(
            f"{place}: its host key CHANGED: it shows {fingerprint(problem.key)}, known is "
            f"{fingerprint(problem.expected_key)}; somebody may intercept the connection. If the machine was installed "
            f"again, ssh-keygen -R '{place.known_as}' -f {hosts} forgets the old key"
        ) from None
    except paramiko.PasswordRequiredException:
        raise BootFailed(
            f"{place}: the key {target.key} has a passphrase; give it to ssh-agent, or name an environment variable "
            "that holds it with `secret`"
        ) from None
    except paramiko.AuthenticationException as problem:
        tried = f"the key {target.key}" if target.key else "the agent's keys, those in ~/.ssh"
        tried += " and the secret" if target.secret and not target.key else ""
        raise BootFailed(f"{place}: refused {tried}: {_said(problem)}") from None
    except TimeoutError:
        raise BootFailed(f"{place}: no answer in time; is it up, and is this its address?") from None
    except (paramiko.SSHException, EOFError) as problem:
        if _waits_for_a_key(client) and not _has_something_to_show(target):
            raise BootFailed(
                f"{place}: no key was found, in an agent or in ~/.ssh; name one with `key`, or an "
                "environment variable that holds a password with `secret`"
            ) from None
        raise BootFailed(f"{place}: no SSH connection: {_said(problem)}") from None
    except ValueError as problem:
        raise BootFailed(f"{place}: the key {target.key} cannot be read: {_said(problem)}") from None
    except OSError as problem:
        raise BootFailed(f"{place}: {problem.strerror or problem}; is it up, and does sshd run there?") from None


def _waits_for_a_key(client: paramiko.SSHClient) -> bool:
    """Whether the machine has shown its key, and we have not shown ours. paramiko has no exception for that."""
    transport = client.get_transport()
    return transport is not None and transport.initial_kex_done and not transport.is_authenticated()


def _has_something_to_show(target: OverSsh) -> bool:
    """Whether there is any key, in a file or an agent, or a secret."""
    if (
        target.key
        or target.secret
        or any(Path(folder, name).expanduser().is_file() for folder in _KEY_FOLDERS for name in _KEY_FILES)
    ):
        return True
    agent = paramiko.Agent()
    try:
        return bool(agent.get_keys())
    finally:
        agent.close()


def _said(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__
