"""``sealmatrix agree``: do our rules and foreign tests say the same of each kernel?"""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import options as shared
from harness.reports.agree import agree_lines
from harness.rules.load import load_catalogue
from harness.runs.run_store import find_run, load_run
from harness.suites.agree import load_promises


@click.command()
@click.argument("name", required=False, metavar="[RUN]")
@shared.RUNS
def agree(name: str | None, results: Path) -> int:
    """Compare our rules with the foreign suites of a run, promise by promise.

    Where one says that a kernel keeps a promise and the other that it does not, one of them is wrong: the evidence
    of both is shown. The run must have asked both:

    \b
    sealmatrix run debian-6.12 --suite kselftest-mseal -r '*'
    sealmatrix agree

    Exit status: 0 all agree, 1 a disagreement, 3 nothing could be compared.
    """
    done = load_run(find_run(results, name), load_catalogue())
    lines, code = agree_lines(done, load_promises())
    for line in lines:
        click.echo(line)
    return code
