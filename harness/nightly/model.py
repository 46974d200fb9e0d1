"""What a night is asked to do, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from harness.cost.model import DEFAULT_BY
from harness.history.regressions import Changed
from harness.model.verdict import EXIT_FAILED, EXIT_NO_ANSWER, EXIT_OK
from harness.nightly.against_last import SinceLast
from harness.nightly.broken import Broken
from harness.nightly.marks import NightRecord
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed

SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a night is to do. ``share`` of what is answered already is asked again, once a day or, with ``insist``, each
    time; ``budget`` are seconds after which no cell begins; ``everything`` asks all cells, whatever is answered;
    ``costs`` is the per cent by which a cost has to grow to be a regression."""

    selection: str
    share: float = SHARE
    insist: bool = False
    costs: float = DEFAULT_BY
    budget: float = inf
    everything: bool = False


@dataclass(frozen=True)
class Tonight:
    """A night before it begins. ``drawn`` is when its sample was drawn, "" where it has none to draw."""

    composed: Composed
    drawn: str = ""


@dataclass(frozen=True)
class NothingNew:
    """What comes of a night that would only repeat the last one, which is in ``folder``: no run is made."""

    folder: Path
    mark: NightRecord
    changed: Changed = field(default_factory=Changed)
    exit_code: int = EXIT_OK


@dataclass(frozen=True)
class Night:
    """A night that has come to its end."""

    done: RunDone
    mark: NightRecord
    since: SinceLast
    broken: tuple[Broken, ...]
    changed: Changed

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.done.folder

    @property
    def exit_code(self) -> int:
        """1 where something got worse, 3 where a cell gave no answer or an answer is in doubt, else 0: an old failure
        is no news. The first night has nothing to compare with, and is judged as a run."""
        if self.since.before is None:
            return self.done.exit_code
        if any(not one.unsteady for one in self.broken):
            return EXIT_FAILED
        unclean = any(not cell.clean for cell in self.done.record.cells)
        return EXIT_NO_ANSWER if unclean or self.mark.alarms or self.broken else EXIT_OK
