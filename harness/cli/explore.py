"""``sealmatrix explore``: programs nobody wrote, judged by a model of sealing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console

from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.explored_before import Reached, reached_before
from harness.cli.given import NONE, Meant, Words, meant_cells
from harness.cli.run import preparing
from harness.config.duration import seconds_of
from harness.errors import InfrastructureError, Interrupted, UsageError
from harness.explore.against import Against, Compared
from harness.explore.corpus import load_corpus, read_kept
from harness.explore.covered import ReachedCode
from harness.explore.exploration import Exploration
from harness.explore.keep import keep_findings
from harness.explore.program import Program
from harness.explore.session import Explorer, OnMessage
from harness.explore.source import ProgramSource
from harness.guests.accel import AccelWanted
from harness.guests.model import Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.providers.request import Progress
from harness.kernels.resolve import Resolution, provide
from harness.kernels.store import telling
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import CellSpec
from harness.model.atomic_files import write_atomically
from harness.model.verdict import INTERRUPTED
from harness.payload.build import build
from harness.processes.children import doing
from harness.reports.explore import Explored, explored_json, explored_junit
from harness.reports.explore_text import KEPT, print_explored
from harness.reports.style import Page, screen
from harness.runs.commands import replay_finding_command, resume_command
from harness.runs.run_store import new_run_id

RESULTS = "results/explore"


@click.command()
@click.argument("kernels", nargs=-1, metavar="[KERNEL]...")
@click.option("--time", "duration", default="60s", show_default=True, metavar="TIME", help="Time for each kernel.")
@click.option("--seed", type=click.IntRange(0), help="Seed of the generator [default: random, and printed].")
@shared.KERNELS_OF_SELECTION
@shared.ARCHITECTURES
@click.option("--replay", "replayed", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Run only these programs; repeatable.")  # fmt: skip
@click.option("--resume", "resumed", metavar="ID", help="Continue an earlier exploration of these kernels.")
@click.option(
    "--against",
    multiple=True,
    metavar="K",
    help="Run the same programs on this kernel, too. Making the programs of differences small comes after --time.",
)
@click.option("--coverage", "covered", is_flag=True,
              help="Also keep programs that reach new code; for kernels with KCOV.")  # fmt: skip
@shared.TWO_CPUS
@shared.ACCEL
@shared.SCALE
@shared.FRESH
@shared.OFFLINE
@shared.MATRIX
@shared.results(RESULTS)
@shared.QUIET
@shared.JSON
def explore(
    kernels: tuple[str, ...],
    duration: str,
    seed: int | None,
    selection: str | None,
    arches: tuple[str, ...],
    replayed: tuple[Path, ...],
    resumed: str | None,
    against: tuple[str, ...],
    covered: bool,
    profile: str,
    accel: AccelWanted,
    scale: float,
    fresh: bool,
    offline: bool,
    path: Path | None,
    results: Path,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run generated programs with and without their seals, and check every step against a model of sealing.

    \b
    sealmatrix explore debian-6.12 --time 60s          one kernel, a minute
    sealmatrix explore                                 the default matrix, a minute for each kernel
    sealmatrix explore -s nightly --seed 20261128      every kernel, all from one seed
    sealmatrix explore debian-7.2 --resume ID          continue an earlier exploration
    sealmatrix explore debian-7.2 --replay FILE        the programs of a file, and no others
    sealmatrix explore debian-6.18.5 --against debian-7.2 -a x86_64   how the two differ
    sealmatrix explore own-7.3-kcov --coverage         guided by the code that programs reach

    docs/use/exploration.md says what the model knows and how to read a finding. Exit status: 0 no finding, 1 a finding,
    3 a kernel gave no answer, 130 interrupted.
    """
    seconds = 0.0 if replayed else seconds_of(duration)
    programs = [read_kept(file).program for file in replayed] if replayed else [k.program for k in load_corpus()]
    came = reached_before(results, resumed) if resumed else {}
    if resumed and (replayed or against or seed is not None):
        raise click.UsageError(
            "--resume continues with its original seed; it cannot be combined with --seed, --replay or --against"
        )
    if covered and against:
        raise click.UsageError("--coverage guides one kernel; it cannot be combined with --against")
    if came:
        seed = next(iter(came.values())).seed
    seed = secrets.randbelow(10**8) if seed is None else seed
    quiet = quiet or as_json
    aside = Console(stderr=True)
    hush(quiet)
    matrix = load_matrix(path or default_path())
    meaning = Words(
        given=kernels, selection=selection, arches=arches, profiles=(profile,), offline=offline, against=NONE
    )
    with preparing(aside, quiet=quiet) as say:
        meant = meant_cells(matrix, meaning, say)
        others = _others(meant, replace(meaning, given=against, selection=None), say) if against else None
        specs = (*meant.specs, *(others.specs if others else ()))
        resolution = provide((others or meant).matrix, specs, offline=offline, progress=say)
    folder = results / f"{new_run_id()}-{seed}"
    wishes = Wishes(acceleration=accel, scale=scale, fresh=fresh)
    run = _ExploreRun(
        folder=folder,
        wishes=wishes,
        resolution=resolution,
        programs=programs,
        seconds=seconds,
        seed=seed,
        came=came,
        covered=covered,
        aside=aside,
        quiet=quiet,
    )
    words = _same_kernels(kernels, selection, arches, profile)
    words += [*(["--offline"] if offline else []), *(["--coverage"] if covered else []), "--time", duration]
    again = resume_command("explore", folder, words=words, results=results, usual=Path(RESULTS), matrix=path)
    explored: list[Explored] = []
    resumable, page = not (replayed or against), Page(screen(highlight=False))
    others_again = f"; to run the same programs again, add --seed {seed}" if against else ""
    with _telling_how_to_go_on(folder, f"; to continue: {again}" if resumable else others_again):
        for spec in meant.specs:
            for one in run.compared(spec, others.specs) if others else [run.alone(spec)]:
                explored.append(one)
                _keep(folder, explored, resumed or "")  # before a line is printed: whatever ends us then, this is there
                if not as_json:
                    print_explored(page, one, folder)
            if _was_interrupted(explored):
                break
        if as_json:
            click.echo(json.dumps([explored_json(one) for one in explored], indent=1))
        if _was_interrupted(explored):
            raise KeyboardInterrupt
    if not as_json:
        page.whole(f"written to {folder}: {KEPT}, junit.xml")
        if found := next(((spec, one) for spec in specs for one in explored if one.cell == spec.id and one.news), None):
            page.whole(f"to repeat the finding: {_replay(*found, folder, path)}")
        elif resumable and any(one.asked for one in explored):
            page.whole(f"to continue: {again}")
    codes = {one.exit_code for one in explored}
    return 1 if 1 in codes else 3 if 3 in codes or not any(one.asked for one in explored) else 0


