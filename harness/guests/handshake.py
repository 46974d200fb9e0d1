"""What PID 1 says of the machine when ready; see docs/reference/protocol.md. Strict: anything else is no hello."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.guests.channel import ProtocolError
from harness.model.json_text import parse_json

PROTOCOL = 1


@dataclass(frozen=True)
class Hello:
    """The body of a ``hello`` frame; ``page_size`` in bytes, ``notes`` the set-up steps that failed.

    ``renewed`` is the name a restored guest was given, "" in one that has just booted.
    """

    release: str
    version: str
    machine: str
    page_size: int
    cmdline: str
    notes: tuple[str, ...]
    renewed: str = ""


def read_object(kind: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object a frame holds. Raises ``ProtocolError``."""
    try:
        value = parse_json(body)
    except ValueError:
        raise ProtocolError(f"the body of {kind!r} is not JSON: {body[:80]!r}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"the body of {kind!r} is not a JSON object: {body[:80]!r}")
    return value


def parse_hello(body: bytes) -> Hello:
    """Return what a hello says. Raises ``ProtocolError`` for a missing or ill-typed field or another protocol."""
    said = read_object("hello", body)
    if said.get("protocol") != PROTOCOL:
        raise ProtocolError(f"PID 1 speaks protocol {said.get('protocol')!r}, not {PROTOCOL}")
    notes = said.get("notes")
    texts = {name: said.get(name) for name in ("release", "version", "machine", "cmdline")}
    texts["renewed"] = said.get("renewed", "")
    wrong = [name for name, value in texts.items() if not isinstance(value, str)]
    page_size = said.get("page_size")
    if not isinstance(page_size, int) or isinstance(page_size, bool) or page_size <= 0:
        wrong.append("page_size")
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        wrong.append("notes")
    if wrong:
        raise ProtocolError(f"hello lacks a proper {' and '.join(wrong)}")
    return Hello(page_size=said["page_size"], notes=tuple(said["notes"]), **{n: str(v) for n, v in texts.items()})
