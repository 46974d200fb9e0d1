"""Building mutants one after another, and having the suite look at each while the next one is built."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from harness.errors import BootFailed, BuildError, InfrastructureError, Interrupted
from harness.kernels.model import Kernel
from harness.kernels.store import telling
from harness.mutants.mechanical.replay import CompilerRefused
from harness.mutants.model import KernelSeries, Mutant
from harness.mutants.records import MutantRecord, MutantState, MutationSession, Records
from harness.mutants.suite import Suite, SuiteResult, compare, steady
from harness.mutants.workshop import (
    MutantImage,
    MutantWorkshop,
    MutationOptions,
    MutationProgress,
    NoMutantKernel,
    OnMutationProgress,
    opened_workshop,
    seconds_since,
)
from harness.processes.children import doing, working


class UnfitSuite(InfrastructureError):
    """A suite that fails something on the unchanged kernel proves nothing by failing on another."""


def run_mutants(task: MutationOptions, suite: Suite, on_progress: OnMutationProgress) -> Records:
    """Try every mutant of ``task`` and return the records.

    Raises ``UnfitSuite``, ``UsageError`` for a tree that is none, ``StoreError``, ``ToolMissing`` and the errors of
    the unchanged kernel's build; what goes wrong with one mutant is its record.
    """
    with opened_workshop(task, on_progress) as (workshop, pristine), pristine.dropping():
        suite.beside(pristine.kernel)
        records, session = _open_session(task, workshop.series, suite, pristine, on_progress)
        _Trials(task, suite, on_progress, workshop, records, session).go()
    return records


def build_mutants(task: MutationOptions, on_progress: OnMutationProgress) -> dict[str, str]:
    """Build every mutant of ``task`` that is not kept yet and keep it; returns why for each that could not be.

    Raises what ``run_mutants`` raises, but for the suite.
    """
    problems: dict[str, str] = {}
    with opened_workshop(task, on_progress) as (workshop, pristine):
        pristine.discard()
        for done, mutant in enumerate(task.mutants):
            variant = mutant.variant(workshop.series, task.arch, task.configured)
            if isinstance(variant, str) or workshop.kept.has(mutant.id, workshop.digest(mutant)):
                continue
            on_progress(MutationProgress("building", mutant.id, done, len(task.mutants)))
            try:
                image = workshop.mutant(mutant, variant)
            except BuildError as problem:
                problems[mutant.id] = str(problem)
                continue
            if isinstance(image, MutantImage):
                image.discard()
    return problems


def _open_session(
    task: MutationOptions, series: KernelSeries, suite: Suite, pristine: MutantImage, on_progress: OnMutationProgress
) -> tuple[Records, MutationSession]:
    """The records of this kernel and suite; the suite is tried on the unchanged kernel unless it has been."""
    session = MutationSession(
        task.where, series, task.arch, pristine.kernel.release, pristine.kernel.sha256, suite.name, suite.digest,
        SuiteResult({}, ()),
    )  # fmt: skip
    records = Records(task.results / session.name)
    known = records.session()
    if known is not None and not task.every and replace(known, pristine=session.pristine, source=task.where) == session:
        return records, known
    on_progress(MutationProgress("running the suite on", "the unchanged kernel", 0, len(task.mutants)))
    folder = _fresh(records.folder / "cells" / "pristine")
    with working("running the suite on the unchanged kernel"):
        answer = suite(pristine.kernel, folder)
        if answer.observed and not answer.lost:
            answer = steady(answer, suite(pristine.kernel, _fresh(records.folder / "cells" / "pristine-again")))
    if answer.lost:
        raise UnfitSuite(f"{suite.name} gives no complete answer on the unchanged kernel: {answer.lost} ({folder})")
    if suite.strict and answer.failed:
        raise UnfitSuite(f"{suite.name} fails on the unchanged kernel: {', '.join(sorted(answer.failed))} ({folder})")
    session = replace(session, pristine=answer)
    records.write_session(session)
    return records, session


class _Trials:
    """One pass over the mutants: the builder's thread is the caller's, the suite has one of its own."""

    def __init__(
        self,
        task: MutationOptions,
        suite: Suite,
        on_progress: OnMutationProgress,
        workshop: MutantWorkshop,
        records: Records,
        session: MutationSession,
    ) -> None:
        self._task, self._suite, self._on_progress = task, suite, on_progress
        self._workshop, self._records, self._session = workshop, records, session
        self._done = 0
        self._guard = threading.Lock()
        self._stopped = threading.Event()

    def go(self) -> None:
        """Try all. When interrupted, the guest is ended and what was decided is kept. Raises ``Interrupted``."""
        try:
            self._go()
        except (KeyboardInterrupt, Interrupted) as asked:
            what = doing(asked) if isinstance(asked, KeyboardInterrupt) else ""
            kept = f"{self._done} of {len(self._task.mutants)} mutants are decided, and kept in {self._records.folder}"
            raise Interrupted(f"interrupted{what}; {kept}; the same command goes on with the others") from asked

    def _go(self) -> None:
        pending: Future[None] | None = None
        with ThreadPoolExecutor(1, "suite") as pool:
            try:
                for mutant in self._task.mutants:
                    image = self._prepare(mutant)
                    # One image waits at most: the guest's turn is the longer one, and images take space.
                    if pending is not None:
                        pending.result()
                        pending = None
                    if image is not None:
                        pending = pool.submit(self._try, mutant, image)
                if pending is not None:
                    pending.result()
            except BaseException:
                if pending is not None:
                    pending.cancel()
                self._stopped.set()
                self._suite.stop()
                raise

    def _prepare(self, mutant: Mutant) -> MutantImage | None:
        """Build a mutant; None when its fate is known without a guest."""
        variant = mutant.variant(self._session.series, self._task.arch, self._task.configured)
        if isinstance(variant, str):
            self._decide(self._record(mutant, "inapplicable", reason=variant))
            return None
        known = None if self._task.every else self._records.fate(mutant.id, self._workshop.digest(mutant))
        if known is not None:
            self._workshop.objects.setdefault(known.object, mutant.id)
            self._decided("known", mutant, known)
            return None
        kept = self._workshop.kept.has(mutant.id, self._workshop.digest(mutant))
        self._on_progress(
            MutationProgress("unpacking" if kept else "building", mutant.id, self._done, len(self._task.mutants))
        )
        try:
            image = self._workshop.mutant(mutant, variant)
        except BuildError as problem:
            # That a mechanical mutant does not compile is a fate; that a disk is full is no answer.
            fate = not self._task.quick or isinstance(problem, CompilerRefused)
            state: MutantState = "not-built" if fate else "no-answer"
            self._decide(self._record(mutant, state, reason=str(problem)))
            return None
        if isinstance(image, NoMutantKernel):
            record = self._record(mutant, image.state, reason=image.reason)
            self._decide(replace(record, object=image.object))
            return None
        return image

    def _try(self, mutant: Mutant, image: MutantImage) -> None:
        self._on_progress(MutationProgress("running the suite on", mutant.id, self._done, len(self._task.mutants)))
        folder = _fresh(self._records.folder / "cells" / mutant.id)
        begun = time.monotonic()
        with image.dropping(), working(f"running the suite on {mutant.id}"):
            answer = self._answer(image.kernel, folder)
        if answer.lost and self._stopped.is_set():
            return  # we ended the guest ourselves: that is no answer of this mutant's
        finding = compare(self._session.pristine, answer)
        seconds = {"build": image.seconds, "suite": seconds_since(begun)}
        record = self._record(mutant, finding.outcome, finding.by, finding.lost, finding.reason)
        probes = {rule: probe for rule, probe in answer.probes.items() if rule in finding.by}
        self._decide(
            replace(
                record,
                image=image.kernel.sha256,
                seconds=seconds,
                probes=probes,
                whole=answer.whole,
                object=image.object,
            )
        )

    def _answer(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """What the suite says. A kernel that does not come up in two attempts, where the unchanged one does, is
        noticed by whoever starts it; of the catalogue's mutants that is no answer, because each is meant to boot."""
        attempts = 2 if self._task.quick else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._suite(kernel, _fresh(folder))
            except BootFailed as problem:
                if attempt == attempts:
                    failed = {"boot": "does not boot"} if self._task.quick else {}
                    return SuiteResult(failed, (), lost=str(problem), whole=False)
            except InfrastructureError as problem:
                return SuiteResult({}, (), lost=str(problem))
        raise AssertionError("an attempt returns")

    def _record(
        self,
        mutant: Mutant,
        state: MutantState,
        by: Mapping[str, str] | None = None,
        lost: Sequence[str] = (),
        reason: str = "",
    ) -> MutantRecord:
        record = MutantRecord(mutant.id, self._workshop.digest(mutant), state, dict(by or {}), tuple(lost), reason)
        return replace(record, about=mutant.told)

    def _decide(self, record: MutantRecord) -> None:
        self._records.write(record)
        mutant = next(m for m in self._task.mutants if m.id == record.mutant)
        self._decided("done", mutant, record)

    def _decided(self, stage: str, mutant: Mutant, record: MutantRecord) -> None:
        with self._guard:  # the builder and the suite's thread both decide
            self._done += 1
            self._on_progress(MutationProgress(stage, mutant.id, self._done, len(self._task.mutants), record))


def _fresh(folder: Path) -> Path:
    with telling(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return folder
