"""A suite that is not ours against mutants: run in the guest and judged as ``sealmatrix run --suite`` does."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.errors import GuestError, UsageError
from harness.guests.accel import AccelWanted
from harness.guests.deadlines import deadlines
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import Arch, host_arch
from harness.model.verdict import RuleResult
from harness.mutants.suite import SuiteResult
from harness.observations.journal import Journal
from harness.runs.execution.suite_runner import run_suites
from harness.runs.model import JOURNAL
from harness.runs.planning.suite_task import Suites
from harness.suites.gather import SuiteWords, meant_suites
from harness.suites.judge import judge_suites
from harness.suites.parse import PARSER
from harness.suites.records import programs_run


class ForeignSuite:
    """A suite by name or path. It need not be clean on the unchanged kernel: differences count."""

    strict = False

    def __init__(self, words: SuiteWords, arch: Arch, profile: Profile, *, acceleration: AccelWanted = "auto") -> None:
        specs = meant_suites(words)
        if len(specs) != 1:
            raise UsageError(f"--suite {' '.join(words.suites)}: mutants take one suite")
        self.name = specs[0].name
        task = Suites(specs)
        limits = deadlines(arch, "kvm" if acceleration == "kvm" else "tcg", host_arch())
        load = task.workload(arch, limits, kmsg=False).suites
        assert load is not None
        self._load, self._asked = load, task.asked()
        self._profile, self._wishes = profile, Wishes(acceleration=acceleration)
        self._live: Guest | None = None
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        facts = (PARSER, [work.sha256 for work in load.works], repr(profile))
        self.digest = sha256(repr(facts).encode()).hexdigest()[:16]

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Boot ``kernel`` once and run the suite; its output is kept in ``folder``, as a cell's."""
        guest = QemuGuest(kernel, self._profile, folder, self._wishes)
        notes: list[Mapping[str, Any]] = []
        lost = ""
        with ExitStack() as stack:
            stack.callback(guest.stop)
            stack.callback(self._forget)
            with self._guard:
                self._live = guest
            if self._stopped.is_set():
                guest.stop()
            guest.boot()
            journal = stack.enter_context(Journal(folder / JOURNAL))

            def note(kind: str, **facts: object) -> None:
                journal.note(kind, **facts)
                notes.append({"type": f"harness-{kind}", **facts})

            try:
                run_suites(guest, self._load, note, lambda: None)
            except GuestError as problem:
                lost = str(problem)
        return foreign_summary(judge_suites(self._asked, programs_run(notes), None, lost, ()), lost)

    def beside(self, unchanged: Kernel) -> None:
        """Its answer of the session is enough."""

    def stop(self) -> None:
        """End the guest that is running, and whichever would come after it."""
        self._stopped.set()
        with self._guard:
            live = self._live
        if live is not None:
            live.stop()

    def _forget(self) -> None:
        with self._guard:
            self._live = None


def foreign_summary(results: Sequence[RuleResult], lost: str) -> SuiteResult:
    """Tests by what became of them. What gave no answer counts as a failure, unless the guest was lost."""
    wrong = ("fail",) if lost else ("fail", "error", "miss")
    failed = {r.rule.id: r.kind or r.status for r in results if r.status in wrong}
    passed = tuple(r.rule.id for r in results if r.status in ("pass", "known", "fixed"))
    skipped = tuple(r.rule.id for r in results if r.status == "skip")
    return SuiteResult(failed, passed, skipped, lost)
