"""A suite as a guest runs it, and what is kept of it so that its stored output can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Literal

from harness.model.rule import Known, Where
from harness.suites.model import Convention
from harness.suites.parse import Format


@dataclass(frozen=True)
class SuiteProgram:
    """One program of a suite: its name in ids ("" for the only one) and its command, a path below the suite's folder
    first."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class SuiteFile:
    """A file that is pushed: its path below the suite's folder."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o755


@dataclass(frozen=True)
class SuiteWork:
    """A suite for one architecture. ``seconds`` is the deadline of each of its programs; ``needs_shell`` says that a
    program of it is a script, for which a guest that has nothing is given busybox."""

    name: str
    programs: tuple[SuiteProgram, ...]
    files: tuple[SuiteFile, ...]
    environment: tuple[str, ...] = ()
    seconds: float = 0.0
    needs_shell: bool = False

    def program_id(self, program: SuiteProgram) -> str:
        """What the console and the checks call a program: ``kselftest-mm/mremap-test``."""
        return f"{self.name}/{program.name}" if program.name else self.name

    @property
    def sha256(self) -> str:
        """Of all that the answers depend on."""
        digest = sha256(repr((self.programs, self.environment, self.seconds)).encode())
        for file in sorted(self.files, key=lambda file: file.path):
            digest.update(f"{file.path} {file.mode} {len(file.content)}\n".encode() + file.content)
        return digest.hexdigest()


@dataclass(frozen=True)
class SuiteAsked:
    """What is judged of a suite. ``programs`` are the names of its programs, ``digests`` the sha256 of its work by
    architecture, ``known`` the tests that are known to fail, by their ids below the suite's name."""

    name: str
    title: str
    programs: tuple[str, ...]
    form: Format = "auto"
    convention: Convention | Literal["auto"] = "auto"
    drop: tuple[str, ...] = ()
    known: tuple[Known, ...] = ()
    source: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)

    def ids(self) -> tuple[str, ...]:
        """What the console calls its programs."""
        return tuple(f"{self.name}/{program}" if program else self.name for program in self.programs)


def asked_json(asked: SuiteAsked) -> dict[str, Any]:
    """Plain data for ``plan.json``."""
    return asdict(asked)


def read_asked(told: Mapping[str, Any]) -> SuiteAsked:
    """The opposite. Raises ``KeyError`` and ``TypeError`` for other data."""
    known = tuple(
        Known(_where(one["where"]), one["reason"], one["source"], tuple(one["probes"])) for one in told["known"]
    )
    lists = {name: tuple(told[name]) for name in ("programs", "drop")}
    return SuiteAsked(**{**told, **lists, "known": known})


def _where(told: Mapping[str, Any]) -> Where:
    version = {name: tuple(told[name]) if told[name] else None for name in ("since", "until")}
    return Where(
        version["since"],
        version["until"],
        tuple(told["arches"]),
        tuple(told["page_sizes"]),
    )
