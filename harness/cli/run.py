"""``sealmatrix run``: boot the matrix, judge it, report it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click
from rich.console import Console

from harness.cli import options as shared
from harness.cli.cell_options import CellOptions, cell_options
from harness.cli.cluster import execute_there, reached
from harness.cli.given import NONE, Words, meant_cells
from harness.cli.going_on import ending, telling_how_to_go_on, telling_how_to_resume
from harness.cli.progress import progress
from harness.cli.remarks import tell_remarks
from harness.config.duration import seconds_of
from harness.guests.accel import AccelWanted
from harness.kernels.providers.request import Progress
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import CellSpec, Matrix
from harness.model.json_text import parse_json
from harness.runs.commands import resume_command
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed, Options, compose_host, compose_matrix, compose_ssh
from harness.runs.planning.payload_tasks import probes_meant
from harness.runs.planning.resume import left_over, recorded_options, resumed, specs_left
from harness.runs.run_store import find_run
from harness.suites.gather import SuiteWords, meant_suites

if TYPE_CHECKING:
    from harness.cluster.connection import Cluster
    from harness.runs.kernel_calls import ComparedCalls


class _WithArguments(click.Command):
    """What follows ``--`` are the arguments of suites, where there are any; else it is as click has it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, dashes, after = _split_at(args, "--")
        if dashes and any(word == "--suite" or word.startswith("--suite=") for word in before):
            ctx.meta[_ARGUMENTS] = tuple(after)
            args = before
        return super().parse_args(ctx, args)


_ARGUMENTS = "sealmatrix suite arguments"


def _split_at(words: list[str], mark: str) -> tuple[list[str], bool, list[str]]:
    if mark not in words:
        return words, False, []
    place = words.index(mark)
    return words[:place], True, words[place + 1 :]


