"""Bisecting what a system call costs: bad is a kernel on which it takes so many per cent more than on the good end."""

from __future__ import annotations

from pathlib import Path

from harness.bisect.predicate import BisectQuestion, SeenRule
from harness.bisect.trial_runner import OneByOne, TrialAnswer
from harness.cost.measure import cost_rows, measure
from harness.cost.model import chosen_rows
from harness.errors import UsageError
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
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


def cost_asker(row: str, profile: Profile, runs: Path, *, scale: float) -> OneByOne:
    """Boots kernels and counts in each."""
    wishes = Wishes(acceleration="tcg", scale=scale)

    def ask(kernel: Kernel, folder: Path) -> TrialAnswer:
        table = measure(kernel, profile, lambda: QemuGuest(kernel, profile, folder, wishes), (row,), lambda text: None)
        if table.lost:
            return TrialAnswer(trouble="no-answer", reason=table.lost)
        cost = table.costs.get(row)
        if cost is None:
            reason = "this kernel has no mseal" if not table.mseal else f"the payload measured no {row}"
            return TrialAnswer(SeenRule("skip", "", reason, ()), "skip", reason)
        if cost.trouble:
            return TrialAnswer(trouble="no-answer", reason=cost.trouble)
        told = f"{cost.settled:,.0f} instructions"
        return TrialAnswer(SeenRule("observed", "", "", ((row, told),), amount=cost.settled))

    return OneByOne(runs, ask)
