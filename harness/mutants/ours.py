"""Our own suite: one cell, judged by the catalogue of rules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from harness.errors import InfrastructureError
from harness.guests.accel import AccelWanted
from harness.guests.deadlines import deadlines
from harness.guests.programs import make_programs
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch, host_arch
from harness.model.rule import Rule
from harness.model.verdict import RuleResult
from harness.mutants.suite import DIVISION, SuiteResult
from harness.payload.build import build
from harness.rules.load import load_catalogue
from harness.runs.execution.cell_worker import CellWorker
from harness.runs.judges import catalogue_digest
from harness.runs.judging import judge_cell, kernel_facts
from harness.runs.kernel_records import asked_config
from harness.runs.model import Cell, ProgressEvent
from harness.runs.planning.payload_tasks import workload
from harness.verdicts.judge import assign


class OwnSuite:
    """The rules, as ``sealmatrix run`` judges them. ``probes`` are globs, none meaning all."""

    name = "sealmatrix"
    strict = True

    def __init__(
        self,
        arch: Arch,
        profile: Profile,
        probes: Sequence[str] = (),
        *,
        acceleration: AccelWanted = "auto",
        load: float = 1.0,
        rules: Mapping[str, Rule] | None = None,
    ) -> None:
        way = "kvm" if acceleration == "kvm" else "tcg"
        seconds = deadlines(arch, way, host_arch(), load=load).probe
        make_programs([arch])
        self._workload = workload(build(arch), probes, seconds, kmsg=True)
        self._whole = not probes
        self._rules = rules or load_catalogue()
        self._assignment = assign(self._rules, self._workload.planned)
        self._arch, self._profile = arch, profile
        self._wishes = Wishes(acceleration=acceleration, load=load)
        self._end: Callable[[], None] | None = None
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        facts = (self._workload.sha256, self._workload.arguments, catalogue_digest(), repr(profile), arch, DIVISION)
        self.digest = sha256(repr(facts).encode()).hexdigest()[:16]

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Boot ``kernel`` once and judge it."""
        cell = Cell(kernel.name, self._arch, self._profile, kernel)
        guest = QemuGuest(kernel, self._profile, folder, self._wishes)
        worker = CellWorker(cell, self._workload, folder, guest, _silent)
        with self._running(worker.interrupt):
            outcome = worker.run()
        if outcome.booted is None:
            raise InfrastructureError(outcome.lost)
        facts = kernel_facts(self._arch, outcome.journalled, config=asked_config(kernel.config))
        results = judge_cell(self._assignment, facts, outcome.journalled, outcome.lost, outcome.crashes)
        return replace(summary(results, outcome.lost), whole=self._whole)

    def beside(self, unchanged: Kernel) -> None:
        """Its answer of the session is enough."""

    def stop(self) -> None:
        """End the guest that is running, and whichever would come after it."""
        self._stopped.set()
        with self._guard:
            end = self._end
        if end is not None:
            end()

    @contextmanager
    def _running(self, end: Callable[[], None]) -> Iterator[None]:
        """Have ``stop`` end what runs inside the block; what begins after it, at once."""
        with self._guard:
            self._end = end
        if self._stopped.is_set():
            end()
        try:
            yield
        finally:
            with self._guard:
                self._end = None


def summary(results: Sequence[RuleResult], lost: str) -> SuiteResult:
    """Rules by what became of them. ``error`` and ``miss`` are no answer, whatever else was seen."""
    failed = {r.rule.id: r.kind or "interface" for r in results if r.status == "fail"}
    probes = {r.rule.id: r.worst.probe for r in results if r.status == "fail"}
    passed = tuple(r.rule.id for r in results if r.status in ("pass", "known", "fixed", "observed"))
    skipped = tuple(r.rule.id for r in results if r.status == "skip")
    silent = [r for r in results if r.status in ("error", "miss")]
    if silent and not lost:
        lost = f"{silent[0].rule.id}: {silent[0].worst.reason}"
    observed = {r.rule.id: _digest(r) for r in results if r.status == "observed"}
    observed |= {f"{DIVISION}{r.rule.id}": _division(r) for r in results if any(v.divided for v in r.verdicts)}
    return SuiteResult(failed, passed, skipped, lost, observed, probes)


def _digest(result: RuleResult) -> str:
    """Of what was observed, made so that equal behaviour gives the same."""
    seen = sorted((v.probe, v.observed) for v in result.verdicts if v.status == "observed")
    return sha256(repr(seen).encode()).hexdigest()[:16]


def _division(result: RuleResult) -> str:
    """Of how mappings were divided, which nobody promises and everybody may see."""
    return sha256(repr(sorted((v.probe, v.divided) for v in result.verdicts)).encode()).hexdigest()[:16]


def _silent(_told: ProgressEvent) -> None:
    """A cell's own progress is of no use here: mutants are told one by one."""
