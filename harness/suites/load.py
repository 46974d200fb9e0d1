"""``suites.yaml``: which suites there are, how their programs are built, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from harness.config.loader import SinceVersion, Strict, load_yaml
from harness.model.rule import Known, Where
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


class _KnownFailure(Strict):
    tests: Annotated[tuple[BoundedText, ...], Field(min_length=1)]
    reason: BoundedText
    source: BoundedText
    since: SinceVersion | None = None
    until: SinceVersion | None = None
    arches: tuple[str, ...] = ()
    page_sizes: tuple[int, ...] = ()

    def noun(self) -> Known:
        return Known(Where(self.since, self.until, self.arches, self.page_sizes), self.reason, self.source, self.tests)


class _Suite(Strict):
    title: BoundedText
    path: BoundedText | None = None
    linux: _Series | None = None
    programs: tuple[_Source, ...] = ()
    defines: tuple[BoundedText, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    files: tuple[BoundedText, ...] = ()
    seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    format: Format = "auto"
    exit: Convention | Literal["auto"] = "auto"
    drop: tuple[BoundedText, ...] = ()
    known: tuple[_KnownFailure, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) is (self.linux is None):
            raise ValueError("needs either path or linux")
        if (self.linux is None) is bool(self.programs):
            raise ValueError("programs are C files of linux: needed there, and nowhere else")
        return self

    def noun(self, name: str, folder: Path) -> SuiteSpec:
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


class _SuitesFile(Strict):
    suites: Annotated[dict[SuiteName, _Suite], Field(min_length=1)]


def load_suites(path: Path = SHIPPED) -> dict[str, SuiteSpec]:
    """The suites of a file by name. Raises ``ConfigError`` naming file, line and key; ``UsageError`` if unreadable."""
    suites = load_yaml(path, _SuitesFile, "list of suites").value.suites
    return {name: suite.noun(name, path.parent) for name, suite in suites.items()}
