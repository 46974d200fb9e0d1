"""The record of bugs that happened: read, checked against itself, and asked which kernels have each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from harness.config.loader import Strict, parse_yaml
from harness.errors import nearest
from harness.model.documents import Text
from harness.model.rule import Where
from harness.model.version import parse_version, version_order

BUGS = Path(__file__).parent / "bugs.yaml"

VersionText = Annotated[str, Field(pattern=r"^\d+\.\d+(\.\d+)?$")]
CommitId = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]


@dataclass(frozen=True)
class Bug:
    """One bug. ``since`` and ``upstream`` are the mainline releases it came and went with, ``mended`` the first release
    of each stable series without it. ``rules`` are those that fail, ``exploration`` what exploration shows, ``mutants``
    those that put it back; ``unnoticed`` says why nothing of ours can notice it ("" where something does)."""

    id: str
    cve: str
    title: str
    wrong: str
    broken: str
    fixed: str
    since: str
    upstream: str
    mended: Mapping[str, str]
    source: str
    rules: tuple[str, ...] = ()
    exploration: str = ""
    mutants: tuple[str, ...] = ()
    unnoticed: str = ""

    def affects(self, version: str) -> bool:
        """Whether an upstream version has the bug, as published; a distribution may have fixed its own. False for
        what is no version."""
        order = version_order(version)
        if not order or order < version_order(self.since) or order >= version_order(self.upstream):
            return False
        mended = self.mended.get(".".join(version.split("-", maxsplit=1)[0].split(".")[:2]))
        return mended is None or order < version_order(mended)

    def where(self, first: str) -> tuple[Where, ...]:
        """The kernels that have it, as ranges that begin with the version ``first`` at the earliest."""
        found = []
        begin = max(parse_version(self.since), parse_version(first))
        for version in sorted(map(parse_version, self.mended.values())):
            if begin < version:
                found.append(Where(begin, version))
            begin = max(begin, (version[0], version[1] + 1, 0))
        end = parse_version(self.upstream)
        return (*found, Where(begin, end)) if begin < end else tuple(found)

    @property
    def noticed(self) -> str:
        """What of ours notices it, in words."""
        said = [f"rule {', '.join(self.rules)}"] if self.rules else []
        said += [f"exploration: {self.exploration}"] if self.exploration else []
        return "; ".join(said) or f"nothing: {self.unnoticed}"

    @property
    def range(self) -> str:
        """The versions that have it, in words."""
        series = ", ".join(self.mended.values())
        return f"{self.since} to {self.upstream}" + (f", fixed in {series}" if series else "")


class _Commits(Strict):
    broken: CommitId
    mended: CommitId


class _BugEntry(Strict):
    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    cve: Annotated[str, Field(pattern=r"^(CVE-\d{4}-\d{4,})?$")] = ""
    title: Text
    commits: _Commits
    since: VersionText
    upstream: VersionText
    mended: dict[VersionText, VersionText] = field(default_factory=dict)
    wrong: Text
    rules: tuple[str, ...] = ()
    exploration: str = ""
    mutants: tuple[str, ...] = ()
    unnoticed: str = ""
    source: Text

    @model_validator(mode="after")
    def _says_what_notices_it(self) -> _BugEntry:
        if bool(self.rules or self.exploration) == bool(self.unnoticed):
            raise ValueError("either rules or exploration notice it, or `unnoticed` says why nothing does")
        for series, version in self.mended.items():
            if not version.startswith(f"{series}."):
                raise ValueError(f"mended: {version} is no release of {series}")
        return self

    def noun(self) -> Bug:
        return Bug(
            id=self.id,
            cve=self.cve,
            title=self.title,
            wrong=" ".join(self.wrong.split()),
            broken=self.commits.broken,
            fixed=self.commits.mended,
            since=self.since,
            upstream=self.upstream,
            mended=self.mended,
            source=self.source,
            rules=self.rules,
            exploration=self.exploration,
            mutants=self.mutants,
            unnoticed=self.unnoticed,
        )


class _Covers(Strict):
    since: VersionText
    newest: VersionText
    on: date


class _BugsFile(Strict):
    covers: _Covers
    bugs: tuple[_BugEntry, ...]


@dataclass(frozen=True)
class BugRecord:
    """The bugs by id. Public records were read ``on`` a day, for bugs of the mainline releases from ``since`` to
    ``newest``, which was the newest one on that day."""

    bugs: Mapping[str, Bug]
    since: str
    newest: str
    on: date

    def where(self, bug: str) -> tuple[Where, ...]:
        """The kernels that have a bug, of those that the record covers. Raises ``ValueError`` for one that is not in
        it."""
        if bug not in self.bugs:
            raise ValueError(f"{bug}: no such bug{nearest(bug, self.bugs, listed_by='sealmatrix bugs list')}")
        return self.bugs[bug].where(self.since)

    def of(self, version: str) -> tuple[Bug, ...]:
        """Those that an upstream version has, as published."""
        return tuple(bug for bug in self.bugs.values() if bug.affects(version))

    def outside(self, version: str) -> str:
        """Why the record cannot say that an upstream version has no other bug; "" where it can."""
        order = version_order(version)
        if not order:
            return "it tells no upstream version"
        if order < version_order(self.since):
            return f"the record begins with {self.since}"
        if order[:2] > version_order(self.newest)[:2]:
            return f"the record is of {self.on}, when {self.newest} was the newest release"
        return ""


def parse_bugs(data: bytes, path: Path = BUGS) -> BugRecord:
    """Read a record. Raises ``ConfigError``."""
    document = parse_yaml(data, path, _BugsFile, "record of bugs")
    bugs: dict[str, Bug] = {}
    for i, bug in enumerate(document.value.bugs):
        if bug.id in bugs:
            raise document.fault(("bugs", i, "id"), f"{bug.id} is there twice")
        bugs[bug.id] = bug.noun()
    covers = document.value.covers
    return BugRecord(bugs, covers.since, covers.newest, covers.on)


@cache
def load_bugs() -> BugRecord:
    """The record that is shipped."""
    return parse_bugs(BUGS.read_bytes())
