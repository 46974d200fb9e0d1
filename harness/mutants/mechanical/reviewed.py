"""Mutants that survived and were read: why no suite can tell them from the original. Text names them, not lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, RootModel

from harness.config.loader import Strict, load_yaml

REVIEWED = Path(__file__).resolve().parent / "reviewed.yaml"
_ReviewedText = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Review:
    """Which change is meant: of ``function``, by ``operator``, from ``was`` to ``becomes``, the ``nth`` such there."""

    function: str
    operator: str
    was: str
    becomes: str
    nth: int = 1


@dataclass(frozen=True)
class Reviewed:
    """Every review, with its reason."""

    reasons: Mapping[Review, str] = field(default_factory=dict)

    def why(self, change: Review) -> str:
        """Why nothing can notice the change; "" for one that was not reviewed."""
        return self.reasons.get(change, "")


class _ReviewedEntry(Strict):
    function: _ReviewedText
    operator: _ReviewedText
    was: _ReviewedText
    becomes: str
    nth: int = 1
    equivalent: _ReviewedText


class _ReviewedFile(RootModel[tuple[_ReviewedEntry, ...]]):
    pass


def load_reviewed(path: Path = REVIEWED) -> Reviewed:
    """Read the file. Raises ``ConfigError``, also for a change that is reviewed twice."""
    document = load_yaml(path, _ReviewedFile, "reviews of mutants")
    reasons: dict[Review, str] = {}
    for place, entry in enumerate(document.value.root):
        change = Review(entry.function, entry.operator, _line(entry.was), _line(entry.becomes), entry.nth)
        if change in reasons:
            raise document.fault((place,), f"the same change of {entry.function} was reviewed before")
        reasons[change] = _line(entry.equivalent)
    return Reviewed(reasons)


def _line(text: str) -> str:
    return " ".join(text.split())
