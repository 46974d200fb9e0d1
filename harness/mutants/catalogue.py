"""The catalogue of mutants: YAML to ``Mutant``, strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from harness.errors import ConfigError, UsageError, nearest
from harness.model.architectures import Arch
from harness.mutants.model import KINDS, DefectKind, Edit, Mutant, Place, Series

CATALOGUE = Path(__file__).resolve().parent / "catalogue"

_Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
_Clause = Annotated[str, StringConstraints(pattern=r"^[A-Z]\d{1,2}[a-z]?$")]
_File = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+\.[chS]$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=600)]
_Number = Annotated[str, StringConstraints(pattern=r"^\d{1,3}\.\d{1,3}$")]


class _EditYaml(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    file: _File
    scope: str = Field("", alias="in")
    find: _Text
    put: str | None = None
    before: _Text | None = None
    after: _Text | None = None


class _MutantYaml(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: _Word
    what: _Text
    breaks: Annotated[list[_Clause], Field(min_length=1)]
    edits: Annotated[dict[_Number, Annotated[list[_EditYaml], Field(min_length=1)]], Field(min_length=1)]
    absent: dict[_Number, _Text] = Field(default_factory=dict)
    arches: list[Arch] = Field(default_factory=list)
    equivalent: dict[_Number, _Text] = Field(default_factory=dict)


def load_mutants(folder: Path = CATALOGUE) -> Mapping[str, Mutant]:
    """Return all mutants by id, in the order of ``KINDS`` and of the files. Raises ``ConfigError``."""
    mutants: dict[str, Mutant] = {}
    for kind in KINDS:
        path = folder / f"{kind}.yaml"
        for mutant in _load_file(path, kind):
            if mutant.id in mutants:
                raise ConfigError(path, 0, f"{mutant.id}: another mutant has this name")
            mutants[mutant.id] = mutant
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


def _load_file(path: Path, kind: DefectKind) -> list[Mutant]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, 0, f"cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(path, mark.line + 1 if mark else 0, "not YAML") from error
    if not isinstance(content, list):
        raise ConfigError(path, 0, "a list of mutants is wanted")
    return [_mutant(path, kind, item) for item in content]


def _mutant(path: Path, kind: DefectKind, item: object) -> Mutant:
    name = item.get("id") if isinstance(item, dict) else None
    try:
        read = _MutantYaml.model_validate(item)
        return Mutant(
            id=read.id,
            kind=kind,
            what=read.what,
            breaks=tuple(read.breaks),
            edits={_series(s): tuple(_edit(e) for e in edits) for s, edits in read.edits.items()},
            absent={_series(s): why for s, why in read.absent.items()},
            arches=tuple(read.arches),
            equivalent={_series(s): why.strip() for s, why in read.equivalent.items()},
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(path, 0, f"{name}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise ConfigError(path, 0, f"{name}: {error}") from error


def _edit(read: _EditYaml) -> Edit:
    places: tuple[tuple[Place, str | None], ...] = (("put", read.put), ("before", read.before), ("after", read.after))
    given = [(place, text) for place, text in places if text is not None]
    if len(given) != 1:
        raise ValueError(f"{read.file}: an edit has exactly one of put, before, after")
    ((place, text),) = given
    return Edit(read.file, read.scope, read.find, place, re.sub(r"\s+", " ", text).strip())


def _series(text: str) -> Series:
    major, minor = text.split(".")
    return int(major), int(minor)
