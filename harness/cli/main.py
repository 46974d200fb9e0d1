"""``sealmatrix``: the group of commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import click

from harness import __version__
from harness.cli.bisect import bisect
from harness.cli.cluster import worker
from harness.cli.compare import compare
from harness.cli.doctor import doctor
from harness.cli.guests import guests
from harness.cli.history import history
from harness.cli.kernels import kernels
from harness.cli.mutants import mutants
from harness.cli.qualify import qualify
from harness.cli.report import report
from harness.cli.rules import rules
from harness.cli.run import run
from harness.cli.scenario import scenario
from harness.cli.show import show
from harness.cli.site import site
from harness.cli.verify import verify_command
from harness.errors import Interrupted, SealmatrixError, UsageError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sealmatrix")
def cli() -> None:
    """Does this kernel keep the promises of memory sealing, mseal(2), and what changed?

    \b
    sealmatrix run                      the default matrix: Debian kernels, x86_64 and arm64
    sealmatrix run -s nightly           every release the archive has
    sealmatrix run --host               the kernel this machine runs
    sealmatrix scenario FILE.py         a question of your own, in ten lines of Python
    sealmatrix worker ADDRESS           run cells for others, see --cluster of `sealmatrix run`
    sealmatrix show                     the newest run again
    sealmatrix compare A B              what changed between runs, cells or kernels
    sealmatrix bisect ...               the first build, or commit, that broke a rule
    sealmatrix qualify ...              may this candidate ship, under a written policy
    sealmatrix doctor                   what is missing on this machine

    Exit status: 0 all good, 1 a rule failed, 2 usage, 3 no answer from a kernel, 130 interrupted.
    """


for command in (
    run,
    scenario,
    worker,
    show,
    compare,
    bisect,
    report,
    qualify,
    verify_command,
    history,
    site,
    rules,
    kernels,
    guests,
    mutants,
    doctor,
):
    cli.add_command(command)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the console script. SIGTERM and SIGHUP end a run the way Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        code = cli.main(prog_name="sealmatrix", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as problem:
        click.echo(problem.ctx.get_help() if problem.ctx else "")
        code = UsageError.exit_code
    except click.ClickException as problem:
        problem.show()
        code = UsageError.exit_code
    except SealmatrixError as problem:
        click.echo(f"sealmatrix: {problem}", err=True)
        code = problem.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("sealmatrix: interrupted", err=True)
        code = Interrupted.exit_code
    except BrokenPipeError:
        # The reader went away (`| head`): nothing is wrong, and there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
