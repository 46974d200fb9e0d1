"""A kernel that does not exist: runs batches of programs as a guest would, keeps mseal's promises, or breaks one on
purpose.

It knows munmap, mprotect, mseal, mlock, MADV_MERGEABLE and back, and stores, on private anonymous memory; everything
else is ENOSYS to it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import EFAULT, EINVAL, ENOMEM, ENOSYS, EPERM
from pathlib import Path

from harness.errors import LostGuest
from harness.explore.program import Program, Segment, Step
from harness.explore.wire import LEFT_OUT, NOT_TRIED, UNREAD
from harness.guests.model import Booted, Event, Exited, Output

MUNMAP, MPROTECT, MADVISE, MSEAL, MLOCK, WRITE = 1, 3, 6, 7, 8, 11
MERGEABLE, UNMERGEABLE = 12, 13


@dataclass
class Memory:
    """A window: of each unit the protection (None where nothing is mapped), contents, seal, lock, and whether it is
    mergeable."""

    prot: list[int | None]
    data: list[int]
    sealed: list[bool]
    locked: list[bool]
    mergeable: list[bool] = field(default_factory=list)


Defect = Callable[[Memory, Step], bool]
"""Whether the check of a step is left out."""


@dataclass
class PromisingKernel:
    """The guest. ``defect`` says which steps are not checked; ``dies`` makes the machine go away, ``shouts`` writes
    to the console while a program runs. With ``drops_flags`` MADV_UNMERGEABLE takes a seal away (CVE-2025-40040).
    ``covers`` says which pairs of blocks a program runs; those that the file of ``--seen`` knows are left out.
    ``mseal`` is the error with which mseal(0, 0, 0) fails."""

    folder: Path
    defect: Defect = lambda memory, step: False
    dies: Callable[[Program], bool] = lambda program: False
    shouts: Callable[[Program], str] = lambda program: ""
    drops_flags: bool = False
    mseal: int = 0
    covers: Callable[[Program], Sequence[tuple[int, int]]] | None = None
    runs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.console: Path | None = self.folder / "console.log"
        self._files: dict[str, bytes] = {}

    def boot(self) -> Booted:
        raise NotImplementedError

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        self._files[name] = content
        return f"/work/{name}"

    def stop(self) -> None:
        self._files.clear()

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        programs = read_batch(self._files[argv[2].rpartition("/")[2]])
        seen = self._files[argv[4].rpartition("/")[2]] if argv[3:4] == ["--seen"] else b""
        self.runs.append(len(programs))
        plan = b'{"explore":1,"lanes":1,"page_size":4096,"procmap_query":1,"keys":0,"mseal":%d}' % self.mseal
        yield Output("out", framed(b"P", plan))
        for index, program in enumerate(programs):
            if self.console is not None:
                with self.console.open("a") as log:
                    log.write(f"[    1.000000] sealmatrix: begin explore/batch/{index} in lane 0\n")
                    log.write(self.shouts(program))
            if self.dies(program):
                raise LostGuest("the machine reset")
            if seen and self.covers:
                news = [pair for pair in self.covers(program) if not _known(seen, pair)]
                yield Output(
                    "out", framed(b"C", struct.pack("<I", index) + b"".join(struct.pack("<II", *p) for p in news))
                )
            record = struct.pack("<IBBBB", index, 0, 0, 0, 0) + self._passes(program)
            for at in range(0, len(record), 4000):
                yield Output("out", framed(b"F", record[at : at + 4000]))
        yield Output("out", framed(b"E", b"{}"))
        yield Exited(0, None)

    def _passes(self, program: Program) -> bytes:
        sealed, answers = self._pass(program, None)
        return sealed + self._pass(program, answers)[0]

    def _pass(self, program: Program, other: list[int] | None) -> tuple[bytes, list[int]]:
        memory = _made(program, seals=other is None)
        out, answers = bytes(2) + _look(memory), []
        for k, step in enumerate(program.steps):
            if other is not None and (step.op == MSEAL or other[k] == EPERM):
                answers.append(LEFT_OUT)
            else:
                answers.append(self._perform(memory, step))
            out += bytes((answers[-1], 0)) + _look(memory)
        return out + self._end(memory), answers

    def _perform(self, memory: Memory, step: Step) -> int:
        units = range(step.start, step.start + step.units)
        checked = not self.defect(memory, step)
        if step.op == MSEAL:
            if step.a in (1, 2, 5, 6, 8):
                return EINVAL
            if any(memory.prot[i] is None for i in units) and step.a != 3:
                return ENOMEM
            for i in units if step.a != 3 and checked else ():
                memory.sealed[i] = True
            return 0
        if step.op in (MUNMAP, MPROTECT) and checked and any(memory.sealed[i] for i in units):
            return EPERM
        if step.op == MPROTECT and any(memory.prot[i] is None for i in units):
            return ENOMEM
        if step.op == WRITE:
            return self._write(memory, units, step.a)
        if step.op == MLOCK:
            for i in units:
                memory.locked[i] = step.a < 2
            return ENOMEM if any(memory.prot[i] is None for i in units) else 0
        if step.op == MADVISE and step.a in (MERGEABLE, UNMERGEABLE):
            return self._advise(memory, units, step.a)
        if step.op not in (MUNMAP, MPROTECT):
            return ENOSYS
        for i in units:
            memory.prot[i] = None if step.op == MUNMAP else step.a
            memory.sealed[i] = memory.sealed[i] and step.op != MUNMAP
        return 0

    def _advise(self, memory: Memory, units: range, advice: int) -> int:
        for i in units:
            if self.drops_flags and advice == UNMERGEABLE and memory.mergeable[i]:
                memory.sealed[i] = False
            memory.mergeable[i] = advice == MERGEABLE
        return 0

    @staticmethod
    def _write(memory: Memory, units: range, value: int) -> int:
        fits = [i for i in units if (memory.prot[i] or 0) & 2]
        for i in fits:
            memory.data[i] = value
        return 0 if len(fits) == len(units) else EFAULT

    @staticmethod
    def _end(memory: Memory) -> bytes:
        ends = bytes(
            NOT_TRIED if prot is None else EPERM if sealed else 0
            for prot, sealed in zip(memory.prot, memory.sealed, strict=True)
        )
        return ends + ends


def _made(program: Program, *, seals: bool) -> Memory:
    units = [segment for segment in program.segments for _ in range(segment.units)]
    return Memory(
        [None if s.kind == 0 else s.prot for s in units],
        [0xA0 + i if s.traits & 2 else 0 for i, s in enumerate(units)],
        [seals and s.sealed for s in units],
        [bool(s.traits & 4) for s in units],
        [False] * len(units),
    )


def _look(memory: Memory) -> bytes:
    seen = bytes(0 if prot is None else 1 | prot << 1 for prot in memory.prot)
    data = bytes(
        value if (prot or 0) & 1 else UNREAD for prot, value in zip(memory.prot, memory.data, strict=True)
    )  # fmt: skip
    return b"\0\0" + seen + data


def _known(seen: bytes, pair: tuple[int, int]) -> bool:
    """As coverage_unseen() of guest_payload/c/coverage.c has it."""
    bit = ((pair[0] << 32 | pair[1]) * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 44
    return bool(seen[bit // 8] & 1 << bit % 8)


def framed(kind: bytes, body: bytes) -> bytes:
    return kind + b"\0" + len(body).to_bytes(2, "little") + body


def read_batch(data: bytes) -> list[Program]:
    """The programs of a batch."""
    magic, version, _chunk, count, _deadline = struct.unpack_from("<4sHHII", data)
    assert (magic, version) == (b"SMXP", 1)
    at, programs = 16, []
    for _ in range(count):
        size, _units, scale, place, flags, segments, steps = struct.unpack_from("<HBBBBBB", data, at)
        first = at + 8 + 4 * segments
        read = [Segment(*data[at + 8 + 4 * i : at + 12 + 4 * i]) for i in range(segments)]
        done = [Step.from_bytes(data[first + 8 * i : first + 8 * i + 8]) for i in range(steps)]
        programs.append(Program(tuple(read), tuple(done), scale, place, flags))
        at += size
    return programs
