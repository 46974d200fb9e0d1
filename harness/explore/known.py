"""Bugs that exploration finds and that are known: ``known.yaml``, each with its steps, kernels, reason and source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ConfigError
from harness.explore.program import Program
from harness.model.rule import KernelFacts, Where
from harness.model.version import parse_version

KNOWN = Path(__file__).parent / "known.yaml"


@dataclass(frozen=True)
class KnownBug:
    """One entry. ``steps`` are globs for the text of steps, in their order; ``corpus`` names the program that shows it;
    ``where`` are the kernels that have it."""

    id: str
    steps: tuple[str, ...]
    corpus: str
    where: tuple[Where, ...]
    reason: str
    source: str

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
            if left and fnmatchcase(str(step), left[0]):
                del left[0]
        return not left

    def without(self, program: Program) -> Program:
        """The program without what this bug needs last."""
        return program.with_steps([s for s in program.steps if not fnmatchcase(str(s), self.steps[-1])])


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Kernels(_Model):
    since: str = ""
    until: str = ""
    arches: tuple[str, ...] = ()

    def noun(self) -> Where:
        since, until = (parse_version(text) if text else None for text in (self.since, self.until))
        return Where(since, until, self.arches)


class _Bug(_Model):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    steps: Annotated[tuple[str, ...], Field(min_length=1)]
    corpus: str
    where: Annotated[tuple[_Kernels, ...], Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]


class _File(_Model):
    known: tuple[_Bug, ...]


def parse_known(text: str, path: Path = KNOWN) -> tuple[KnownBug, ...]:
    """Read a list. Raises ``ConfigError`` for anything else."""
    try:
        return tuple(
            KnownBug(b.id, b.steps, b.corpus, tuple(w.noun() for w in b.where), b.reason, b.source)
            for b in _File.model_validate(yaml.safe_load(text)).known
        )
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        raise ConfigError(path, mark.line + 1 if mark else 0, "not YAML") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        raise ConfigError(path, 0, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except ValueError as problem:
        raise ConfigError(path, 0, str(problem)) from None


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
