"""What became of each mutant, one small file each, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.kernels.store import telling
from harness.model.atomic_files import write_atomically
from harness.model.json_text import parse_json
from harness.mutants.suite import SuiteResult

SCHEMA = 1
MutantState = Literal["killed", "survived", "no-answer", "not-built", "identical", "duplicate", "inapplicable"]
STATES: tuple[MutantState, ...] = (
    "survived", "no-answer", "not-built", "identical", "duplicate", "killed", "inapplicable",
)  # fmt: skip
# What a later run takes as it is; the others had no fair trial.
_FINAL: frozenset[MutantState] = frozenset({"killed", "survived", "identical", "duplicate"})


@dataclass(frozen=True)
class MutantRecord:
    """One mutant's fate under one suite.

    ``digest`` is the mutant's; ``by`` maps what noticed it to how, ``lost`` is coverage that went; ``image`` the
    sha256 of its kernel; ``seconds`` wall time of "build" and "suite". ``probes`` has one probe of each rule that
    failed, ``whole`` says that everything was asked, so that ``by`` is all that notices, and ``about`` what a
    mechanical mutant is. ``object`` is the sha256 of the one file that was compiled for it, where it was one.
    """

    mutant: str
    digest: str
    state: MutantState
    by: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    reason: str = ""
    image: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)
    object: str = ""


@dataclass(frozen=True)
class MutationSession:
    """What all records of a folder have in common: the unchanged kernel, the suite, and its answer there."""

    source: str
    series: tuple[int, int]
    arch: str
    release: str
    image: str
    suite: str
    suite_digest: str
    pristine: SuiteResult

    @property
    def name(self) -> str:
        """The folder's name: the same kernel and suite meet again in the same one."""
        return f"{self.series[0]}.{self.series[1]}-{self.arch}-{self.suite}-{self.image[:8]}-{self.suite_digest[:8]}"


class Records:
    """A folder of records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_session(self, session: MutationSession) -> None:
        """Keep ``session.json``."""
        self._write("session.json", asdict(session))

    def write(self, record: MutantRecord) -> None:
        """Keep one record."""
        self._write(f"mutants/{record.mutant}.json", asdict(record))

    def session(self) -> MutationSession | None:
        """The folder's session; None when there is none that can be read."""
        content = _read(self.folder / "session.json")
        if content is None:
            return None
        try:
            answer = content.pop("pristine")
            pristine = SuiteResult(
                dict(answer["failed"]),
                tuple(answer["passed"]),
                tuple(answer["skipped"]),
                answer["lost"],
                dict(answer.get("observed", {})),  # records of before there was such a thing
            )
            major, minor = content.pop("series")
            return MutationSession(series=(major, minor), pristine=pristine, **content)
        except (KeyError, TypeError, ValueError):
            return None

    def read(self, mutant: str) -> MutantRecord | None:
        """The record of a mutant, whatever became of it; None when there is none that can be read."""
        content = _read(self.folder / "mutants" / f"{mutant}.json")
        if content is None:
            return None
        try:
            record = MutantRecord(**{**content, "lost": tuple(content["lost"])})
        except (KeyError, TypeError):
            return None
        return record if record.state in STATES else None

    def all(self) -> Iterator[MutantRecord]:
        """Every record that can be read, by name."""
        for path in sorted((self.folder / "mutants").glob("*.json")):
            if (record := self.read(path.stem)) is not None:
                yield record

    def has_only_mechanical(self) -> bool:
        """Whether all records are of mechanical mutants, and there are any."""
        names = [record.about for record in self.all()]
        return bool(names) and all(names)

    def fate(self, mutant: str, digest: str) -> MutantRecord | None:
        """The record that makes another trial needless: of the same mutant, and a fair trial."""
        record = self.read(mutant)
        return record if record and record.digest == digest and record.state in _FINAL else None

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        path = self.folder / name
        with telling(path):
            write_atomically(path, json.dumps({"schema_version": SCHEMA, **content}, indent=1).encode() + b"\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.pop("schema_version", None) != SCHEMA:
        return None
    return content
