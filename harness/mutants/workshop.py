"""A workshop of mutants: the tree's copy, the unchanged kernel, and a kernel for each mutant, built or kept."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from harness.errors import BuildError
from harness.kernels.model import Kernel
from harness.kernels.store import file_sha256, telling
from harness.kernels.tree import BuiltTree, build_tree, check_tree, own_fragments
from harness.model.architectures import Arch
from harness.mutants.copy import TreeCopy, open_copy
from harness.mutants.kept import KeptImages
from harness.mutants.mechanical.replay import CompilerRefused, NoReplay, Replay, prepare, refused
from harness.mutants.model import Edit, KernelSeries, Mutant
from harness.mutants.records import MutantRecord, MutantState


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


@contextmanager
def opened_workshop(
    task: MutationOptions, on_progress: OnMutationProgress
) -> Iterator[tuple[MutantWorkshop, MutantImage]]:
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
        yield MutantWorkshop(task, series, copy, pristine.kernel, kept, replay), pristine


def _replay(task: MutationOptions, built: BuiltTree, on_progress: OnMutationProgress) -> Replay | None:
    """How to build quickly; None, and why is told, where only make can."""
    try:
        return prepare(built, _out(task), _scratch(task, "replayed"))
    except NoReplay as why:
        on_progress(MutationProgress(f"make builds every mutant, because {why}:", task.where, 0, len(task.mutants)))
        return None


@dataclass(frozen=True)
class MutantImage:
    """A kernel and its own copy of the image, which the next build would overwrite."""

    kernel: Kernel
    seconds: float
    object: str = ""
    built: BuiltTree | None = None

    def discard(self) -> None:
        """Remove the copy."""
        self.kernel.image.unlink(missing_ok=True)

    @contextmanager
    def dropping(self) -> Iterator[None]:
        """Remove the copy in the end."""
        try:
            yield
        finally:
            self.discard()


@dataclass(frozen=True)
class NoMutantKernel:
    """Why a mutant needs no trial."""

    state: MutantState
    reason: str
    object: str = ""


@dataclass(frozen=True)
class MutantWorkshop:
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
        """Of what a mutant changes here: its kernel is kept by it."""
        return mutant.digest(self.series, self.task.arch)

    def mutant(self, mutant: Mutant, variant: Sequence[Edit]) -> MutantImage | NoMutantKernel:
        """Raises ``BuildError`` when a pattern does not match or the compiler refuses."""
        if self.task.quick:
            return self._quickly(mutant, variant)
        begun = time.monotonic()
        image = _scratch(self.task, mutant.id)
        known = self.kept.take(mutant.id, self.digest(mutant), image)
        if known is not None:
            return MutantImage(self._kernel(mutant, image, known), seconds_since(begun))
        with self.copy.mutated(variant):
            built = _build(self.task, self.series, self.copy, mutant.id)
        self.kept.keep(mutant.id, self.digest(mutant), built.kernel.image)
        return self._unless_identical(built)

    def _quickly(self, mutant: Mutant, variant: Sequence[Edit]) -> MutantImage | NoMutantKernel:
        """Compile the one file and link; by make where that is not all."""
        begun = time.monotonic()
        image = _scratch(self.task, mutant.id)
        (file,) = {edit.file for edit in variant}
        if self.replay is None or not file.endswith(".c"):
            return self._slowly(mutant, variant)
        if not self.replay.has(file):
            return NoMutantKernel("inapplicable", f"{file} is not part of a kernel with this configuration")
        self.replay.learn(file)
        with self.copy.mutated(variant), self.replay.compiled(file) as compiled:
            if compiled.same:
                return NoMutantKernel("identical", "it compiles to the same code: no kernel differs")
            first = self.objects.setdefault(compiled.sha256, mutant.id)
            if first != mutant.id:
                return NoMutantKernel("duplicate", f"it compiles to the same code as {first}", compiled.sha256)
            self.replay.link_into(image)
        digest = file_sha256(image)
        return MutantImage(self._kernel(mutant, image, digest), seconds_since(begun), compiled.sha256)

    def _slowly(self, mutant: Mutant, variant: Sequence[Edit]) -> MutantImage | NoMutantKernel:
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

    def _unless_identical(self, image: MutantImage) -> MutantImage | NoMutantKernel:
        if image.kernel.sha256 != self.pristine.sha256:
            return image
        image.discard()
        return NoMutantKernel("identical", "the kernel is byte-identical: the compiler sees no difference")


def _build(
    task: MutationOptions, series: KernelSeries, copy: TreeCopy, name: str, *, commands: bool = False
) -> MutantImage:
    """Build the copy as it stands now."""
    fragments = (*own_fragments(task.arch, series), *task.fragments)
    built = build_tree(
        copy.folder, task.arch, _out(task), fragments, jobs=task.jobs, reconfigure=False, commands=commands
    )
    image = _scratch(task, name)
    with telling(image):
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built.image, image)
    return MutantImage(built.kernel(name, task.where, image), built.seconds, built=built)


def _out(task: MutationOptions) -> Path:
    return task.work / f"build-{task.flavour}"


def _scratch(task: MutationOptions, name: str) -> Path:
    return task.work / "images" / name


def seconds_since(begun: float) -> float:
    """Of the monotonic clock, in milliseconds' precision."""
    return round(time.monotonic() - begun, 3)


def work_folder(root: Path, where: str) -> Path:
    """Where the copy and the builds of a source live below the cache."""
    words = re.sub(r"[^A-Za-z0-9.+_-]+", "_", where).strip("_")[-80:]
    return root / "mutants" / f"{words}-{sha256(where.encode()).hexdigest()[:8]}"
