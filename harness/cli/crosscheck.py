"""``sealmatrix crosscheck``: both payloads on the same guests, which must see the same."""

from __future__ import annotations

import json

import click
from rich.console import Console

from harness.cli import options as shared
from harness.cli.cell_options import CellOptions, cell_options
from harness.cli.choices import run_cells
from harness.cli.going_on import ending, write_or_say
from harness.reports.crosscheck import crosscheck_line
from harness.reports.style import screen
from harness.reports.terminal import print_run
from harness.reports.write import write_reports
from harness.runs.planning.payload_tasks import crosscheck_globs
from harness.runs.programs import reproduce
from harness.runs.summary import summary_json


@click.command()
@shared.PROBES
@shared.EVERY_RULE
@cell_options(results="results/crosschecks")
def crosscheck(probes: tuple[str, ...], show_all: bool, choice: CellOptions) -> int:
    """Run the C payload and the Python payload on the same probes in the same guests, and compare them.

    The payloads were written independently from the same contract. If they differ on one kernel, one of them is wrong:
    the rule is an error, with both observations. `sealmatrix run --crosscheck` does the same in a normal run.

    \b
    sealmatrix crosscheck -k debian-newest              both architectures of one kernel
    sealmatrix crosscheck -k debian-6.12 -r 'munmap/*'  one operation
    sealmatrix crosscheck --host                        the kernel of this machine

    Exit status: 0 all good, 1 a rule failed, 2 no selected probe is in both payloads, 3 the payloads disagree or a
    kernel gave no answer, 130 interrupted.
    """
    options = choice.options(probes=crosscheck_globs(probes), crosscheck=("*",))
    aside = Console(stderr=True)
    done = run_cells(choice, options, aside)
    with ending(done):
        code = write_or_say(lambda: write_reports(done, reproduce), done.folder, done.exit_code, aside)
        if choice.as_json:
            click.echo(json.dumps(summary_json(done), indent=1))
        else:
            print_run(screen(), done, every=show_all)
            click.echo(crosscheck_line(done))
    return code
