"""When a call is refused although nothing is sealed: ``refusals.yaml``, the errors that are innocent and why."""

from __future__ import annotations

import errno as errno_names
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from harness.config.loader import SPLIT, SinceVersion, Strict, WordList, load_yaml
from harness.errors import nearest
from harness.model.rule import KernelFacts, ProbeName, Selector, Where

REFUSALS = Path(__file__).parent / "refusals.yaml"
_CAPABILITIES = {
    "CAP_IPC_LOCK": 14, "CAP_SYS_RAWIO": 17, "CAP_SYS_PTRACE": 19, "CAP_SYS_NICE": 23, "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
}  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """Errors that say nothing about the contract. ``steps`` names what was to be had for the operation, and is empty
    for the operation itself; ``lacking`` is a capability, and the entry is for callers without it. ``verdict`` is what
    comes of it."""

    selector: Selector
    errnos: frozenset[int]
    reason: str
    steps: tuple[str, ...] = ()
    where: Where = field(default_factory=Where)
    lacking: str = ""
    verdict: Literal["skip", "error"] = "skip"

    def excuses(self, probe: ProbeName, kernel: KernelFacts, error: int, step: str | None) -> bool:
        """Whether the entry is about this error of this probe."""
        return (
            error in self.errnos
            and (step in self.steps if step is not None else not self.steps)
            and probe in self.selector
            and kernel in self.where
            and not (self.lacking and _can(kernel, self.lacking))
        )


def _can(kernel: KernelFacts, capability: str) -> bool:
    """Whether the payload said that it has the capability."""
    told = str(kernel.features.get("capabilities") or "0")
    return bool(int(told, 16) >> _CAPABILITIES[capability] & 1)


def excuse(probe: ProbeName, kernel: KernelFacts, error: int, step: str | None = None) -> Refusal | None:
    """The entry that excuses an error of the control: of its operation, or of a ``step`` before that."""
    return next((entry for entry in load_refusals() if entry.excuses(probe, kernel, error, step)), None)


def _error(name: str) -> str:
    if not (name.isupper() and hasattr(errno_names, name)):
        raise ValueError(f"{name!r} is no error{nearest(name, errno_names.errorcode.values())}")
    return name


def _capability(name: str) -> str:
    if name and name not in _CAPABILITIES:
        raise ValueError(f"{name!r} is no capability{nearest(name, _CAPABILITIES)}")
    return name


Errno = Annotated[str, AfterValidator(_error)]


class _Entry(Strict):
    operations: WordList = ("*",)
    steps: WordList = ()
    regions: WordList = ("*",)
    spans: WordList = ("*",)
    since: SinceVersion | None = None
    until: SinceVersion | None = None
    lacking: Annotated[str, AfterValidator(_capability)] = ""
    errnos: Annotated[tuple[Errno, ...], SPLIT, Field(min_length=1)]
    verdict: Literal["skip", "error"] = "skip"
    reason: Annotated[str, Field(min_length=1)]

    def noun(self) -> Refusal:
        return Refusal(
            selector=Selector(self.operations, self.regions, self.spans),
            errnos=frozenset(getattr(errno_names, name) for name in self.errnos),
            reason=self.reason,
            steps=self.steps,
            where=Where(self.since, self.until),
            lacking=self.lacking,
            verdict=self.verdict,
        )


class _RefusalsFile(Strict):
    refused: tuple[_Entry, ...]
    unavailable: tuple[_Entry, ...]

    @model_validator(mode="after")
    def _steps_where_they_belong(self) -> Self:
        if any(entry.steps for entry in self.refused) or not all(entry.steps for entry in self.unavailable):
            raise ValueError("an entry has steps where it is about something unavailable, and only there")
        return self


@cache
def load_refusals(path: Path = REFUSALS) -> tuple[Refusal, ...]:
    """All entries, in the order of the file. Raises ``ConfigError`` naming file, line and key."""
    file = load_yaml(path, _RefusalsFile, "table of refusals").value
    return tuple(entry.noun() for entry in (*file.refused, *file.unavailable))
