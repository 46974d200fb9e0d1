"""The catalogue of mutants: YAML to ``Mutant``, strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, RootModel, StringConstraints, model_validator

from harness.config.loader import Strict, load_yaml
from harness.errors import UsageError, nearest
from harness.model.architectures import Arch
from harness.mutants.model import KINDS, DefectKind, Edit, EditPlace, KernelSeries, Mutant

CATALOGUE = Path(__file__).resolve().parent / "catalogue"

_Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
_Clause = Annotated[str, StringConstraints(pattern=r"^[A-Z]\d{1,2}[a-z]?$")]
_EditedPath = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+\.[chS]$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=600)]
_Number = Annotated[str, StringConstraints(pattern=r"^\d{1,3}\.\d{1,3}$")]


class _EditYaml(Strict):
    file: _EditedPath
    scope: str = Field("", alias="in")
    find: _Text
    put: str | None = None
    before: _Text | None = None
    after: _Text | None = None

    @property
    def places(self) -> list[tuple[EditPlace, str]]:
        places: tuple[tuple[EditPlace, str | None], ...]
        places = (("put", self.put), ("before", self.before), ("after", self.after))
        return [(place, text) for place, text in places if text is not None]

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if len(self.places) != 1:
            raise ValueError("an edit has exactly one of put, before, after")
        return self

    def noun(self) -> Edit:
        ((place, text),) = self.places
        return Edit(self.file, self.scope, self.find, place, re.sub(r"\s+", " ", text).strip())


class _MutantYaml(Strict):
    id: _Word
    what: _Text
    breaks: Annotated[tuple[_Clause, ...], Field(min_length=1)]
    edits: Annotated[dict[_Number, Annotated[tuple[_EditYaml, ...], Field(min_length=1)]], Field(min_length=1)]
    absent: dict[_Number, _Text] = Field(default_factory=dict)
    arches: tuple[Arch, ...] = ()
    fragments: tuple[_Word, ...] = ()
    equivalent: dict[_Number, _Text] = Field(default_factory=dict)

    def noun(self, kind: DefectKind) -> Mutant:
        return Mutant(
            id=self.id,
            kind=kind,
            what=self.what,
            breaks=self.breaks,
            edits={_series(s): tuple(edit.noun() for edit in edits) for s, edits in self.edits.items()},
            absent={_series(s): why for s, why in self.absent.items()},
            arches=self.arches,
            fragments=self.fragments,
            equivalent={_series(s): why.strip() for s, why in self.equivalent.items()},
        )


class _Mutants(RootModel[tuple[_MutantYaml, ...]]):
    pass


def load_mutants(folder: Path = CATALOGUE) -> Mapping[str, Mutant]:
    """Return all mutants by id, in the order of ``KINDS`` and of the files. Raises ``ConfigError``."""
    mutants: dict[str, Mutant] = {}
    for kind in KINDS:
        document = load_yaml(folder / f"{kind}.yaml", _Mutants, "catalogue of mutants", aliases=True)
        for position, entry in enumerate(document.value.root):
            if entry.id in mutants:
                raise document.fault((position, "id"), f"another mutant has the name {entry.id}")
            mutants[entry.id] = entry.noun(kind)
    return mutants


def choose(mutants: Mapping[str, Mutant], globs: Sequence[str]) -> tuple[Mutant, ...]:
    """The mutants whose id or kind matches one of ``globs``, all without any. Raises ``UsageError`` for a vain glob."""
    for glob in globs:
        if not any(fnmatchcase(m.id, glob) or m.kind == glob for m in mutants.values()):
            near = nearest(glob, mutants, listed_by="sealmatrix mutants list")
            raise UsageError(f"no mutant matches {glob}{near}")
    return tuple(
        m for m in mutants.values() if not globs or any(fnmatchcase(m.id, glob) or m.kind == glob for glob in globs)
    )


def _series(text: str) -> KernelSeries:
    major, minor = text.split(".")
    return int(major), int(minor)
