"""Programs to bytes, and records of what they saw back to facts. ``guest_payload/c/explore.h`` is the other end.

A look is ``division`` (2 bytes: bit i says that a mapping begins at unit i), ``seen`` (a byte for each unit) and
``contents`` (a byte for each unit). ``View`` keeps the bytes as they came: the model compares them as they are.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from harness.explore.program import Program

VERSION = 1
MAPPED, READ, WRITE, EXEC, SHARED, FILE, RAGGED = 1, 2, 4, 8, 16, 32, 128
UNREAD, SEGV, BUS, MIX = 0xF0, 0xF1, 0xF2, 0xF3
LEFT_OUT, NOT_TRIED, ELSEWHERE = 0xFE, 0xFF, 0xFF
DONE, NO_WINDOW, SIGNAL, TIMEOUT, CHILD = range(5)
STATUSES = ("done", "no window", "signal", "out of time", "child")

FORK = 10
GOES_ON = (0, 3)  # a fork's first argument where the child, or its child, goes on with the program
_BATCH = struct.Struct("<4sHHII")
_HEAD = struct.Struct("<HBBBBBB")
_RECORD = struct.Struct("<IBBBB")
_PAIR = struct.Struct("<II")


class WireError(Exception):
    """Bytes that are no record of the programs sent."""


def encode(program: Program) -> bytes:
    """One program as it travels."""
    segments = b"".join(map(bytes, program.segments))
    steps = b"".join(map(bytes, program.steps))
    size = _HEAD.size + len(segments) + len(steps)
    return (
        _HEAD.pack(size, program.units, program.scale, program.place, program.flags, len(program.segments),
                   len(program.steps)) + segments + steps
    )  # fmt: skip


def encode_batch(programs: Sequence[bytes], *, chunk: int, deadline_ms: int) -> bytes:
    """A batch; ``chunk`` programs share a process."""
    return _BATCH.pack(b"SMXP", VERSION, chunk, len(programs), deadline_ms) + b"".join(programs)


class Pass(NamedTuple):
    """What one pass saw. ``first`` is the result of sealing, of a child how it ended.

    ``looks`` has one more entry than there are steps; each is division, seen and contents. ``answers`` are (errno or
    ``LEFT_OUT``, extra).
    """

    first: int
    looks: tuple[bytes, ...]
    answers: tuple[tuple[int, int], ...]
    mprotect: bytes
    munmap: bytes


class ProgramFacts(NamedTuple):
    """What one program saw: with its seals and without, and the child's where it forks and both go on."""

    status: int
    detail: int
    pass_: int
    step: int
    sealed: Pass
    twin: Pass
    child: Pass | None = None
    twin_child: Pass | None = None
    fork: int = -1


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things are in a record: depends on units, steps, and the step that forks."""

    units: int
    steps: int
    fork: int

    @property
    def look(self) -> int:
        """Bytes of a look."""
        return 2 + 2 * self.units

    def pass_size(self, steps: int) -> int:
        """Bytes of a pass of so many steps."""
        return 2 + self.look + steps * (2 + self.look) + 2 * self.units

    @property
    def size(self) -> int:
        """Bytes of the record."""
        child = self.pass_size(self.steps - self.fork - 1) if self.fork >= 0 else 0
        return _RECORD.size + 2 * (self.pass_size(self.steps) + child)


def shape_of(data: bytes) -> Shape:
    """The shape of the record of an encoded program."""
    _, units, _, _, _, segments, steps = _HEAD.unpack_from(data)
    at = _HEAD.size + 4 * segments
    fork = -1
    for i in range(steps):
        if data[at + 8 * i] == FORK and data[at + 8 * i + 3] in GOES_ON:
            fork = i
            break
    return _shape(units, steps, fork)


@lru_cache(4096)
def _shape(units: int, steps: int, fork: int) -> Shape:
    return Shape(units, steps, fork)


def _pass(data: bytes, at: int, shape: Shape, steps: int) -> Pass:
    look, units = shape.look, shape.units
    first = data[at]
    at += 2
    looks = [data[at : at + look]]
    answers = []
    at += look
    for _ in range(steps):
        answers.append((data[at], data[at + 1]))
        looks.append(data[at + 2 : at + 2 + look])
        at += 2 + look
    return Pass(first, tuple(looks), tuple(answers), data[at : at + units], data[at + units : at + 2 * units])


def decode(data: bytes, shape: Shape) -> tuple[int, ProgramFacts]:
    """A whole record: the program's index in its batch and what it saw."""
    index, status, detail, pass_, step = _RECORD.unpack_from(data)
    if status >= len(STATUSES):
        raise WireError(f"program {index} ended in a way there is not: {status}")
    at = _RECORD.size
    whole = shape.pass_size(shape.steps)
    left = shape.steps - shape.fork - 1
    sealed = _pass(data, at, shape, shape.steps)
    at += whole
    child = twin_child = None
    if shape.fork >= 0:
        child = _pass(data, at, shape, left)
        at += shape.pass_size(left)
    twin = _pass(data, at, shape, shape.steps)
    at += whole
    if shape.fork >= 0:
        twin_child = _pass(data, at, shape, left)
    return index, ProgramFacts(status, detail, pass_, step, sealed, twin, child, twin_child, shape.fork)


class Reader:
    """Takes the stream apart: frames into lanes, lanes into records. ``shapes`` are those of the programs sent;
    ``pairs`` are what each program told of the kernel's code (``covered.py``)."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._shapes = shapes
        self._buffer = b""
        self._lanes: dict[int, bytearray] = {}
        self.pairs: dict[int, list[tuple[int, int]]] = {}
        self.plan: bytes | None = None
        self.ended = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Records that are whole now, as (index, bytes). Raises ``WireError``."""
        buffer = self._buffer + data
        at, fed = 0, set()
        while len(buffer) - at >= 4:
            length = buffer[at + 2] | buffer[at + 3] << 8
            if len(buffer) - at - 4 < length:
                break
            kind, body = buffer[at : at + 1], buffer[at + 4 : at + 4 + length]
            if kind == b"F":
                lane = buffer[at + 1]
                self._lanes.setdefault(lane, bytearray()).extend(body)
                fed.add(lane)
            elif kind == b"C":
                self._covered(body)
            elif kind == b"P":
                self.plan = body
            elif kind == b"E":
                self.ended = True
            else:
                raise WireError(f"no frame begins with {buffer[at : at + 4]!r}")
            at += 4 + length
        self._buffer = buffer[at:]
        return [record for lane in sorted(fed) for record in self._records(self._lanes[lane])]

    def _covered(self, body: bytes) -> None:
        index = int.from_bytes(body[:4], "little")
        if index >= len(self._shapes) or (len(body) - 4) % _PAIR.size:
            raise WireError(f"no program's coverage: {body[:12]!r}")
        self.pairs.setdefault(index, []).extend(_PAIR.iter_unpack(body[4:]))

    def _records(self, lane: bytearray) -> list[tuple[int, bytes]]:
        records, at = [], 0
        while len(lane) - at >= _RECORD.size:
            index = int.from_bytes(lane[at : at + 4], "little")
            if index >= len(self._shapes):
                raise WireError(f"there is no program {index}")
            size = self._shapes[index].size
            if len(lane) - at < size:
                break
            records.append((index, bytes(lane[at : at + size])))
            at += size
        del lane[:at]
        return records
