"""When a call is refused although nothing is sealed: ``refusals.yaml``, the errors that are innocent and why."""

from __future__ import annotations

import errno as errno_names
import shlex
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.errors import ConfigError
from harness.model.rule import KernelFacts, ProbeName, Selector, Where
from harness.model.version import parse_version

REFUSALS = Path(__file__).parent / "refusals.yaml"
_CAPABILITIES = {"CAP_IPC_LOCK": 14, "CAP_SYS_RAWIO": 17, "CAP_SYS_PTRACE": 19, "CAP_SYS_NICE": 23}


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


def _number(name: str) -> int:
    number: int = getattr(errno_names, name, 0) if name.isupper() else 0
    if not number:
        raise ValueError(f"{name!r} is no error")
    return number


def _words(value: object) -> object:
    return shlex.split(value) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Entry(_Model):
    operations: Words = ("*",)
    steps: Words = ()
    regions: Words = ("*",)
    spans: Words = ("*",)
    since: str | None = None
    until: str | None = None
    lacking: Annotated[str, AfterValidator(lambda name: name if not name else _known(name))] = ""
    errnos: Annotated[Words, Field(min_length=1)]
    verdict: Literal["skip", "error"] = "skip"
    reason: Annotated[str, Field(min_length=1)]

    def noun(self) -> Refusal:
        since, until = (None if text is None else parse_version(text) for text in (self.since, self.until))
        return Refusal(
            selector=Selector(self.operations, self.regions, self.spans),
            errnos=frozenset(map(_number, self.errnos)),
            reason=self.reason,
            steps=self.steps,
            where=Where(since, until),
            lacking=self.lacking,
            verdict=self.verdict,
        )


def _known(name: str) -> str:
    if name not in _CAPABILITIES:
        raise ValueError(f"{name!r} is none of {', '.join(_CAPABILITIES)}")
    return name


class _File(_Model):
    refused: tuple[_Entry, ...]
    unavailable: tuple[_Entry, ...]

    @model_validator(mode="after")
    def _steps_where_they_belong(self) -> Self:
        if any(entry.steps for entry in self.refused) or not all(entry.steps for entry in self.unavailable):
            raise ValueError("an entry has steps where it is about something unavailable, and only there")
        return self


@cache
def load_refusals(path: Path = REFUSALS) -> tuple[Refusal, ...]:
    """All entries, in the order of the file. Raises ``ConfigError`` naming the file and what is wrong in it."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = _File.model_validate(data)
        return tuple(entry.noun() for entry in (*file.refused, *file.unavailable))
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 0
        raise ConfigError(path, line, f"not YAML: {problem.problem}") from problem
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise ConfigError(path, 0, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from problem
    except ValueError as problem:
        raise ConfigError(path, 0, str(problem)) from problem
