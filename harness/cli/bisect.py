"""``sealmatrix bisect``: from "this rule broke" to the first bad build or commit."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.bisect.bisection import run
from harness.bisect.cost import PROFILE as COUNTED
from harness.bisect.cost import cost_row
from harness.bisect.driver import BisectProgress, OnBisectProgress
from harness.bisect.prepare import Prepared, list_builds, prepare
from harness.bisect.session import SESSIONS, BisectOptions, Session, begin, find, read, resume
from harness.bisect.trial_log import Trial
from harness.cli import options as shared
from harness.cli.announce import hush
from harness.cli.remarks import tell_remarks
from harness.cost.model import DEFAULT_BY
from harness.errors import Interrupted, UsageError
from harness.guests.accel import AccelWanted
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import STANDARD
from harness.model.architectures import ARCHES, FLAVOURS, Arch
from harness.processes.children import doing
from harness.reports.style import print_table, screen
from harness.runs.commands import resume_command
from harness.secret_urls import masked_words

_COLOURS = {"good": "green", "bad": "bold red", "untestable": "yellow"}


@click.command()
@click.option("--rule", metavar="ID", help="Id of the rule (see `sealmatrix rules list`).")
@click.option("--suite", metavar="SUITE", help="Ask a test of a foreign suite instead of a rule; needs --test.")
@click.option("--test", metavar="ID", help="The test of the suite: SUITE/NAME, or NAME.")
@click.option("--program", "asked_program", metavar="FILE", help="Ask a program of `explore` instead of a rule.")
@click.option("--cost", "asked_cost", metavar="ROW", help="Ask what `sealmatrix cost` counts, such as munmap/1.")
@click.option("--by", metavar="PERCENT", help="With --cost: what counts as bad, such as 1% [default: 2%].")
@click.option(
    "--good",
    multiple=True,
    metavar="K",
    help="A good kernel: version, name in the matrix, `oldest`, with --tree a revision; or an image, a built tree, a "
    "package or a URL. Repeatable for the packages of one kernel.",
)
@click.option("--bad", multiple=True, metavar="K", help="A bad kernel: the same, or `newest`.")
@click.option("--fixed", is_flag=True, help="Find the first good kernel; the bad one is older.")
@click.option(
    "--tree", type=click.Path(path_type=Path, file_okay=False), help="A git tree of the kernel; it is not modified."
)
@click.option(
    "-a",
    "--arch",
    type=click.Choice(ARCHES),
    help="Architecture [default: that of a kernel given as a file, or x86_64].",
)
@click.option("--probe", metavar="GLOB", help="Only the probes of the rule that match.")
@click.option(
    "--observation", metavar="FIELD=VALUE", help="What counts as bad, for rules that promise nothing: errno=EPERM."
)
@click.option(
    "-k", "--kernels", multiple=True, metavar="GLOB", help="Search these kernels of the matrix, in this order."
)
@click.option(
    "--flavour",
    type=click.Choice(list(FLAVOURS)),
    default="cloud",
    show_default=True,
    help="Which builds of the distribution to search.",
)
@click.option(
    "-p", "--profile", default="standard", show_default=True, metavar="NAME", help="Machine profile to boot on."
)
@click.option("--repeat", type=click.IntRange(1, 99), default=1, help="Boot each kernel N times.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1), help="Guests at a time; more guests may need more boots in total."
)
@click.option(
    "--check/--no-check",
    default=True,
    help="Boot the last good and first bad kernel again at the end [default: check].",
)
@click.option("--fresh", is_flag=True, help="Boot every kernel; reuse no answer of an earlier run.")
@shared.OFFLINE
@shared.ACCEL
@shared.SCALE
@shared.MATRIX
@shared.results()
@click.option("--resume", "resumed", metavar="ID", help="Continue an interrupted bisection; `last` is the newest.")
@click.option("--show", "shown", metavar="ID", help="Show the result of a bisection; `last` is the newest.")
@click.option("--list", "listing", is_flag=True, help="List the builds that can be searched, and exit.")
@shared.QUIET
@shared.JSON
def bisect(
    rule: str | None,
    suite: str | None,
    test: str | None,
    asked_program: str | None,
    asked_cost: str | None,
    by: str | None,
    good: tuple[str, ...],
    bad: tuple[str, ...],
    fixed: bool,
    tree: Path | None,
    arch: Arch | None,
    probe: str | None,
    observation: str | None,
    kernels: tuple[str, ...],
    flavour: str,
    profile: str,
    repeat: int,
    jobs: int | None,
    check: bool,
    fresh: bool,
    offline: bool,
    accel: AccelWanted,
    scale: float,
    path: Path | None,
    results: Path,
    resumed: str | None,
    shown: str | None,
    listing: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Find the first build or commit that broke a rule.

    \b
    sealmatrix bisect --rule force-proc-mem --good 7.0.4 --bad 7.1.3
    sealmatrix bisect --rule madvise-discard-zero --good 6.12 --bad 7.3 \\
        --probe madvise-dontneed/zero-private-r/exact --observation errno=EPERM
    sealmatrix bisect --rule RULE --fixed --bad OLD --good NEW             the first good one
    sealmatrix bisect --tree ~/linux --rule RULE --good v6.12 --bad HEAD   over commits
    sealmatrix bisect --tree ~/linux --rule force-proc-mem \\
        --good 7.0.4 --bad 7.1.3
    sealmatrix bisect --rule RULE --good 6.12 --bad ~/linux/arch/x86/boot/bzImage
    sealmatrix bisect --suite ./mytest --test NAME --good 6.12 --bad 7.3
    sealmatrix bisect --program FILE --good 6.16.12 --bad 6.17.8           where the result of a program changes
    sealmatrix bisect --cost munmap/1 --by 1% --good 6.12.43 --bad 6.16.3   where a call became slower
    sealmatrix bisect --resume last

    Without --tree, all builds in the distribution's suites are searched. With --tree and two revisions, git bisect
    searches the commits, and kernels are built. With --tree and two versions, builds are searched first, then the
    commits between the last good and the first bad build. A kernel of yours (an image, a built tree, packages, a URL)
    is placed among the builds by its version; if no build lies between the ends, add --tree. Kernels that give no
    answer are skipped. Ctrl-C keeps the answers. Exit status: 0 found, 2 usage, or the ends do not differ, 3 no
    answer, or only a range, 130 interrupted.
    """
    if shown is not None:
        return _show(results, shown, as_json=as_json)
    aside = Console(stderr=True)
    hush(quiet or as_json)
    if resumed is not None:
        if rule or suite or asked_program or asked_cost or good or bad or tree:
            raise click.UsageError("--resume continues the bisection with its original options; it takes no others")
        with resume(results, resumed) as session:
            return _go(prepare(session.task), session, results, aside, quiet=quiet, as_json=as_json)
    if listing and (rule is None or not good or not bad):
        rule, good, bad = rule or "", good or ("oldest",), bad or ("newest",)
    if asked_program is not None:
        if rule or probe or observation:
            raise click.UsageError(
                "--program replaces a rule; it cannot be combined with --rule, --probe or --observation"
            )
        rule = "program"
    if asked_cost is not None:
        if rule or probe or observation:
            raise click.UsageError("--cost replaces a rule; it cannot be combined with --rule, --program or --probe")
        rule, asked_cost = "cost", cost_row(asked_cost)
        profile = COUNTED if profile == STANDARD else profile
    elif by is not None:
        raise click.UsageError("--by says how much a cost may grow; it needs --cost")
    rule = _test_asked(suite, test, rule=rule, others=(probe, observation, asked_cost, asked_program))
    if rule is None or not good or not bad:
        missing = [o for o, v in (("--rule", rule), ("--good", good), ("--bad", bad)) if not v]
        raise click.UsageError(f"{' and '.join(missing)} must be given; or --resume, --show, --list")
    task = BisectOptions(
        over="builds",
        rule=rule,
        arch=arch or "x86_64",
        any_arch=arch is None,
        good=" ".join(good),
        good_words=good,
        bad=" ".join(bad),
        bad_words=bad,
        fixed=fixed,
        probe=probe or "",
        observation=observation or "",
        profile=profile,
        flavour=flavour,
        kernels=kernels,
        matrix=str(path.resolve()) if path else "",
        tree=str(tree.resolve()) if tree else "",
        repeat=repeat,
        jobs=jobs or 0,
        check=check,
        fresh=fresh,
        offline=offline,
        acceleration=accel,
        scale=scale,
        program=str(Path(asked_program).resolve()) if asked_program else "",
        cost=asked_cost or "",
        by=_percent(by) if asked_cost else 0.0,
        suite=_resolved(suite) if suite else "",
    )
    if listing:
        return _list(task, as_json=as_json)
    prepared = prepare(task)
    with begin(results, prepared.task) as session:
        return _go(prepared, session, results, aside, quiet=quiet, as_json=as_json)


