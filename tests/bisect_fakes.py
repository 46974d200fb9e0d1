"""Kernels that do not exist, and what they answer: the seam at which bisections are tested without a machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.bisect.predicate import BisectQuestion, SeenRule
from harness.bisect.trial_log import Trial
from harness.bisect.trial_runner import TrialRequest, trouble_of
from harness.errors import Interrupted
from harness.kernels.model import Kernel, Origin
from harness.model.rule import Level, Outcome, Rule, Selector

GOOD = SeenRule("pass", "", "", (("munmap/anon-rw/exact", "control 0, sealed EPERM"),))
BAD = SeenRule("fail", "bypass", "succeeded over sealed memory", (("munmap/anon-rw/exact", "control 0, sealed 0"),))
LOST = SeenRule("miss", "", "never said hello", (("munmap/anon-rw/exact", "miss"),))
SKIP = SeenRule("skip", "", "no mseal (ENOSYS)", (("munmap/anon-rw/exact", "skip"),))


def question(level: Level = "required", outcome: Outcome = "blocked") -> BisectQuestion:
    rule = Rule("munmap-blocked", "U1", "munmap", level, outcome, "s", ("T",), (Selector(("munmap",)),))
    return BisectQuestion(rule, ("munmap/anon-rw/exact",))


def kernel(name: str, image: str = "") -> Kernel:
    return Kernel(name, f"{name}-fake", "x86_64", "own", Path(name), "vmlinux", image or name, Origin("tree", "fake"))


@dataclass
class FakeAsk:
    """Answers by point. ``booted`` has the points in order; with ``stop_after`` boots it is interrupted."""

    says: Callable[[str], SeenRule]
    asked: BisectQuestion = field(default_factory=question)
    stored: dict[str, SeenRule] = field(default_factory=dict)
    stop_after: int = 10**6
    booted: list[str] = field(default_factory=list)

    def boot(self, wanted: Sequence[TrialRequest]) -> list[Trial]:
        trials = []
        for want in wanted:
            for number in range(want.boots):
                if len(self.booted) == self.stop_after:
                    raise Interrupted("interrupted")
                self.booted.append(want.point)
                trials.append(self._trial(want, self.says(want.point), "boot", f"/runs/{len(self.booted)}-{number}"))
        return trials

    def recall(self, wanted: TrialRequest) -> list[Trial]:
        seen = self.stored.get(wanted.kernel.sha256)
        return [self._trial(wanted, seen, "stored", f"/runs/earlier-{n}") for n in range(3)] if seen else []

    def _trial(self, want: TrialRequest, seen: SeenRule, origin: str, run: str) -> Trial:
        return Trial(
            want.point, want.kernel.sha256, want.purpose, origin,  # type: ignore[arg-type]
            seen, trouble_of(self.asked, seen), seen.reason, run, "cell", 1.0,
        )  # fmt: skip
