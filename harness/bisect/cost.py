"""Bisecting what a system call costs: bad is a kernel on which it takes so many per cent more than on the good end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.bisect.predicate import BisectQuestion, SeenRule
from harness.bisect.trial_log import Trial
from harness.bisect.trial_runner import TrialRequest
from harness.cost.measure import cost_rows, measure
from harness.cost.model import chosen_rows
from harness.errors import UsageError
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.matrix.model import Profile
from harness.model.rule import Rule

PROFILE = "counted"


def cost_row(word: str) -> str:
    """The one row that a word means: ``munmap/8/none``, or ``munmap/8`` for it. Raises ``UsageError``."""
    rows = tuple(cost_rows())
    found = [word] if word in rows else chosen_rows(rows, [word])
    plain = [row for row in found if row.endswith("/none")]
    if len(found) > 1 and len(plain) != 1:
        raise UsageError(f"--cost {word}: that is {len(found)} costs; name one, such as {found[0]}")
    return (plain or found)[0]


def cost_question(row: str, by: float) -> BisectQuestion:
    """What is asked of each kernel: whether the row costs more than on the good end, by ``by`` per cent at least."""
    statement = f"{row}: instructions a call"
    rule = Rule(row, "O8", "cost", "open", "open", statement, ("[T] what nobody promises is recorded",), ())
    return BisectQuestion(rule, (row,), by=by)


class CostAsker:
    """Boots kernels and counts in each."""

    def __init__(self, row: str, profile: Profile, runs: Path, *, scale: float) -> None:
        self._row, self._profile, self._runs, self._scale = row, profile, runs, scale

    def boot(self, wanted: Sequence[TrialRequest]) -> list[Trial]:
        """One after another; each boot is one trial."""
        return [self._trial(want, number) for want in wanted for number in range(want.boots)]

    def recall(self, wanted: TrialRequest) -> list[Trial]:
        """Nothing of this sort is stored."""
        del wanted
        return []

    def _trial(self, want: TrialRequest, number: int) -> Trial:
        begun = time.monotonic()
        folder = self._runs / f"{want.point.replace('/', '_')}-{want.purpose}-{number}-{time.time_ns()}"
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(
            want.point, want.kernel.sha256, want.purpose, run=str(folder), cell="", version=want.kernel.version
        )

        def make() -> Guest:
            return QemuGuest(want.kernel, self._profile, folder, Wishes(acceleration="tcg", scale=self._scale))

        table = measure(want.kernel, self._profile, make, (self._row,), lambda text: None)
        trial = replace(trial, seconds=round(time.monotonic() - begun, 3))
        if table.lost:
            return replace(trial, trouble="no-answer", reason=table.lost)
        cost = table.costs.get(self._row)
        if cost is None:
            reason = "this kernel has no mseal" if not table.mseal else f"the payload measured no {self._row}"
            return replace(trial, trouble="skip", reason=reason, seen=SeenRule("skip", "", reason, ()))
        if cost.trouble:
            return replace(trial, trouble="no-answer", reason=cost.trouble)
        told = f"{cost.settled:,.0f} instructions"
        return replace(trial, seen=SeenRule("observed", "", "", ((self._row, told),), amount=cost.settled))
