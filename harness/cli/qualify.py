"""``sealmatrix qualify``: may this candidate ship?"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import click

from harness.cli import options as shared
from harness.cli.given import pick_side
from harness.cli.qualify_text import print_qualification
from harness.compare.sides import loader
from harness.cost.stored import stored_costs
from harness.explore.verdicts import EXPLORE_RULES
from harness.model.verdict import EXIT_FAILED, EXIT_OK
from harness.qualify.load import explored, load_policy
from harness.qualify.qualification import judge_picks, write_qualification
from harness.qualify.report import report_json
from harness.reports.style import screen
from harness.rules.load import load_catalogue
from harness.runs.run_store import new_run_id


@click.command()
@click.option("--candidate", required=True, metavar="K", help="RUN:CELL, RUN:KERNEL, or a KERNEL of the run.")
@click.option("--baseline", required=True, metavar="B", help="What the candidate is compared with; named the same way.")
@click.option("--policy", "path", required=True, type=click.Path(path_type=Path), help="The policy (YAML).")
@click.option("--run", "run", metavar="RUN", help="The run that has kernels named without one [default: the newest].")
@shared.RUNS
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A new folder for report and evidence.")
@click.option(
    "--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Date by which waivers may have expired [default: today, UTC]."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output.")
def qualify(
    candidate: str,
    baseline: str,
    path: Path,
    run: str | None,
    results: Path,
    output: Path | None,
    as_of: datetime | None,
    as_json: bool,
) -> int:
    """Decide whether a candidate may ship, by a written policy, and keep everything needed to repeat it.

    \b
    sealmatrix qualify --candidate debian-newest --baseline debian-6.12 --policy policy.yaml
    sealmatrix qualify --candidate RUN-B:debian-newest --baseline RUN-A:debian-newest --policy policy.yaml -o 7.3.4

    A kernel's name means its cells on all architectures. Exit status: 0 qualified, with or without waivers; 1 not
    qualified; 2 the policy or the request is wrong.
    """
    catalogue = load_catalogue()
    policy, data = load_policy(path, {**catalogue, **EXPLORE_RULES})
    load = loader(catalogue)
    picked = pick_side(results, candidate, load, run)
    if explored(policy, picked.sides):
        catalogue = {**catalogue, **EXPLORE_RULES}
    day: date = as_of.date() if as_of else datetime.now(UTC).date()
    costs = stored_costs(results) if policy.cost is not None else {}
    dossier = judge_picks(picked, pick_side(results, baseline, load, run), policy, data, day, catalogue, costs)
    folder = output or results / f"qualification-{new_run_id()}"
    seal = write_qualification(dossier, folder)
    if as_json:
        click.echo(json.dumps(report_json(dossier), indent=1))
    else:
        print_qualification(screen(), dossier, folder, seal)
    return EXIT_FAILED if dossier.qualification.verdict == "not qualified" else EXIT_OK