def _others(meant: Meant, words: Words, say: Progress) -> Meant:
    """The kernels to compare with. Raises ``UsageError`` where there is nothing to compare."""
    others = meant_cells(meant.matrix, words, say)
    if not any(_pairs(spec, others.specs) for spec in meant.specs):
        raise UsageError(f"--against {words.given[0]}: no other kernel of the same architecture to compare with")
    return others


def _pairs(spec: CellSpec, others: Sequence[CellSpec]) -> list[CellSpec]:
    """What a kernel can be compared with."""
    return [other for other in others if other.arch == spec.arch and other.id != spec.id]


def _was_interrupted(explored: Sequence[Explored]) -> bool:
    return any(one.outcome.lost == INTERRUPTED for one in explored)


def _replay(spec: CellSpec, one: Explored, folder: Path, matrix: Path | None) -> str:
    """The command that repeats the first finding that is no known bug."""
    number = 1 + one.outcome.findings.index(one.news[0])
    kernel = (spec.kernel.name,) if spec.kernel.listed else spec.kernel.source.words
    words = _same_kernels(kernel, None, (spec.arch,), spec.profile.name)
    words += ["-f", str(matrix)] if matrix else []
    return replay_finding_command(words, folder / spec.id / f"finding-{number}.txt")


def _same_kernels(kernels: tuple[str, ...], selection: str | None, arches: tuple[str, ...], profile: str) -> list[str]:
    """The words of a command line that mean the same kernels on the same machine."""
    words = [*kernels, *(("-s", selection) if selection else ()), *(text for arch in arches for text in ("-a", arch))]
    return [*words, *(("-p", profile) if profile != shared.TWO_CPUS_NAME else ())]


