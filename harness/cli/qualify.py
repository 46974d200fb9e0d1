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
from harness.cost.measure import cost_rows
from harness.cost.stored import stored_costs
from harness.errors import UsageError
from harness.explore.verdicts import EXPLORE_RULES
from harness.kernels.store import telling
from harness.model.atomic_files import write_atomically
from harness.model.verdict import EXIT_FAILED, EXIT_OK
from harness.qualify.costs import MeasuredCosts
from harness.qualify.draft import draft_policy
from harness.qualify.load import explored, load_policy, parse_policy
from harness.qualify.qualification import NO_COSTS, judge_picks, write_qualification
from harness.qualify.report import report_json
from harness.qualify.sbom import WITHOUT, can_sbom
from harness.reports.style import screen
from harness.rules.load import load_catalogue
from harness.runs.run_store import new_run_id

_DEFAULT = ("x86_64", "arm64")


@click.group(invoke_without_command=True)
@click.option("--candidate", metavar="K", help="RUN:CELL, RUN:KERNEL, or a KERNEL of the run.")
@click.option("--baseline", metavar="B", help="What the candidate is compared with; named the same way.")
@click.option("--policy", "path", type=click.Path(path_type=Path), help="The policy (YAML).")
@click.option("--run", "run", metavar="RUN", help="The run that has kernels named without one [default: the newest].")
@shared.RUNS
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A new folder for report and evidence.")
@click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the evidence with an SSH key (`verify --signers` checks it).",
)
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="Treat waivers as of this date [default: today, UTC].")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output.")
@click.pass_context
def qualify(
    context: click.Context,
    candidate: str | None,
    baseline: str | None,
    path: Path | None,
    run: str | None,
    results: Path,
    output: Path | None,
    key: Path | None,
    as_of: datetime | None,
    as_json: bool,
) -> int | None:
    """Decide whether a candidate may ship, by a written policy, and keep everything needed to repeat it.

    \b
    sealmatrix qualify init                 writes policy.yaml, and a waiver to fill in
    sealmatrix qualify --candidate debian-newest --baseline debian-6.12 \\
        --policy policy.yaml
    sealmatrix qualify --candidate RUN-B:debian-newest \\
        --baseline RUN-A:debian-newest --policy policy.yaml -o 7.3.4

    A kernel's name means its cells on all architectures. Exit status: 0 qualified, with or without waivers; 1 not
    qualified; 2 the policy or the request is wrong.
    """
    if context.invoked_subcommand is not None:
        return None
    for name, value in (("--candidate", candidate), ("--baseline", baseline), ("--policy", path)):
        if value is None:
            raise click.UsageError(f"Missing option '{name}'.", context)
    assert candidate
    assert baseline
    assert path
    if key is not None and not key.is_file():
        raise UsageError(f"{key}: no such key; give a private SSH key, or a public one that ssh-agent has")
    catalogue = load_catalogue()
    policy, data = load_policy(path, {**catalogue, **EXPLORE_RULES})
    load = loader(catalogue)
    picked = pick_side(results, candidate, load, run)
    if explored(policy, picked.sides):
        catalogue = {**catalogue, **EXPLORE_RULES}
    day: date = as_of.date() if as_of else datetime.now(UTC).date()
    costs = MeasuredCosts(stored_costs(results), tuple(cost_rows())) if policy.cost is not None else NO_COSTS
    dossier = judge_picks(picked, pick_side(results, baseline, load, run), policy, data, day, catalogue, costs)
    folder = output or results / f"qualification-{new_run_id()}"
    seal = write_qualification(dossier, folder, key)
    if not can_sbom():
        click.echo(f"note: {WITHOUT}", err=True)
    if as_json:
        click.echo(json.dumps(report_json(dossier), indent=1))
    else:
        print_qualification(screen(), dossier, folder, seal)
    return EXIT_FAILED if dossier.qualification.verdict == "not qualified" else EXIT_OK


@qualify.command()
@click.argument("path", metavar="[FILE]", default="policy.yaml", type=click.Path(path_type=Path))
@click.option("--candidate", metavar="K", help="With --baseline: a waiver for each thing the policy does not accept.")
@click.option("--baseline", metavar="B", help="What the candidate is compared with; named as for `qualify`.")
@click.option("--run", "run", metavar="RUN", help="The run that has kernels named without one [default: the newest].")
@shared.RUNS
def init(path: Path, candidate: str | None, baseline: str | None, run: str | None, results: Path) -> None:
    """Write a policy to begin with, and waivers to fill in. A file that is there is left alone.

    \b
    sealmatrix qualify init                      policy.yaml, with an example of a waiver
    sealmatrix qualify init --candidate debian-newest --baseline debian-6.12
    """
    if (candidate is None) != (baseline is None):
        raise click.UsageError("give --candidate and --baseline, or neither")
    if path.exists():
        raise UsageError(f"{path} is there already; name another file")
    text = draft_policy(_DEFAULT)
    if candidate and baseline:
        load = loader(catalogue := load_catalogue())
        picked, other = (pick_side(results, word, load, run) for word in (candidate, baseline))
        arches = tuple(dict.fromkeys(side.arch for side in picked.sides))
        data = draft_policy(arches).encode()
        policy = parse_policy(data, path, catalogue)
        text = draft_policy(arches, judge_picks(picked, other, policy, data, datetime.now(UTC).date(), catalogue))
    with telling(path):
        write_atomically(path, text.encode())
    click.echo(f"{path}: a policy to fill in; docs/use/qualify.md explains every key")