@click.command(cls=_WithArguments)
@click.argument("words", nargs=-1, metavar="[KERNEL]...")
@cell_options("results", shared.SELECTION_OF_RUN)
@click.option(
    "--build", is_flag=False, flag_value="", metavar="[REV]", help="KERNEL is a source tree: build it, or commit REV."
)
@click.option(
    "--against",
    metavar="KERNEL|none",
    help="Compare with this kernel [default for a kernel of yours: nearest stock one].",
)
@shared.PROBES
@shared.RULES
@shared.SUITES
@click.option(
    "--suite-file",
    "suite_files",
    multiple=True,
    metavar="FILE",
    help="Copy a file beside the programs of the suite.",
)
@click.option(
    "--suite-env",
    "suite_environment",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an environment variable for the programs of the suite.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 99),
    default=1,
    help="Run each cell N times; results that differ are marked flaky, failures among them unstable.",
)
@click.option("--cluster", metavar="ADDRESS", help="Run on the workers of a Dask scheduler (tcp://host:8786).")
@click.option("--resume", metavar="ID", help="Continue an interrupted run: run the cells that have no verdict yet.")
@click.option("--crosscheck", is_flag=True, help="Also run the Python payload and compare the two (see `crosscheck`).")
@click.option("--explore", metavar="TIME", help="Also run generated programs for this time in each cell: 60s.")
@shared.SEED
@click.option(
    "--trace",
    is_flag=True,
    help="Show which functions of mm/ the call behind each failure went through, beside the kernel compared with.",
)
@click.option("--watch", is_flag=True, help="Run KERNEL again after each build of it, and show what changed.")
@shared.EVERY_RULE
def run(
    choice: CellOptions,
    words: tuple[str, ...],
    build: str | None,
    against: str | None,
    probes: tuple[str, ...],
    rules: tuple[str, ...],
    suites: tuple[str, ...],
    suite_files: tuple[str, ...],
    suite_environment: tuple[str, ...],
    repeat: int,
    cluster: str | None,
    resume: str | None,
    crosscheck: bool,
    explore: str | None,
    seed: int,
    trace: bool,
    watch: bool,
    show_all: bool,
) -> int:
    """Boot kernels, run the payload in each, and judge what it observed.

    \b
    sealmatrix run                                  the default matrix
    sealmatrix run ~/linux                          the kernel built in that tree
    sealmatrix run ./bzImage kernel-core.rpm        an image and a package: .deb, .rpm, .pkg.tar.zst, or a URL
    sealmatrix run ~/linux --build v7.3             build that commit first
    sealmatrix run ./bzImage --against debian-6.12  what differs between the two
    sealmatrix run ~/linux --trace                  also show the functions of mm/ that failed calls went through
    sealmatrix run ~/linux --watch                  run again after each build, and show what changed
    sealmatrix run -s nightly -j 2                  every release, two cells at once
    sealmatrix run -k 'debian-6.12*' -a arm64       some kernels, one architecture
    sealmatrix run -k debian-newest -r 'munmap/*'   some probes only
    sealmatrix run ~/linux --rule munmap-blocked    the probes of a rule
    sealmatrix run -k debian-7.2 --explore 60s      generated programs too: docs/use/exploration.md
    sealmatrix run -s nightly --suite kselftest-mseal  a foreign suite, in place of the rules
    sealmatrix run debian-6.12 --suite ./mytest -- -v  a program of yours, with its arguments
    sealmatrix run --host                           the kernel of this machine
    sealmatrix run --ssh root@board                 the kernel of that machine
    sealmatrix run --cluster tcp://192.0.2.7:8786   on other machines: see `sealmatrix worker`
    sealmatrix run --resume RUN                     the rest of an interrupted run

    Results go to results/RUN-ID/: junit.xml for a CI server, verdicts.json for programs. Ctrl-C ends the guests and
    keeps what was seen. Exit status: 0 all good, 1 a rule failed, 3 a kernel gave no answer, or crashed while no
    probe ran, 130 interrupted.
    """
    probes = probes_meant(probes, rules)
    options = replace(
        choice.options(probes=probes, crosscheck=("*",) if crosscheck else ()),
        repeat=repeat,
        explore=seconds_of(explore, "--explore") if explore is not None else 0.0,
        seed=seed,
        suites=suites,
        suite_arguments=click.get_current_context().meta.get(_ARGUMENTS, ()),
        suite_files=suite_files,
        suite_environment=suite_environment,
    )
    meant_suites(SuiteWords(suites=suites, environment=suite_environment))
    if not suites and (suite_files or suite_environment):
        raise click.UsageError("--suite-file and --suite-env need a --suite")
    if suites and crosscheck and not probes:
        raise click.UsageError("--crosscheck compares payloads, and a --suite runs in place of them; add -r or --rule")
    aside = Console(stderr=True)
    quiet, host, ssh = choice.quiet or choice.as_json, choice.host, choice.ssh
    named = bool(words or build is not None)
    wanted = Words(
        given=words,
        globs=choice.kernels,
        selection=choice.selection if choice.kernels or not named else None,
        asks=choice.selection,
        arches=choice.arches,
        profiles=choice.profiles,
        build=build,
        offline=choice.offline,
        against=against,
    )
    chosen = named or against is not None
    chosen = chosen or bool(choice.selection or choice.kernels or choice.arches or choice.profiles)
    if resume is not None and (host or ssh or chosen or probes or suites or repeat > 1 or crosscheck or explore):
        raise click.UsageError(
            "--resume continues the run with its original options; it takes no kernels, probes or machines"
        )
    choice.refuse_machine_and_kernels(more=chosen)
    if cluster is not None and (host or ssh or choice.jobs):
        raise click.UsageError(
            "--cluster cannot be combined with --host, --ssh or --jobs: cells run on its workers, as many as they take"
        )
    if trace and (host or ssh or cluster is not None):
        raise click.UsageError("--trace looks into a guest of this machine: no --host, --ssh, --cluster")
    if watch and (host or ssh or resume is not None or cluster is not None or choice.as_json):
        raise click.UsageError(
            "--watch runs a kernel of yours again and again: no --host, --ssh, --resume, --cluster, --json"
        )

    def going_on(folder: Path) -> str:
        how = [*(("--cluster", cluster) if cluster else ()), *(("-j", str(choice.jobs)) if choice.jobs else ())]
        how += ["--offline"] if choice.offline else []
        return resume_command("run", folder, words=how, results=choice.results, matrix=choice.path)

    def composed(say: Progress) -> Composed:
        if resume is not None:
            return _compose_rest(find_run(choice.results, resume), options, choice.path, say)
        meant = meant_cells(load_matrix(choice.path or default_path()), wanted, say)
        chosen_options = replace(
            options,
            probes=probes or (() if suites else meant.probes),
            crosscheck=options.crosscheck or (() if suites else meant.crosscheck),
            explore=meant.explore if explore is None and not probes and not suites else options.explore,
        )
        return compose_matrix(chosen_options, meant.matrix, meant.specs, say, against=meant.against)

    def once() -> tuple[RunDone, int]:
        with reached(cluster) as there:
            if host:
                ready = compose_host(options)
            elif ssh:
                ready = _compose_ssh(options, ssh)
            else:
                with preparing(aside, quiet=quiet) as say:
                    ready = composed(say)
            # What only the end needs takes as long to import as a warm guest to answer: that is done meanwhile.
            with ThreadPoolExecutor(1, "ending") as pool:
                last = pool.submit(import_module, "harness.cli.ending")
                done = _go(ready, there, aside, resume=going_on(ready.plan.folder), quiet=quiet)
        look = partial(_traced, done, ready, choice.accel, choice.scale, aside, quiet=quiet) if trace else None
        with ending(done, going_on(done.folder)):
            return done, last.result().end(done, aside, as_json=choice.as_json, show_all=show_all, trace=look)

    if watch:
        return _watch(once, meant_cells(load_matrix(choice.path or default_path()), wanted, lambda *_: None).specs)
    return once()[1]


