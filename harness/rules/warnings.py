"""Warnings of memory management that are known to say nothing of sealing: ``warnings.yaml``, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import ConfigError
from harness.model.rule import KernelFacts, Where
from harness.model.version import parse_version

WARNINGS = Path(__file__).parent / "warnings.yaml"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AllowedWarning(_Model):
    """A warning that fails no probe: a glob for its title, on the kernels of a half-open range of versions."""

    title: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    since: str = ""
    until: str = ""

    def speaks_for(self, title: str, kernel: KernelFacts | None) -> bool:
        """Whether the entry is about this warning of this kernel."""
        where = Where(
            since=parse_version(self.since) if self.since else None,
            until=parse_version(self.until) if self.until else None,
        )
        return fnmatchcase(title, self.title) and (kernel is None or kernel in where)


class _File(_Model):
    allowed: tuple[AllowedWarning, ...]


def parse_warnings(text: str, path: Path = WARNINGS) -> tuple[AllowedWarning, ...]:
    """Read an allow-list. Raises ``ConfigError`` for anything else."""
    try:
        return _File.model_validate(yaml.safe_load(text)).allowed
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        raise ConfigError(path, mark.line + 1 if mark else 0, "not YAML") from None
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(path, 0, f"{place}: {first['msg']}") from None


@cache
def load_warnings() -> tuple[AllowedWarning, ...]:
    """The allow-list that is shipped."""
    return parse_warnings(WARNINGS.read_text(encoding="utf-8"))


def is_allowed(title: str, kernel: KernelFacts | None, entries: Sequence[AllowedWarning] | None = None) -> bool:
    """Whether a warning is on the list."""
    return any(entry.speaks_for(title, kernel) for entry in (load_warnings() if entries is None else entries))
