"""Bisecting what one program of exploration does: any difference from the good end counts, as for a rule that promises
nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.bisect.predicate import BisectQuestion, SeenRule
from harness.bisect.trial_runner import OneByOne, TrialAnswer
from harness.errors import InfrastructureError, UsageError
from harness.explore.corpus import read_kept
from harness.explore.difference import behaviour
from harness.explore.executor import Executor
from harness.explore.exploration import kernel_facts
from harness.explore.program import parse_program
from harness.explore.verdicts import unsealable
from harness.explore.wire import NO_WINDOW, encode
from harness.guests.accel import AccelWanted
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.rule import Rule
from harness.model.verdict import Judgement
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


def _without_seals(unsealed: Judgement) -> TrialAnswer:
    """A kernel on which nothing can be sealed: from before mseal, or one that does not say what is asked."""
    if unsealed.status == "skip":
        return TrialAnswer(SeenRule("skip", "", unsealed.reason, ()), "skip", unsealed.reason)
    return TrialAnswer(trouble="no-answer", reason=unsealed.reason)


def program_asker(
    text: str, payload: Payload, profile: Profile, runs: Path, *, acceleration: AccelWanted, scale: float
) -> OneByOne:
    """Boots kernels and runs the program in each."""
    program, elf = parse_program(text), payload.path.read_bytes()
    profile, wishes = replace(profile, swap=0, hugepages=0), Wishes(acceleration=acceleration, scale=scale)

    def ask(kernel: Kernel, folder: Path) -> TrialAnswer:
        guest = QemuGuest(kernel, profile, folder, wishes)
        try:
            guest.boot()
            executor = Executor(guest, elf)
            facts = [seen for _, seen in executor.run([encode(program)] * _RUNS, chunk=1)]
        except UsageError:
            raise
        except InfrastructureError as problem:
            return TrialAnswer(trouble="no-answer", reason=str(problem))
        finally:
            guest.stop()
        if any(seen.status == NO_WINDOW for seen in facts):
            return TrialAnswer(trouble="no-answer", reason="the guest had no room for the program's memory")
        shown = {behaviour(program, seen) for seen in facts}
        if len(shown) > 1:
            return TrialAnswer(trouble="no-answer", reason="the program does not do the same each time")
        lines = shown.pop()
        unsealed = executor.plan and unsealable(
            executor.plan.mseal, kernel_facts(kernel.release, kernel.arch, kernel.version)
        )
        if unsealed:
            return _without_seals(unsealed)
        steps = [line.partition(": ") for line in lines]
        told = tuple((f"step {i}, {name}" if name not in ("window", "end") else name, text)
                     for i, (name, _, text) in enumerate(steps))  # fmt: skip
        return TrialAnswer(SeenRule("observed", "", "", told))

    return OneByOne(runs, ask)
