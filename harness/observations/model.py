"""An observation: what one probe saw, with the fields of ``docs/reference/protocol.md``. Nothing is judged here."""

from __future__ import annotations

import errno as errno_names
import re
import signal as signal_names
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass as plain
from dataclasses import field
from functools import cached_property, lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid", strict=True)
_UNIT = re.compile(r"^([r-][w-][x-][ps]) (\S+) ([0-9a-f]{2}|mix|segv|bus|\.) ([afsn?]) ([s?-])$")
_LAYOUT = re.compile(r"^[psgPSG]+$")

ProbeStage = Literal["setup", "seal", "before", "operation", "after", "done"]


def errno_name(number: int) -> str:
    """``EPERM`` for 1, ``0`` for 0. The numbers are Linux's generic ones, which x86_64 and arm64 share."""
    return errno_names.errorcode.get(number, f"errno {number}") if number else "0"


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11."""
    try:
        return signal_names.Signals(number).name
    except ValueError:
        return f"signal {number}"


@plain(frozen=True, slots=True)
class Unit:
    """One mapped unit of the window (a page, or a huge page)."""

    perms: str
    backing: str
    data: str
    presence: str
    seal: str

    @classmethod
    def parse(cls, text: str) -> Unit | None:
        """Read ``"rw-p anon a0 a -"``; ``"-"`` is a hole and gives None. Raises ``ValueError`` otherwise."""
        return _unit(text)

    @property
    def writable(self) -> bool:
        """Whether the kernel lists the unit as writable."""
        return self.perms[1] == "w"


@lru_cache(maxsize=4096)  # a suite has a hundred thousand of them, of which a few hundred differ
def _unit(text: str) -> Unit | None:
    if text == "-":
        return None
    match = _UNIT.match(text)
    if match is None:
        raise ValueError(f"not a unit: {text[:60]!r}")
    return Unit(*match.groups())


Snapshot = tuple[Unit | None, ...]


@dataclass(frozen=True, config=_STRICT)
class Half:
    """One of a probe's two processes. ``before`` and ``after`` have one entry per unit of the layout.

    ``divided`` says of both, where a payload tells, at which units a mapping begins.
    """

    stage: ProbeStage
    step: str | None = None
    step_errno: int = 0
    seal: tuple[int, ...] = ()
    result: int | str | None = None
    errno: int = 0
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    extra: Mapping[str, int | str] = field(default_factory=dict)
    write: str = ""
    mprotect: tuple[int, ...] = ()
    munmap: tuple[int, ...] = ()
    signal: int | None = None
    timeout: bool = False
    divided: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Half:
        _ = self.units_before, self.units_after  # raises ``ValueError`` for what is no unit
        if self.stage == "done" and self.result is None:
            raise ValueError("a half that is done has a result")
        return self

    @cached_property
    def units_before(self) -> Snapshot:
        """The window before the operation."""
        return tuple(Unit.parse(text) for text in self.before)

    @cached_property
    def units_after(self) -> Snapshot:
        """The window after the operation."""
        return tuple(Unit.parse(text) for text in self.after)

    @cached_property
    def said(self) -> str:
        """What the operation answered, for a person: ``0``, ``EPERM``, ``base+2``, or how the process ended."""
        if self.timeout:
            return f"no answer in time ({self.stage})"
        if self.signal is not None:
            return f"killed by {signal_name(self.signal)} ({self.stage})"
        if self.step is not None:
            return f"{self.step}: {errno_name(self.step_errno)}"
        if self.stage != "done":
            return f"stopped in {self.stage}"
        return errno_name(self.errno) if self.errno else str(self.result)


@dataclass(frozen=True, config=_STRICT)
class Observation:
    """Both halves of one probe. ``unit`` is in bytes.

    ``again``: the probe had been observed among others in one process, and was run once more, alone.
    """

    probe: str
    layout: str
    unit: int
    microseconds: int
    control: Half
    sealed: Half
    again: bool = False
    type: Literal["observation"] = "observation"

    @model_validator(mode="after")
    def _consistent(self) -> Observation:
        if not _LAYOUT.match(self.layout):
            raise ValueError(f"not a layout: {self.layout[:40]!r}")
        for half in (self.control, self.sealed):
            if half.stage != "done":
                continue
            lengths = {len(half.before), len(half.after), len(half.write), len(half.mprotect), len(half.munmap)}
            if lengths != {len(self.layout)}:
                raise ValueError(f"{self.probe}: snapshots do not fit the layout {self.layout}")
        return self

    def of(self, probe: str, microseconds: int) -> Observation:
        """The same as told of another probe. Nothing that is validated depends on these two."""
        other = object.__new__(Observation)
        other.__dict__.update(self.__dict__, probe=probe, microseconds=microseconds)
        return other


@dataclass(frozen=True, config=_STRICT)
class Plan:
    """What the payload is about to do, and what it found the kernel to be. ``lanes`` probes may run side by side."""

    stream: int
    payload: str
    id: str
    machine: str
    release: str
    page_size: int
    pid1: bool
    probes: tuple[str, ...]
    features: Mapping[str, int | str] = field(default_factory=dict)
    lanes: int = 1
    type: Literal["plan"] = "plan"


@dataclass(frozen=True, config=_STRICT)
class Begin:
    """A probe's first process is about to start; in a ``lane`` unless nothing else runs meanwhile."""

    probe: str
    lane: int | None = None
    type: Literal["begin"] = "begin"


