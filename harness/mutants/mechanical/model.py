"""A mechanical mutant, as data; nothing here needs the parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from harness.errors import UsageError, nearest
from harness.mutants.model import Mutant

CodePart = Literal["sealing", "beside", "callers"]
PARTS: tuple[CodePart, ...] = ("sealing", "beside", "callers")
"""Where a mutant is: in what is there for sealing alone; beside that, in the same function; in what calls it."""


@dataclass(frozen=True)
class About:
    """What a mechanical mutant is. ``line`` is where it stands in this tree; nothing is known by it."""

    file: str
    function: str
    part: CodePart
    operator: str
    was: str
    becomes: str
    line: int
    nth: int = 1
    diff: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """For records and programs."""
        return asdict(self)


@dataclass(frozen=True)
class MechanicalMutant(Mutant):
    """A mutant that nobody chose."""

    about: About = field(kw_only=True)

    @property
    def told(self) -> Mapping[str, object]:
        """What a record keeps of it: its source may be gone or changed when somebody asks."""
        return self.about.to_json()


def choose_mechanical(mutants: Sequence[MechanicalMutant], globs: Sequence[str]) -> tuple[MechanicalMutant, ...]:
    """Those whose id, function, file, operator or part matches one of ``globs``, all without any.

    Raises ``UsageError`` for a glob that matches none.
    """
    for glob in globs:
        if not any(_matches(mutant, glob) for mutant in mutants):
            words = {word for mutant in mutants for word in _names(mutant)}
            near = nearest(glob, words, listed_by="sealmatrix mutants list --mechanical")
            raise UsageError(f"no mechanical mutant matches {glob}{near}")
    return tuple(m for m in mutants if not globs or any(_matches(m, glob) for glob in globs))


def _names(mutant: MechanicalMutant) -> tuple[str, ...]:
    about = mutant.about
    return mutant.id, about.function, about.file, about.operator, about.part


def _matches(mutant: MechanicalMutant, glob: str) -> bool:
    return any(fnmatchcase(name, glob) for name in _names(mutant))
