"""What a run ends with: its reports, the history, the table."""

from __future__ import annotations

import json
from collections.abc import Callable

import click
from rich.console import Console

from harness.cli.going_on import write_or_say
from harness.compare.comparison import compare_baselines
from harness.history.record import remember
from harness.reports.kernel_calls import print_calls
from harness.reports.style import screen
from harness.reports.terminal import print_run
from harness.reports.write import write_reports
from harness.runs.kernel_calls import TRACES, ComparedCalls, calls_json
from harness.runs.model import RunDone
from harness.runs.programs import reproduce
from harness.runs.summary import summary_json


def end(
    done: RunDone,
    aside: Console,
    *,
    as_json: bool,
    show_all: bool,
    trace: Callable[[], tuple[ComparedCalls, ...]] | None = None,
) -> int:
    """Write a run's reports, keep it in the history, and show it. ``trace`` looks into the kernel behind what failed.

    Returns the exit code.
    """
    code = write_or_say(lambda: write_reports(done, reproduce), done.folder, done.exit_code, aside)
    if remark := remember(done.folder):
        aside.print(f"note: {remark}", highlight=False, markup=False, soft_wrap=True)
    interrupted = done.record.state == "interrupted"
    if as_json:
        more = {"traces": calls_json(trace())} if trace and not interrupted else {}
        click.echo(json.dumps(summary_json(done) | more, indent=1))
    else:
        console = screen()
        print_run(console, done, every=show_all, comparison=compare_baselines(done))
        if trace and not interrupted:
            print_calls(console, trace(), str(done.folder / TRACES))
    return code