def _percent(text: str | None) -> float:
    """``1%``, ``1`` or ``-3.5%``. Raises ``UsageError``."""
    try:
        value = float((text or f"{DEFAULT_BY:g}").strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"--by {text}: write a number of per cent, such as 1%") from None
    if not math.isfinite(value) or value == 0:
        raise UsageError(f"--by {text}: write a number of per cent other than 0, such as 1%")
    return value


def _test_asked(suite: str | None, test: str | None, *, rule: str | None, others: tuple[str | None, ...]) -> str | None:
    """The test of a suite in place of the rule, where one is asked. Raises ``UsageError`` for both, or half of it."""
    if suite is None and test is None:
        return rule
    if rule or any(others) or suite is None or test is None:
        raise click.UsageError(
            "--suite SUITE --test ID replaces a rule: give both, and no --rule, --probe, --cost or --program"
        )
    return test


def _resolved(suite: str) -> str:
    """A suite's word so that it means the same from any folder."""
    file, colon, name = suite.rpartition(":")
    if Path(suite).exists():
        return str(Path(suite).resolve())
    return f"{Path(file).resolve()}{colon}{name}" if colon and Path(file).exists() else suite


def _go(prepared: Prepared, session: Session, results: Path, aside: Console, *, quiet: bool, as_json: bool) -> int:
    tell_remarks(aside, prepared.remarks)
    try:
        with _hearing(aside, quiet=quiet or as_json) as on_progress:
            done = run(prepared, session, results, ("sealmatrix", *masked_words(sys.argv[1:])), on_progress)
    except (KeyboardInterrupt, Interrupted) as asked:
        what = doing(asked) if isinstance(asked, KeyboardInterrupt) else ""
        how = resume_command("bisect", session.folder, results=results, below=SESSIONS)
        raise Interrupted(f"interrupted{what}; to continue: {how}") from None
    return _print(done.answer, session.folder, as_json=as_json)


