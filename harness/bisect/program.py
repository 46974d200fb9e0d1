"""Bisecting what one program of exploration does: any difference from the good end counts, as for a rule that promises
nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.bisect.predicate import BisectQuestion, SeenRule
from harness.bisect.trial_log import Trial
from harness.bisect.trial_runner import TrialRequest
from harness.errors import InfrastructureError, UsageError
from harness.explore.corpus import read_kept
from harness.explore.difference import behaviour
from harness.explore.executor import Executor
from harness.explore.program import Program, parse_program
from harness.explore.wire import encode
from harness.guests.accel import AccelWanted
from harness.guests.qemu import QemuGuest, Wishes
from harness.matrix.model import Profile
from harness.model.rule import Rule
from harness.payload.build import Payload

_RUNS = 3  # of the program, each in a process of its own; they have to agree
RULE = "program"


def program_question(text: str) -> BisectQuestion:
    """What is asked of each kernel: whether the program does there what it does on the good end."""
    program = parse_program(text)
    statement = "; ".join(program.lines())
    rule = Rule(RULE, "O8", "explore", "open", "open", statement, ("[T] what nobody promises is recorded",), ())
    return BisectQuestion(rule, (RULE,))


def read_program(path: Path) -> str:
    """The program of a file, as text. Raises ``UsageError``."""
    return str(read_kept(path).program)


class ProgramAsker:
    """Boots kernels and runs the program in each."""

    def __init__(
        self, text: str, payload: Payload, profile: Profile, runs: Path, *, acceleration: AccelWanted, scale: float
    ) -> None:
        self._program: Program = parse_program(text)
        self._payload, self._runs = payload.path.read_bytes(), runs
        self._profile = replace(profile, swap=0, hugepages=0)
        self._wishes = Wishes(acceleration=acceleration, scale=scale)

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
        guest = QemuGuest(want.kernel, self._profile, folder, self._wishes)
        try:
            guest.boot()
            executor = Executor(guest, self._payload)
            code = encode(self._program)
            shown = {behaviour(self._program, facts) for _, facts in executor.run([code] * _RUNS, chunk=1)}
        except UsageError:
            raise
        except InfrastructureError as problem:
            return replace(trial, trouble="no-answer", reason=str(problem), seconds=round(time.monotonic() - begun, 3))
        finally:
            guest.stop()
        trial = replace(trial, seconds=round(time.monotonic() - begun, 3))
        if len(shown) > 1:
            return replace(trial, trouble="no-answer", reason="the program does not do the same each time")
        lines = shown.pop()
        if executor.plan is not None and executor.plan.mseal:
            seen = SeenRule("skip", "", "this kernel has no mseal", ())
            return replace(trial, trouble="skip", reason="this kernel has no mseal", seen=seen)
        steps = [line.partition(": ") for line in lines]
        told = tuple((f"step {i}, {name}" if name not in ("window", "end") else name, text)
                     for i, (name, _, text) in enumerate(steps))  # fmt: skip
        return replace(trial, seen=SeenRule("observed", "", "", told))
