"""Building mutants one after another, and having the suite look at each while the next one is built."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from harness.errors import BootFailed, BuildError, InfrastructureError
from harness.kernels.model import Kernel
from harness.kernels.store import file_sha256, telling
from harness.kernels.tree import BuiltTree, build_tree, check_tree, own_fragments
from harness.model.architectures import Arch
from harness.mutants.copy import TreeCopy, open_copy
from harness.mutants.kept import KeptImages
from harness.mutants.mechanical.replay import CompilerRefused, NoReplay, Replay, prepare, refused
from harness.mutants.model import Edit, KernelSeries, Mutant
from harness.mutants.records import MutantRecord, MutantState, MutationSession, Records
from harness.mutants.suite import Suite, SuiteResult, compare, steady


@dataclass(frozen=True)
class MutationOptions:
    """What to do. ``where`` names the source for reports; ``work`` keeps the copy and the build, ``results`` the
    records; ``every`` also repeats what has been decided; ``jobs`` is make's; ``fragments`` come after our own.
    ``quick``: each mutant changes one file, which is compiled by itself and linked (``replay``), and its kernel is not
    kept."""

    tree: Path
    where: str
    arch: Arch
    mutants: tuple[Mutant, ...]
    work: Path
    results: Path
    _: KW_ONLY
    jobs: int | None = None
    every: bool = False
    fragments: tuple[Path, ...] = ()
    quick: bool = False

    @property
    def flavour(self) -> str:
        """What the builds of these options share: "x86_64", "x86_64-debug"."""
        return "-".join((self.arch, *self.configured))

    @property
    def configured(self) -> tuple[str, ...]:
        """The fragments by name."""
        return tuple(fragment.stem for fragment in self.fragments)


@dataclass(frozen=True)
class MutationProgress:
    """A progress event. ``record`` is there when a mutant is decided; ``done`` of ``total`` are."""

    stage: str
    subject: str
    done: int
    total: int
    record: MutantRecord | None = None


OnMutationProgress = Callable[[MutationProgress], None]


class UnfitSuite(InfrastructureError):
    """A suite that fails something on the unchanged kernel proves nothing by failing on another."""


def run_mutants(task: MutationOptions, suite: Suite, on_progress: OnMutationProgress) -> Records:
    """Try every mutant of ``task`` and return the records.

    Raises ``UnfitSuite``, ``UsageError`` for a tree that is none, ``StoreError``, ``ToolMissing`` and the errors of
    the unchanged kernel's build; what goes wrong with one mutant is its record.
    """
    with _opened(task, on_progress) as (workshop, pristine), pristine.dropping():
        suite.beside(pristine.kernel)
        records, session = _open_session(task, workshop.series, suite, pristine, on_progress)
        _Trials(task, suite, on_progress, workshop, records, session).go()
    return records


def build_mutants(task: MutationOptions, on_progress: OnMutationProgress) -> dict[str, str]:
    """Build every mutant of ``task`` that is not kept yet and keep it; returns why for each that could not be.

    Raises what ``run_mutants`` raises, but for the suite.
    """
    problems: dict[str, str] = {}
    with _opened(task, on_progress) as (workshop, pristine):
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
            if isinstance(image, _Image):
                image.discard()
    return problems


@contextmanager
def _opened(task: MutationOptions, on_progress: OnMutationProgress) -> Iterator[tuple[_Workshop, _Image]]:
    """The tree's copy and the unchanged kernel built from it."""
    with ExitStack() as stack:
        series = check_tree(task.tree)
        touched = {name for mutant in task.mutants for name in mutant.files}
        on_progress(MutationProgress("linking the tree", task.where, 0, len(task.mutants)))
        copy = stack.enter_context(open_copy(task.tree, task.work / "tree", touched))
        on_progress(MutationProgress("building", "the unchanged kernel", 0, len(task.mutants)))
        pristine = _build(task, series, copy, "pristine", commands=task.quick)
        kept = KeptImages(task.work / f"kept-{task.flavour}", pristine.kernel.sha256)
        replay = _replay(task, pristine.built, on_progress) if task.quick and pristine.built else None
        yield _Workshop(task, series, copy, pristine.kernel, kept, replay), pristine


def _replay(task: MutationOptions, built: BuiltTree, on_progress: OnMutationProgress) -> Replay | None:
    """How to build quickly; None, and why is told, where only make can."""
    try:
        return prepare(built, _out(task), _scratch(task, "replayed"))
    except NoReplay as why:
        on_progress(MutationProgress(f"make builds every mutant, because {why}:", task.where, 0, len(task.mutants)))
        return None