def _print(answer: Mapping[str, Any], folder: Path, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(answer, indent=1))
    else:
        for line in (*answer["text"], f"log: {folder / 'bisect.log'}; repeat: {folder / 'repeat.sh'}"):
            click.echo(line)
    return int(answer["exit_code"])


def _show(results: Path, name: str, *, as_json: bool) -> int:
    folder = find(results, name)
    answer = read(folder)["answer"]
    if answer is None:
        how = resume_command("bisect", folder, results=results, below=SESSIONS)
        raise UsageError(f"{folder.name} has no answer yet; to continue: {how}")
    return _print(answer, folder, as_json=as_json)


def _list(task: BisectOptions, *, as_json: bool) -> int:
    choices = list_builds(task, load_matrix(Path(task.matrix) if task.matrix else default_path()))
    if as_json:
        rows = [{"name": c.name, "version": c.version, "release": c.release, "suite": c.suite} for c in choices.builds]
        click.echo(json.dumps(rows, indent=1))
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", "version", "release", "suite"):
        table.add_column(heading, no_wrap=True)
    for choice in choices.builds:
        table.add_row(choice.name, choice.version, choice.release, choice.suite)
    console = screen()
    print_table(console, table)
    console.print(f"{len(choices.builds)} builds", highlight=False)
    for remark in choices.remarks:
        click.echo(f"note: {remark}", err=True)
    return 0


@contextmanager
def _hearing(console: Console, *, quiet: bool) -> Iterator[OnBisectProgress]:
    """Answers as lines; what is going on as a status where there is a terminal."""
    if quiet:
        yield lambda heard: None
        return
    with console.status("starting") as status:

        def on_progress(heard: BisectProgress) -> None:
            if heard.trial is not None:
                console.print(_told(heard.trial, heard), highlight=False, soft_wrap=True)
            elif console.is_terminal:
                status.update(f"{escape(heard.doing)}{_rest(heard)}")

        yield on_progress


def _told(trial: Trial, heard: BisectProgress) -> str:
    point = trial.point[:12] if len(trial.point) == 40 else trial.point
    if heard.answer is None:
        return f"{escape(point)}: {escape(trial.reason)}"
    how = {"stored": " (stored)", "boot": f" ({trial.seconds:.1f} s)" if trial.seconds else ""}.get(trial.origin, "")
    word = "no answer" if trial.trouble == "no-answer" else heard.answer
    again = "again " if trial.purpose == "check" else ""
    return f"{escape(point)}: {again}[{_COLOURS[heard.answer]}]{word}[/] {escape(heard.told)}{how}{_rest(heard)}"


def _rest(heard: BisectProgress) -> str:
    if not heard.left:
        return ""
    steps = "1 step" if heard.left == 1 else f"{heard.left} steps"
    if heard.seconds is None:
        return f"; {steps} left"
    return f"; {steps} left, about {int(heard.seconds) // 60}:{int(heard.seconds) % 60:02}"