@contextmanager
def _telling_how_to_go_on(folder: Path, how: str) -> Iterator[None]:
    """Say with an interrupt what is kept, and how it goes on."""
    try:
        yield
    except KeyboardInterrupt as asked:
        if not (folder / KEPT).is_file():
            raise
        raise Interrupted(f"interrupted{doing(asked)}; what was seen is kept in {folder}{how}") from asked


@dataclass(frozen=True, kw_only=True)
class _ExploreRun:
    """What all kernels of one call have in common."""

    folder: Path
    wishes: Wishes
    resolution: Resolution
    programs: list[Program]
    seconds: float
    seed: int
    came: Mapping[str, Reached]
    covered: bool
    aside: Console
    quiet: bool

    def alone(self, spec: CellSpec) -> Explored:
        """One kernel, judged by the model."""
        came = self.came.get(spec.id, Reached(cell=spec.id, seed=self.seed))
        source = ProgramSource(self.seed, batches=came.batches, exhausted=came.exhaustive)
        if source.at != came.exhaustive_at:
            raise UsageError(
                f"--resume: {spec.id}: another version of sealmatrix made that exploration, and its list of exhaustive "
                "programs was another one; explore anew, without --resume"
            )
        # Where this run comes no further, the next one goes on from there all the same.
        outcome = Exploration(
            self.seed,
            arch=spec.arch,
            batches=came.batches,
            exhausted=came.exhaustive,
            exhausted_before=came.exhaustive,
            exhausted_at=came.exhaustive_at,
        )
        explorer = self._explorer(spec, outcome)
        if explorer is not None:
            with _ending((explorer, outcome)):
                explorer.explore(source, self.seconds, outcome, () if came.batches else self.programs)
        return Explored(spec.kernel.name, spec.arch, outcome, cell=spec.id)

    def compared(self, spec: CellSpec, others: Sequence[CellSpec]) -> Iterator[Explored]:
        """One kernel beside each of the others of its architecture."""
        for other in _pairs(spec, others):
            both = Compared(Exploration(self.seed, arch=spec.arch), Exploration(self.seed, arch=spec.arch))
            here, there = self._explorer(spec, both.here), self._explorer(other, both.there)
            if here is not None and there is not None:
                with _ending((here, both.here), (there, both.there)):
                    comparison = Against(here, there, self._telling(spec))
                    comparison.explore(ProgramSource(self.seed), self.seconds, both, self.programs)
            classes = tuple(both.classes.values())
            yield Explored(spec.kernel.name, spec.arch, both.here, other.kernel.name, classes, cell=spec.id)
            yield Explored(other.kernel.name, other.arch, both.there, cell=other.id)

    def _explorer(self, spec: CellSpec, outcome: Exploration) -> Explorer | None:
        kernel = self.resolution.kernels[spec.kernel.name, spec.arch]
        if not isinstance(kernel, Kernel):
            outcome.lost = str(kernel)
            return None

        def boot() -> Guest:
            guest = QemuGuest(kernel, replace(spec.profile, hugepages=0), self.folder / spec.id, self.wishes)
            outcome.release, outcome.upstream = guest.boot().release, kernel.version
            return guest

        covered = ReachedCode() if self.covered else None
        return Explorer(boot, build(spec.arch).path.read_bytes(), self._telling(spec), covered=covered)

    def _telling(self, spec: CellSpec) -> OnMessage:
        def on_progress(text: str) -> None:
            if not self.quiet:
                self.aside.print(f"{spec.id}: {text}", highlight=False, markup=False, soft_wrap=True)

        return on_progress


@contextmanager
def _ending(*kernels: tuple[Explorer, Exploration]) -> Iterator[None]:
    """End the guests; what broke them off is told of each kernel."""
    try:
        yield
    except (InfrastructureError, KeyboardInterrupt) as problem:
        for _, outcome in kernels:
            outcome.lost = outcome.lost or (str(problem) if isinstance(problem, InfrastructureError) else INTERRUPTED)
    finally:
        for explorer, _ in kernels:
            explorer.stop()


def _keep(folder: Path, explored: list[Explored], resumed: str = "") -> None:
    """Write down what is known of all kernels so far, and the findings of the last one.

    ``resumed`` is the run that this one goes on from."""
    told = [{**explored_json(one), "resumed": resumed} for one in explored]
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / KEPT, json.dumps(told, indent=1).encode())
        write_atomically(folder / "junit.xml", explored_junit(explored).encode())
        for one in explored[-1:]:
            keep_findings(folder / (one.cell or one.kernel), one.outcome)