def _open_session(
    task: MutationOptions, series: KernelSeries, suite: Suite, pristine: _Image, on_progress: OnMutationProgress
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


@dataclass(frozen=True)
class _Image:
    """A kernel and its own copy of the image, which the next build would overwrite."""

    kernel: Kernel
    seconds: float
    object: str = ""
    built: BuiltTree | None = None

    def discard(self) -> None:
        self.kernel.image.unlink(missing_ok=True)

    @contextmanager
    def dropping(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.discard()


def _out(task: MutationOptions) -> Path:
    return task.work / f"build-{task.flavour}"


def _build(task: MutationOptions, series: KernelSeries, copy: TreeCopy, name: str, *, commands: bool = False) -> _Image:
    """Build the copy as it stands now."""
    fragments = (*own_fragments(task.arch, series), *task.fragments)
    built = build_tree(
        copy.folder, task.arch, _out(task), fragments, jobs=task.jobs, reconfigure=False, commands=commands
    )
    image = _scratch(task, name)
    with telling(image):
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built.image, image)
    return _Image(built.kernel(name, task.where, image), built.seconds, built=built)


def _scratch(task: MutationOptions, name: str) -> Path:
    return task.work / "images" / name


@dataclass(frozen=True)
class _Workshop:
    """Where mutants are built, or taken from the shelf when they were built before."""

    task: MutationOptions
    series: KernelSeries
    copy: TreeCopy
    pristine: Kernel
    kept: KeptImages
    replay: Replay | None = None
    objects: dict[str, str] = field(default_factory=dict)
    """Of what was compiled, by its sha256: the first mutant that it was compiled for."""

    def digest(self, mutant: Mutant) -> str:
        return mutant.digest(self.series, self.task.arch)

    def mutant(self, mutant: Mutant, variant: Sequence[Edit]) -> _Image | _NoKernel:
        """Raises ``BuildError`` when a pattern does not match or the compiler refuses."""
        if self.task.quick:
            return self._quickly(mutant, variant)
        begun = time.monotonic()
        image = _scratch(self.task, mutant.id)
        known = self.kept.take(mutant.id, self.digest(mutant), image)
        if known is not None:
            return _Image(self._kernel(mutant, image, known), _since(begun))
        with self.copy.mutated(variant):
            built = _build(self.task, self.series, self.copy, mutant.id)
        self.kept.keep(mutant.id, self.digest(mutant), built.kernel.image)
        return self._unless_identical(built)

    def _quickly(self, mutant: Mutant, variant: Sequence[Edit]) -> _Image | _NoKernel:
        """Compile the one file and link; by make where that is not all."""
        begun = time.monotonic()
        image = _scratch(self.task, mutant.id)
        (file,) = {edit.file for edit in variant}
        if self.replay is None or not file.endswith(".c"):
            return self._slowly(mutant, variant)
        if not self.replay.has(file):
            return _NoKernel("inapplicable", f"{file} is not part of a kernel with this configuration")
        self.replay.learn(file)
        with self.copy.mutated(variant), self.replay.compiled(file) as compiled:
            if compiled.same:
                return _NoKernel("identical", "it compiles to the same code: no kernel differs")
            first = self.objects.setdefault(compiled.sha256, mutant.id)
            if first != mutant.id:
                return _NoKernel("duplicate", f"it compiles to the same code as {first}", compiled.sha256)
            self.replay.link_into(image)
        digest = file_sha256(image)
        return _Image(self._kernel(mutant, image, digest), _since(begun), compiled.sha256)

    def _slowly(self, mutant: Mutant, variant: Sequence[Edit]) -> _Image | _NoKernel:
        """By make, which leaves the objects of the mutant; what is compiled next must find the unchanged ones."""
        try:
            with self.copy.mutated(variant):
                built = _build(self.task, self.series, self.copy, mutant.id)
        except BuildError as problem:
            raise (CompilerRefused if refused(str(problem)) else BuildError)(str(problem)) from problem
        finally:
            if self.replay is not None:
                _build(self.task, self.series, self.copy, "again").discard()
        return self._unless_identical(built)

    def _kernel(self, mutant: Mutant, image: Path, digest: str) -> Kernel:
        return replace(self.pristine, name=mutant.id, image=image, sha256=digest, image_sha256=digest)

    def _unless_identical(self, image: _Image) -> _Image | _NoKernel:
        if image.kernel.sha256 != self.pristine.sha256:
            return image
        image.discard()
        return _NoKernel("identical", "the kernel is byte-identical: the compiler sees no difference")


@dataclass(frozen=True)
class _NoKernel:
    """Why a mutant needs no trial."""

    state: MutantState
    reason: str
    object: str = ""


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


class _Trials:
    """One pass over the mutants: the builder's thread is the caller's, the suite has one of its own."""

    def __init__(
        self,
        task: MutationOptions,
        suite: Suite,
        on_progress: OnMutationProgress,
        workshop: _Workshop,
        records: Records,
        session: MutationSession,
    ) -> None:
        self._task, self._suite, self._on_progress = task, suite, on_progress
        self._workshop, self._records, self._session = workshop, records, session
        self._done = 0
        self._guard = threading.Lock()

    def go(self) -> None:
        """Try all. When interrupted, the guest is ended and what was decided is kept."""
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
                self._suite.stop()
                raise

    def _prepare(self, mutant: Mutant) -> _Image | None:
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
        if isinstance(image, _NoKernel):
            record = self._record(mutant, image.state, reason=image.reason)
            self._decide(replace(record, object=image.object))
            return None
        return image

    def _try(self, mutant: Mutant, image: _Image) -> None:
        self._on_progress(MutationProgress("running the suite on", mutant.id, self._done, len(self._task.mutants)))
        folder = _fresh(self._records.folder / "cells" / mutant.id)
        begun = time.monotonic()
        with image.dropping():
            answer = self._answer(image.kernel, folder)
        finding = compare(self._session.pristine, answer)
        seconds = {"build": image.seconds, "suite": _since(begun)}
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


def work_folder(root: Path, where: str) -> Path:
    """Where the copy and the builds of a source live below the cache."""
    words = re.sub(r"[^A-Za-z0-9.+_-]+", "_", where).strip("_")[-80:]
    return root / "mutants" / f"{words}-{sha256(where.encode()).hexdigest()[:8]}"
