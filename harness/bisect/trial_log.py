"""What was asked and answered so far: one entry a boot, kept in the order of asking, and the tallies made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.bisect.predicate import BisectQuestion, SeenRule
from harness.bisect.search import Answer, Standing, Tally, required_boots

TrialOrigin = Literal["boot", "stored", "same", "changed"]
Trouble = Literal["", "build", "no-answer", "skip"]
Purpose = Literal["ends", "search", "check"]


@dataclass(frozen=True)
class Trial:
    """One boot of one point, or why there was none.

    ``point`` is a build's package version or a commit; ``image`` the sha256 of its kernel ("" where there was none).
    ``trouble`` says why it gave no answer: it did not build, there was no kernel or the guest or the probe broke
    (``no-answer``, tried again), or the rule does not apply. ``origin`` is ``stored`` for an answer of an earlier run,
    ``same`` for the remark that the kernel is another point's, byte for byte, and ``changed`` for the one that it is no
    longer the kernel that was asked before. ``run`` and ``cell`` say where
    everything that was seen lies; ``seconds`` are those of the boot and of the build before it. ``version`` is the
    upstream version the kernel was built from.
    """

    point: str
    image: str
    purpose: Purpose
    origin: TrialOrigin = "boot"
    seen: SeenRule | None = None
    trouble: Trouble = ""
    reason: str = ""
    run: str = ""
    cell: str = ""
    seconds: float = 0.0
    version: str = ""

    @property
    def is_remark(self) -> bool:
        """Whether it says something of the kernel, and nothing was asked."""
        return self.origin in ("same", "changed")


# How often a guest or a probe may break before the point is given up.
ATTEMPTS = 3


@dataclass
class TrialLog:
    """All trials of a session. ``good`` is the point that says what good is, for rules that promise nothing."""

    question: BisectQuestion
    good: str
    repeat: int = 1
    trials: list[Trial] = field(default_factory=list)

    def add(self, trials: Iterable[Trial]) -> None:
        """Enter trials."""
        self.trials.extend(trials)

    def image(self, point: str) -> str:
        """The sha256 of a point's kernel as it was last met, "" while unknown."""
        return next((t.image for t in reversed(self.trials) if t.point == point and t.image), "")

    def version(self, point: str) -> str:
        """The upstream version of a point's kernel, "" while unknown."""
        return next((t.version for t in reversed(self.trials) if t.point == point and t.version), "")

    @property
    def reference(self) -> SeenRule | None:
        """What the good end showed."""
        if not self.question.compares:
            return None
        of_good = (t.seen for t in self._of(self.good) if t.seen is not None)
        return next((seen for seen in of_good if self.question.answer(seen, None) != "untestable"), None)

    def answer(self, trial: Trial) -> Answer:
        """What one trial says."""
        if trial.seen is None or trial.trouble:
            return "untestable"
        return self.question.answer(trial.seen, self.reference)

    def tally(self, point: str) -> Tally:
        """Sum up a point. Whoever has the same kernel has the same answers."""
        trials = self._of(point)
        answers = [self.answer(trial) for trial in trials]
        broken = [trial for trial in trials if trial.trouble]
        final = [t for t in broken if t.trouble != "no-answer"] or (broken if len(broken) >= ATTEMPTS else [])
        why = f"{final[-1].trouble}: {final[-1].reason}" if final else ""
        return Tally(answers.count("good"), answers.count("bad"), why)

    def tallies(self, points: Iterable[str]) -> Mapping[str, Tally]:
        """The tallies of those points that have any trial."""
        known = {trial.point for trial in self.trials}
        return {point: self.tally(point) for point in points if point in known}

    @property
    def required(self) -> int:
        """Boots a point needs to be good."""
        return required_boots(self.tallies({t.point for t in self.trials}).values(), self.repeat)

    def standing(self, point: str) -> Standing:
        """What a point is taken for."""
        return self.tally(point).standing(self.repeat, self.required)

    @property
    def boots(self) -> int:
        """Guests booted, those that broke included."""
        return sum(1 for trial in self.trials if trial.origin == "boot" and trial.run)

    def causes(self, point: str) -> tuple[str, ...]:
        """What a point's failures have in common, in sentences, as its newest answer has it."""
        answered = (t.seen for t in reversed(self._of(point)) if t.seen is not None and not t.trouble)
        return next((seen.causes for seen in answered), ())

    def why(self, point: str) -> str:
        """What a point showed, in one line: its newest answer, or why it has none."""
        trials = self._of(point)
        answered = [trial for trial in trials if trial.seen is not None and not trial.trouble]
        return self.told((answered or trials)[-1]) if trials else "not asked"

    def told(self, trial: Trial) -> str:
        """What a trial showed, in one line; where good is what the good end does, how it differs from that."""
        if trial.trouble == "no-answer" or trial.seen is None:
            return trial.reason
        reference = self.reference
        if reference is None or trial.seen.status != reference.status or trial.point == self.good:
            return trial.seen.told
        differing = trial.seen.differing(reference)
        if not differing:
            return f"as on {self.good}"
        more = f" (and {len(differing) - 1} more of {len(trial.seen.behaviour)} probes differ)" if differing[1:] else ""
        probe, before, after = differing[0]
        return f"{probe}: {after}; on {self.good}: {before}{more}"

    def _of(self, point: str) -> list[Trial]:
        """The trials of a point's kernel, whichever point it was asked as; not those of what was its kernel before."""
        image = self.image(point)
        asked = [trial for trial in self.trials if not trial.is_remark]
        return [t for t in asked if (t.image == image if t.image else t.point == point)]
