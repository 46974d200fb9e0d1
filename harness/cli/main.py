"""``sealmatrix``: the group of commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import errno
import gc
import io
import re
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType

import click

from harness import __version__
from harness.cli.announce import announce
from harness.cli.lazy import LazyGroup
from harness.cli.stopping import Signals, leave, leave_alone
from harness.cli.streams import Streams, forget_empty_sizes, open_missing
from harness.errors import InfrastructureError, Interrupted, SealmatrixError, UsageError
from harness.processes.children import doing
from harness.secret_urls import masked_text

# What a run keeps is plain data by the hundred thousand, hardly any of it in cycles: looking for those after every 700
# allocations, which is Python's way, is a tenth of the CPU that a run takes.
ALLOCATIONS = 50_000
# The order is that of use; what stands here is what `--help` shows.
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "run": ("harness.cli.run", "run", "Boot kernels, run the payload in each, judge the results."),
    "scenario": ("harness.cli.scenario", "scenario", "Run a Python script on kernels and show what each one answered."),
    "crosscheck": (
        "harness.cli.crosscheck",
        "crosscheck",
        "Run both payloads in the same guests and compare what they saw.",
    ),
    "explore": ("harness.cli.explore", "explore", "Run generated programs, judged by a model of sealing."),
    "cost": ("harness.cli.cost", "cost", "Count the instructions that system calls on memory take."),
    "coverage": ("harness.cli.coverage", "coverage", "Show which lines of the sealing code the probes run."),
    "shell": (
        "harness.cli.byhand",
        "shell",
        "Open a shell in a guest, with the payloads and busybox.",
    ),
    "exec": ("harness.cli.byhand", "exec_", "Run one command in a guest and exit with its status."),
    "show": ("harness.cli.show", "show", "Show a stored run again: the newest, or RUN (id or folder)."),
    "compare": ("harness.cli.compare", "compare", "Show what changed between two runs or kernels, rule by rule."),
    "bisect": ("harness.cli.bisect", "bisect", "Find the first build or commit that broke a rule."),
    "agree": ("harness.cli.agree", "agree", "Compare our rules with the foreign suites of a run."),
    "report": ("harness.cli.report", "report", "Write a stored run in another format."),
    "patch": ("harness.cli.patch", "patch", "Show what a patch series changes: its base without and with it."),
    "qualify": ("harness.cli.qualify", "qualify", "Decide whether a kernel may ship, under a written policy."),
    "verify": ("harness.cli.verify", "verify_command", "Verify the checksums of a qualification folder."),
    "nightly": ("harness.cli.nightly", "nightly", "Run what is new since the last night, and say what changed."),
    "regressions": ("harness.cli.regressions", "group", "List and show what broke from night to night."),
    "results": ("harness.cli.results", "results", "Remove and pack the results of nights."),
    "history": ("harness.cli.history", "history", "Show all runs over time: rules, flaky results, durations."),
    "site": ("harness.cli.site", "site", "Write static web pages of all runs."),
    "rules": ("harness.cli.rules", "rules", "List and show rules: what is promised, and where."),
    "bugs": ("harness.cli.bugs", "bugs", "Real bugs: which kernels have them, and which tests notice them."),
    "kernels": ("harness.cli.kernels", "kernels", "List, fetch and pin the kernels of the matrix."),
    "guests": ("harness.cli.guests", "guests", "List and remove saved guests."),
    "mutants": ("harness.cli.mutants", "mutants", "Mutation testing: check that the tests fail on broken kernels."),
    "worker": ("harness.cli.cluster", "worker", "Run cells for others, as a worker of a Dask scheduler."),
    "doctor": ("harness.cli.doctor", "doctor", "Show what is missing on this machine, and how to install it."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="sealmatrix")
def cli() -> None:
    """Does this kernel keep the promises of memory sealing, mseal(2), and what changed?

    \b
    sealmatrix run                      the default matrix: Debian kernels, x86_64 and arm64
    sealmatrix nightly                  every night: what is new in the archives, and what changed
    sealmatrix run --host               the kernel this machine runs
    sealmatrix scenario FILE.py         a question of your own, in ten lines of Python
    sealmatrix worker ADDRESS           run cells for others, see --cluster of `sealmatrix run`
    sealmatrix shell KERNEL             a shell in a guest; `exec KERNEL -- CMD` runs one command
    sealmatrix show                     the newest run again
    sealmatrix compare A B              what changed between runs, cells or kernels
    sealmatrix bisect ...               the first build, or commit, that broke a rule
    sealmatrix patch SERIES --tree DIR  what does this series change?
    sealmatrix qualify ...              may this candidate ship, under a written policy
    sealmatrix doctor                   what is missing on this machine

    Exit status: 0 all good, 1 a rule failed or something got worse, 2 usage, 3 no answer from a kernel, 130
    interrupted.
    """


_LONG_WORD = re.compile(r"\S{301,}")


def _line(text: str) -> str:
    """An error as it is shown: no secrets, and of a word that fills the screen its two ends."""
    return _LONG_WORD.sub(
        lambda word: f"{word[0][:120]}…({len(word[0])} characters)…{word[0][-60:]}", masked_text(text)
    )


def _defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody expected: told whole, and never with the exit status of a rule that failed."""
    sys.stderr.write(masked_text("".join(traceback.format_exception(kind, error, trace))))
    click.echo("sealmatrix: internal error (a bug in sealmatrix); this says nothing about the kernels tested", err=True)
    sys.exit(InfrastructureError.exit_code)


def main(signals: Signals | None = None) -> None:
    """Run the command line that the process was given, and exit. Without ``signals`` these are the caller's."""
    signals = signals or Signals(leave_alone)
    gc.set_threshold(ALLOCATIONS)
    open_missing()
    forget_empty_sizes()
    streams = Streams()
    announce()
    sys.excepthook = _defect
    interrupted = False
    try:
        try:
            code = cli.main(prog_name="sealmatrix", standalone_mode=False, obj=signals)
        finally:
            signals.ending()
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.ctx.get_help() if problem.ctx else "")
        code = UsageError.exit_code
    except click.ClickException as problem:
        with io.StringIO() as told:
            problem.show(told)
            click.echo(_line(told.getvalue()), err=True, nl=False)
        code = UsageError.exit_code
    except OSError as problem:
        if problem.errno != errno.ENAMETOOLONG:
            raise
        click.echo(f"sealmatrix: {_line(str(problem.filename))}: this name is too long for a file", err=True)
        code = UsageError.exit_code
    except SealmatrixError as problem:
        click.echo(f"sealmatrix: {_line(str(problem))}", err=True)
        code, interrupted = problem.exit_code, isinstance(problem, Interrupted)
    except (KeyboardInterrupt, click.Abort) as asked:
        what = doing(asked.__cause__ or asked)
        click.echo(
            f"sealmatrix: interrupted{what}{'; run the same command again to continue' if what else ''}", err=True
        )
        code, interrupted = Interrupted.exit_code, True
    code = code if isinstance(code, int) else 0
    if (lost := streams.finish()) and not interrupted:
        click.echo(f"sealmatrix: {lost}", err=True)
        code = lost.exit_code
    signals.over()
    if interrupted:
        leave(code)
    sys.exit(code)
