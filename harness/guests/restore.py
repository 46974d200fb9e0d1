"""Restoring a saved guest: whether it may be done, how the guest is made new, and what is believed of it."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from harness.guests.channel import Frame, Gone, ProtocolError
from harness.guests.devices import Machine
from harness.guests.handshake import Hello, parse_hello
from harness.guests.qemu_process import Link
from harness.guests.snapshots import SavedGuest
from harness.kernels.store import telling

_ENTROPY = 64  # bytes: more than a kernel's generator holds


class Doubt(Exception):
    """A saved guest that is not, beyond doubt, the one that was saved."""


def why_cold(machine: Machine, *, fresh: bool) -> str:
    """Return why this machine must be booted, "" when it may be restored."""
    if fresh:
        return "a fresh boot was asked for"
    if machine.root is not None:
        return "QEMU cannot save a guest with a root of the host's"
    if machine.profile.counted:
        return "a guest whose clock counts instructions is booted, so that each begins alike"
    if machine.acceleration != "tcg":
        return (
            "only emulated guests are saved"  # under KVM a boot takes a fraction of a second, and depends on the host
        )
    if machine.profile.swap and not machine.swap_disk.saves:
        return f"QEMU cannot save a guest with a disk of the kind {machine.swap_disk.module!r}"
    return ""


def begin_console(saved: SavedGuest, console: Path) -> None:
    """Begin a restored guest's console with that of its boot, and say where the one ends and the other begins."""
    line = f"sealmatrix: restored from saved guest {saved.key}, which booted at {saved.saved}; what follows is new\n"
    with telling(console):
        console.write_bytes(saved.console.read_bytes() + line.encode())


def restored(link: Link, saved: SavedGuest, seconds: float) -> Hello:
    """Renew a guest that is being restored, while the state it came from is checked against its digest.

    Raises ``Doubt``.
    """
    with ThreadPoolExecutor(1, "checksum") as pool:
        undamaged = pool.submit(saved.undamaged)
        try:
            hello = renewed(link, saved.hello, seconds)
        except (Doubt, Gone, ProtocolError) as problem:
            if not undamaged.result():
                raise Doubt("its state is damaged") from problem
            raise problem if isinstance(problem, Doubt) else Doubt(str(problem)) from problem
        if not undamaged.result():
            raise Doubt("its state is damaged")
    return hello


def renewed(link: Link, before: Hello, seconds: float) -> Hello:
    """Give a guest a name, randomness and the time, and have it say hello again.

    Raises ``Doubt`` when it refuses or says other things than ``before``; ``Gone`` and ``ProtocolError``.
    """
    name = secrets.token_hex(16)
    now = time.time_ns()
    words = (name, str(now // 10**9), str(now % 10**9))
    body = b"".join(word.encode() + b"\0" for word in words) + secrets.token_bytes(_ENTROPY)
    link.send(Frame("renew", body), seconds)
    answer = link.receive(time.monotonic() + seconds, f"it did not answer within {seconds:g} s")
    if answer.kind == "fail":
        raise Doubt(answer.body.decode("utf-8", "replace")[:300])
    if answer.kind != "hello":
        raise ProtocolError(f"{answer.kind!r} instead of 'hello'")
    hello = parse_hello(answer.body)
    if hello.renewed != name:
        raise Doubt("it did not confirm its new name")
    hello = replace(hello, renewed="")
    if hello != before:
        raise Doubt("it reports other properties than after its boot")
    return hello
