"""Bugs that exploration finds and that are known: ``known.yaml``, each with its steps, kernels, reason and source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from harness.bugs.record import load_bugs
from harness.config.loader import SinceVersion, Strict, parse_yaml
from harness.explore.program import Program
from harness.model.rule import KernelFacts, Where
from harness.rules.load import RecordedBug

KNOWN = Path(__file__).parent / "known.yaml"


@dataclass(frozen=True)
class KnownBug:
    """One entry. ``steps`` are globs for the text of steps, in their order, with " | " between alternatives; ``corpus``
    names the program that shows it; ``where`` are the kernels that have it, ``bug`` its id in the record of bugs, ""
    where it is not recorded."""

    id: str
    steps: tuple[str, ...]
    corpus: str
    where: tuple[Where, ...]
    reason: str
    source: str
    bug: str = ""

    def __contains__(self, kernel: KernelFacts) -> bool:
        return any(kernel in where for where in self.where)

    @property
    def cited(self) -> str:
        """The reason and its source."""
        return f"{self.reason} [{self.source}]"

    def involved(self, program: Program) -> bool:
        """Whether the program has the steps, in their order."""
        left = list(self.steps)
        for step in program.steps:
            if left and _is_one(str(step), left[0]):
                del left[0]
        return not left

    def without(self, program: Program) -> Program:
        """The program without what this bug needs last."""
        return program.with_steps([s for s in program.steps if not _is_one(str(s), self.steps[-1])])


def _is_one(step: str, globs: str) -> bool:
    return any(fnmatchcase(step, glob) for glob in globs.split(" | "))


class _Kernels(Strict):
    since: SinceVersion | None = None
    until: SinceVersion | None = None
    arches: tuple[str, ...] = ()


class _KnownBugEntry(Strict):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    steps: Annotated[tuple[str, ...], Field(min_length=1)]
    corpus: str
    bug: RecordedBug = ""
    where: tuple[_Kernels, ...] = ()
    reason: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _says_once_which_kernels(self) -> _KnownBugEntry:
        if bool(self.bug) == bool(self.where):
            raise ValueError(
                "either `bug` names a recorded bug (harness/bugs/bugs.yaml), or `where` says which kernels"
            )
        return self

    def noun(self) -> KnownBug:
        where = tuple(Where(kernels.since, kernels.until, kernels.arches) for kernels in self.where)
        recorded = load_bugs().where(self.bug) if self.bug else ()
        return KnownBug(self.id, self.steps, self.corpus, where or recorded, self.reason, self.source, self.bug)


class _KnownBugsFile(Strict):
    known: tuple[_KnownBugEntry, ...]


def parse_known(text: str, path: Path = KNOWN) -> tuple[KnownBug, ...]:
    """Read a list. Raises ``ConfigError`` for anything else."""
    return tuple(
        bug.noun() for bug in parse_yaml(text.encode(), path, _KnownBugsFile, "list of known bugs").value.known
    )


@cache
def load_known() -> tuple[KnownBug, ...]:
    """The list that is shipped."""
    return parse_known(KNOWN.read_text(encoding="utf-8"))


def known_as(cause: str, kernel: KernelFacts | None, entries: Sequence[KnownBug] | None = None) -> KnownBug | None:
    """The entry of a finding's cause, where this kernel is one of those that have the bug."""
    for entry in load_known() if entries is None else entries:
        if entry.id == cause and kernel is not None and kernel in entry:
            return entry
    return None


__all__ = ["KNOWN", "KnownBug", "known_as", "load_known", "parse_known"]
