"""``suites.yaml``: which suites there are, how their programs are built, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from harness.config.yaml_lines import dotted, parse_tree
from harness.errors import ConfigError, UsageError
from harness.model.rule import Known, Where
from harness.model.version import parse_version
from harness.suites.model import Convention
from harness.suites.parse import Format

SHIPPED = Path(__file__).parent / "suites.yaml"

SuiteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=60)]
BoundedText = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_Series = Annotated[str, StringConstraints(pattern=r"^\d{1,2}\.\d{1,3}$")]
_Source = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][\w.-]*(/[A-Za-z0-9_-][\w.-]*)*\.c$")]


@dataclass(frozen=True)
class SuiteSpec:
    """A suite as its file has it.

    ``linux`` is a series whose source its ``programs`` are built from; else ``path`` is a program, a script, a C file,
    a folder or a tar. ``{arch}`` in it stands for an architecture, ``$NAME`` before it for an environment variable.
    """

    name: str
    title: str
    path: str = ""
    linux: str = ""
    programs: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    seconds: float | None = None
    form: Format = "auto"
    convention: Convention | Literal["auto"] = "auto"
    drop: tuple[str, ...] = ()
    known: tuple[Known, ...] = ()


class _SuiteModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _KnownFailure(_SuiteModel):
    tests: Annotated[tuple[BoundedText, ...], Field(min_length=1)]
    reason: BoundedText
    source: BoundedText
    since: str | None = None
    until: str | None = None
    arches: tuple[str, ...] = ()
    page_sizes: tuple[int, ...] = ()

    def noun(self) -> Known:
        since, until = (parse_version(text) if text else None for text in (self.since, self.until))
        return Known(Where(since, until, self.arches, self.page_sizes), self.reason, self.source, self.tests)


class _Suite(_SuiteModel):
    title: BoundedText
    path: BoundedText | None = None
    linux: _Series | None = None
    programs: tuple[_Source, ...] = ()
    defines: tuple[BoundedText, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    files: tuple[BoundedText, ...] = ()
    seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    format: Format = "auto"
    exit: Convention | Literal["auto"] = "auto"
    drop: tuple[BoundedText, ...] = ()
    known: tuple[_KnownFailure, ...] = ()

    def noun(self, name: str, folder: Path) -> SuiteSpec:
        if (self.path is None) is (self.linux is None):
            raise ValueError("needs either path or linux")
        if (self.linux is None) is bool(self.programs):
            raise ValueError("programs are C files of linux: needed there, and nowhere else")
        return SuiteSpec(
            name=name,
            title=" ".join(self.title.split()),
            path="" if self.path is None else _place(self.path, folder),
            linux=self.linux or "",
            programs=self.programs,
            defines=self.defines,
            arguments=self.arguments,
            environment=tuple(f"{key}={value}" for key, value in self.environment.items()),
            files=tuple(folder / Path(file).expanduser() for file in self.files),
            seconds=self.seconds,
            form=self.format,
            convention=self.exit,
            drop=self.drop,
            known=tuple(one.noun() for one in self.known),
        )


def _place(path: str, folder: Path) -> str:
    """A path of a suite; one that begins with ``$`` is looked up when it is needed."""
    return path if path.startswith("$") else str(folder / Path(path).expanduser())


class _SuitesFile(_SuiteModel):
    suites: Annotated[dict[SuiteName, Any], Field(min_length=1)]


def load_suites(path: Path = SHIPPED) -> dict[str, SuiteSpec]:
    """The suites of a file by name. Raises ``ConfigError`` naming file, line and key; ``UsageError`` if unreadable."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None
    tree = parse_tree(data, path)
    found: dict[str, SuiteSpec] = {}
    place: tuple[str | int, ...] = ()
    try:
        for name, told in _SuitesFile.model_validate(tree.root).suites.items():
            place = ("suites", name)
            found[name] = _Suite.model_validate(told).noun(name, path.parent)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = (*place, *first["loc"])
        raise ConfigError(path, tree.line(where), f"{dotted(where)}: {first['msg']}") from None
    except ValueError as problem:
        raise ConfigError(path, tree.line(place), f"{dotted(place)}: {problem}") from None
    return found
