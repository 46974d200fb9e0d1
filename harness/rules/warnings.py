"""Warnings of memory management that are known to say nothing of sealing: ``warnings.yaml``, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from harness.config.loader import SinceVersion, Strict, load_yaml
from harness.model.rule import KernelFacts, Where

WARNINGS = Path(__file__).parent / "warnings.yaml"


class AllowedWarning(Strict):
    """A warning that fails no probe: a glob for its title, on the kernels of a half-open range of versions."""

    title: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    since: SinceVersion | None = None
    until: SinceVersion | None = None

    def speaks_for(self, title: str, kernel: KernelFacts | None) -> bool:
        """Whether the entry is about this warning of this kernel."""
        return fnmatchcase(title, self.title) and (kernel is None or kernel in Where(self.since, self.until))


class _WarningsFile(Strict):
    allowed: tuple[AllowedWarning, ...]


@cache
def load_warnings(path: Path = WARNINGS) -> tuple[AllowedWarning, ...]:
    """An allow-list, that which is shipped unless it is said. Raises ``ConfigError`` for anything else."""
    return load_yaml(path, _WarningsFile, "list of warnings").value.allowed


def is_allowed(title: str, kernel: KernelFacts | None, entries: Sequence[AllowedWarning] | None = None) -> bool:
    """Whether a warning is on the list."""
    return any(entry.speaks_for(title, kernel) for entry in (load_warnings() if entries is None else entries))