@dataclass(frozen=True, config=_STRICT)
class Batch:
    """So many probes of the plan, from ``probe`` on, are about to run, many in one process."""

    probe: str
    probes: int
    lane: int | None = None
    type: Literal["batch"] = "batch"


_Plain = bool | int | str | None
Value = _Plain | tuple[_Plain, ...]
"""What a scenario may say of something: facts are plain."""


@dataclass(frozen=True, config=_STRICT)
class Fact:
    """What a scenario found; ``wanted`` has the values that are right where it expects one."""

    name: Annotated[str, Field(min_length=1, max_length=500)]
    value: Value
    wanted: tuple[Value, ...] | None = None
    type: Literal["fact"] = "fact"


def numbered(names: Iterable[str], taken: Iterable[str] = ()) -> Iterator[str]:
    """Tell names apart: the second ``x`` is ``x (2)``, or the next number that is not taken."""
    used, counts = set(taken), Counter[str]()
    for name in names:
        while True:
            counts[name] += 1
            unique = name if counts[name] == 1 else f"{name} ({counts[name]})"
            if unique not in used:
                break
        used.add(unique)
        yield unique


def named(facts: Sequence[Fact]) -> Mapping[str, Fact]:
    """A scenario's facts by names of their own, in the order they were said, whichever of its processes said them.

    What is expected is counted apart, as it stands in the script's text; what was merely found makes way.
    """
    expected = tuple(numbered(fact.name for fact in facts if fact.wanted is not None))
    found = numbered((fact.name for fact in facts if fact.wanted is None), expected)
    names = iter(expected)
    return {next(found if fact.wanted is None else names): fact for fact in facts}


@dataclass(frozen=True, config=_STRICT)
class Printed:
    """A line that a scenario printed."""

    text: str
    type: Literal["printed"] = "printed"


@dataclass(frozen=True, config=_STRICT)
class ScenarioEnd:
    """How a scenario ended: ``text`` says why, ``line`` where in its file (0 where that is not known)."""

    probe: str
    ended: Literal["done", "skipped", "raised", "exited", "timeout", "killed"]
    text: str
    line: int
    type: Literal["outcome"] = "outcome"


@dataclass(frozen=True, config=_STRICT)
class End:
    """The payload says it wrote everything: so many observations, a scenario's outcome being one.

    ``half_ns`` is the time its halves took by the guest's clock, ``operation_ns`` that of the calls under test.
    ``bytes`` is how much it had written before this line; None where a payload does not say.
    """

    probes: int
    half_ns: int = 0
    operation_ns: int = 0
    bytes: int | None = None
    type: Literal["end"] = "end"


@dataclass(frozen=True)
class Garbage:
    """A line that is no record: what a reader needs to find out why. ``offset`` in bytes from the stream's start."""

    offset: int
    excerpt: str
    reason: str


Record = Plan | Begin | Batch | Observation | Fact | Printed | ScenarioEnd | End
