"""Side by side: where our rules and foreign tests speak of the same promise, do they say the same of a kernel? Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from harness.config.loader import Strict, load_yaml
from harness.model.rule import Test
from harness.model.verdict import RuleResult, Status

MAP = Path(__file__).with_name("agree.yaml")
Says = Literal["kept", "broken", "nothing"]
_SAYS: dict[Status, Says] = {"pass": "kept", "fixed": "kept", "fail": "broken", "known": "broken"}


class Promise(Strict):
    """One promise, and the ids or globs of the rules and tests that speak of it."""

    promise: str
    rules: Annotated[tuple[str, ...], Field(min_length=1)]
    tests: Annotated[tuple[str, ...], Field(min_length=1)]


class _PromisesFile(Strict):
    promises: tuple[Promise, ...]


def load_promises(path: Path = MAP) -> tuple[Promise, ...]:
    """The reviewed map. Raises ``ConfigError``."""
    return load_yaml(path, _PromisesFile, "map of promises").value.promises


@dataclass(frozen=True)
class Agreement:
    """One promise on one cell. ``ours`` and ``theirs`` are the results that speak of it, the worst first."""

    promise: str
    ours: tuple[RuleResult, ...]
    theirs: tuple[RuleResult, ...]

    @property
    def compared(self) -> bool:
        """Whether both sides say something."""
        return "nothing" not in (says(self.ours), says(self.theirs))

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return says(self.ours) == says(self.theirs)


def says(results: Iterable[RuleResult]) -> Says:
    """What results say of a promise: broken when one of them is, kept when one is and none is broken."""
    told = [_SAYS.get(result.status, "nothing") for result in results]
    return "broken" if "broken" in told else "kept" if "kept" in told else "nothing"


def agreements(promises: Sequence[Promise], results: Sequence[RuleResult]) -> tuple[Agreement, ...]:
    """One cell's results, promise by promise; those that no side was asked about are left out."""
    found = (
        Agreement(
            one.promise,
            _matching(one.rules, [result for result in results if not isinstance(result.rule, Test)]),
            _matching(one.tests, [result for result in results if isinstance(result.rule, Test)]),
        )
        for one in promises
    )
    return tuple(one for one in found if one.ours and one.theirs)


def _matching(globs: Sequence[str], results: Sequence[RuleResult]) -> tuple[RuleResult, ...]:
    found = [result for result in results if any(fnmatchcase(result.rule.id, glob) for glob in globs)]
    return tuple(sorted(found, key=lambda result: result.worst.badness))
