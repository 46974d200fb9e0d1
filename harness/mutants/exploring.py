"""Exploration as a suite: generated programs instead of the table of probes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import harness.explore
from harness.errors import GuestError, InfrastructureError
from harness.explore.corpus import Kept, load_corpus
from harness.explore.difference import behaviour
from harness.explore.exploration import Exploration, ExploreFinding
from harness.explore.known import known_as
from harness.explore.oracles import ORACLES
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.explore.verdicts import unsealable
from harness.explore.wire import NO_WINDOW
from harness.guests.accel import AccelWanted
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.mutants.suite import SuiteResult
from harness.payload.build import build


class ExploreSuite:
    """Explores a kernel for ``seconds``, or until the first finding: one is enough to notice a mutant.

    What is found runs on the unchanged kernel, too; where it shows there as well it is a false alarm, and no answer.
    """

    name = "exploration"
    strict = True

    def __init__(
        self, arch: Arch, profile: Profile, seconds: float, seed: int, *, acceleration: AccelWanted = "auto"
    ) -> None:
        payload = build(arch)
        self._payload = payload.path.read_bytes()
        self._arch, self._profile, self._seconds, self._seed = arch, profile, seconds, seed
        self._wishes = Wishes(acceleration=acceleration)
        self._live: Guest | None = None
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        self._unchanged: Kernel | None = None
        corpus = [str(kept.program) for kept in load_corpus()]
        facts = (payload.sha256, repr(profile), arch, seconds, seed, corpus, _own_sources())
        self.digest = sha256(repr(facts).encode()).hexdigest()[:16]

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Explore ``kernel``."""
        outcome = Exploration(self._seed, arch=self._arch)
        corpus = load_corpus()
        observed: Mapping[str, str] = {}
        with self._explorer(kernel, folder, outcome) as explorer:
            explorer.explore(ProgramSource(self._seed), self._seconds, outcome, [kept.program for kept in corpus])
            if not outcome.findings and not outcome.lost:
                observed = observed_of(explorer, corpus)
        if outcome.findings and self._unchanged is not None and self._unchanged.sha256 != kernel.sha256:
            self._without_false_alarms(outcome, self._unchanged, folder / "unchanged")
        if outcome.plan is None and not outcome.lost and not outcome.findings:
            raise InfrastructureError("nothing was explored")
        return replace(summary(outcome), observed=observed)

    @contextmanager
    def _explorer(self, kernel: Kernel, folder: Path, outcome: Exploration) -> Iterator[Explorer]:
        def boot() -> Guest:
            guest = QemuGuest(kernel, self._profile, folder, self._wishes)
            with self._guard:
                self._live = guest
            if self._stopped.is_set():
                guest.stop()
            outcome.release, outcome.upstream = guest.boot().release, kernel.version
            return guest

        explorer = Explorer(boot, self._payload, lambda _text: None, first_only=True)
        try:
            yield explorer
        finally:
            explorer.stop()
            with self._guard:
                self._live = None

    def _without_false_alarms(self, outcome: Exploration, unchanged: Kernel, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with self._explorer(unchanged, folder, Exploration(self._seed, arch=self._arch)) as explorer:
                false = false_alarms(explorer, outcome.findings)
        except GuestError as problem:
            outcome.findings = []
            outcome.lost = f"the unchanged kernel did not say whether it shows it, too: {problem}"
            return
        outcome.findings = [finding for finding in outcome.findings if finding not in false]
        if false and not outcome.findings:
            outcome.lost = f"a false alarm: the unchanged kernel shows it, too: {false[0].problem.text}"

    def beside(self, unchanged: Kernel) -> None:
        """What is found on another kernel has to be well on this one."""
        self._unchanged = unchanged

    def stop(self) -> None:
        """End the guest that is running, and whichever would come after it."""
        self._stopped.set()
        with self._guard:
            live = self._live
        if live is not None:
            live.stop()


def false_alarms(explorer: Explorer, findings: Sequence[ExploreFinding]) -> tuple[ExploreFinding, ...]:
    """Those of the findings whose program shows the same on the kernel that ``explorer`` has."""
    return tuple(finding for finding in findings if explorer.shows(finding))


def observed_of(explorer: Explorer, corpus: Sequence[Kept]) -> Mapping[str, str]:
    """A digest of everything each program of the corpus shows, also of how mappings are divided."""
    facts = [facts for _, facts in explorer.run([kept.program for kept in corpus], chunk=1)]
    return {
        f"corpus/{kept.name}": sha256(repr(behaviour(kept.program, seen)).encode()).hexdigest()[:16]
        for kept, seen in zip(corpus, facts, strict=True)
        if seen is not None and seen.status != NO_WINDOW
    }


def _own_sources() -> str:
    """A digest of what generates and judges: another of either may answer otherwise."""
    folder = Path(harness.explore.__file__).parent
    digest = sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def summary(outcome: Exploration) -> SuiteResult:
    """Oracles by what became of them. Where nothing can be sealed none of them can be asked; on a kernel that has to
    have mseal that is a failure."""
    unsealed = unsealable(outcome.plan.mseal, outcome.kernel) if outcome.plan is not None else None
    news = [f for f in outcome.findings if known_as(f.cause, outcome.kernel) is None]
    failed = {f"explore-{f.problem.oracle}": f"{f.problem.operation}: {f.problem.text}" for f in news}
    names = [f"explore-{oracle}" for oracle in ORACLES]
    if unsealed is not None and unsealed.status == "skip":
        return SuiteResult(failed, (), tuple(names), outcome.lost)
    if unsealed is not None and unsealed.status == "fail":
        return SuiteResult({**failed, "explore-answer": unsealed.reason}, (), (), outcome.lost)
    if unsealed is not None:
        return SuiteResult(failed, (), (), outcome.lost or unsealed.reason)
    passed = tuple(name for name in names if name not in failed)
    return SuiteResult(failed, passed, (), outcome.lost)
