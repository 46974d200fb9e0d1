"""Restoring a saved guest: whether it may be done, how the guest is made new, and what is believed of it."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from harness.guests.channel import Frame, Gone, ProtocolError
from harness.guests.devices import Machine
from harness.guests.hello import Hello, parse_hello
from harness.guests.link import Link
from harness.guests.saved import SavedGuest
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


def renew(link: Link, saved: SavedGuest, seconds: float) -> Hello:
    """Give a guest that is being restored a name, randomness and the time, and have it say hello again.

    While it does, the state it came from is checked against its digest. Raises ``Doubt``.
    """
    name = secrets.token_hex(16)
    now = time.time_ns()
    words = (name, str(now // 10**9), str(now % 10**9))
    body = b"".join(word.encode() + b"\0" for word in words) + secrets.token_bytes(_ENTROPY)
    with ThreadPoolExecutor(1, "checksum") as pool:
        undamaged = pool.submit(saved.undamaged)
        try:
            link.send(Frame("renew", body), seconds)
            answer = link.receive(time.monotonic() + seconds, f"it did not answer within {seconds:g} s")
            hello = _hello(answer)
        except (Gone, ProtocolError) as problem:
            raise Doubt(str(problem)) from problem
        if not undamaged.result():
            raise Doubt("its state is damaged")
    if hello.renewed != name:
        raise Doubt("it did not take its new name")
    hello = replace(hello, renewed="")
    if hello != saved.hello:
        raise Doubt("it says other things of itself than when it was saved")
    return hello


def _hello(frame: Frame) -> Hello:
    if frame.kind == "fail":
        raise ProtocolError(frame.body.decode("utf-8", "replace")[:300])
    if frame.kind != "hello":
        raise ProtocolError(f"{frame.kind!r} instead of 'hello'")
    return parse_hello(frame.body)