def _traced(
    done: RunDone, ready: Composed, accel: AccelWanted, scale: float, aside: Console, *, quiet: bool
) -> tuple[ComparedCalls, ...]:
    from harness.cli.trace import traced  # noqa: PLC0415  only for those who ask

    with preparing(aside, quiet=quiet) as say:
        return traced(done, ready, accel, scale, lambda text: say("", "", text))


def _watch(once: Callable[[], tuple[RunDone, int]], specs: Sequence[CellSpec]) -> int:
    """Run, and again after each new build. It ends with Ctrl-C."""
    from harness.cli.watch import announce, show_change, state_of, wait_for_change, watched_files  # noqa: PLC0415
    from harness.reports.style import screen  # noqa: PLC0415  what only the end needs

    files = watched_files(specs)
    before: RunDone | None = None
    while True:
        state = state_of(files)
        done, code = once()
        if done.record.state == "interrupted":
            return code
        if before is not None:
            show_change(screen(), before, done)
        before = done
        announce(files)
        wait_for_change(files, state)


def _compose_rest(folder: Path, options: Options, path: Path | None, say: Progress) -> Composed:
    """The cells of an earlier run that have no verdict yet."""
    record = left_over(folder)
    options = recorded_options(record, options)
    if not record.matrix:
        return resumed(compose_host(options), folder, record)
    if "ssh" in record.matrix:
        return resumed(_compose_ssh(options, record.matrix["ssh"]), folder, record)
    matrix = load_matrix(path or Path(record.matrix["path"]))
    matrix = _with_given(matrix, record.matrix.get("given", "{}"), options, say)
    return resumed(compose_matrix(options, matrix, specs_left(record, matrix), say), folder, record)


def _with_given(matrix: Matrix, given: str, options: Options, say: Progress) -> Matrix:
    """The matrix with the kernels that the command line of an earlier run had named, under the same names."""
    for name, words in parse_json(given).items():
        build = (words[words.index("--build") + 1 :] or [""])[0] if "--build" in words else None
        named = tuple(words[:1] if build is not None else words)
        wanted = Words(given=named, build=build, offline=options.offline, against=NONE)
        meant = meant_cells(matrix, wanted, say)
        found = meant.specs[0].kernel
        kernels = {
            **{n: k for n, k in meant.matrix.kernels.items() if n != found.name},
            name: replace(found, name=name),
        }
        matrix = replace(matrix, kernels=MappingProxyType(kernels))
    return matrix


def _compose_ssh(options: Options, place: str) -> Composed:
    from harness.guests.ssh_connect import target_of  # noqa: PLC0415  paramiko is for those who need it

    return compose_ssh(options, target_of(place))


def _go(composed: Composed, there: Cluster | None, aside: Console, *, resume: str, quiet: bool) -> RunDone:
    tell_remarks(aside, composed.remarks)
    folder, cells = composed.plan.folder, [cell.id for cell in composed.plan.cells]
    going_on, resuming = telling_how_to_go_on(folder), telling_how_to_resume(folder, resume)
    with going_on, resuming, progress(aside, quiet, cells) as on_progress:
        if there is not None:
            return execute_there(there, composed, on_progress)
        return execute(composed.plan, composed.make_guest, on_progress)


@contextmanager
def preparing(console: Console, *, quiet: bool) -> Iterator[Progress]:
    """Show what is being fetched: a spinner with the newest line on a terminal, changed lines where there is none."""
    if quiet:
        yield lambda name, arch, text: None
    elif console.is_terminal:
        with console.status("reading the matrix") as status:
            yield lambda name, arch, text: status.update(_line(name, arch, text))
    else:
        lock = threading.Lock()

        def say(name: str, arch: str, text: str) -> None:
            with lock:
                console.print(_line(name, arch, text), highlight=False, markup=False, soft_wrap=True)

        yield say


def _line(name: str, arch: str, text: str) -> str:
    about = f"{name} {arch}".strip()
    return f"{about}: {text}" if about else text
