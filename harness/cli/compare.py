"""``sealmatrix compare``: what changed between runs, kernels, versions or machines."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli import options as shared
from harness.cli.given import pick_side
from harness.compare.comparison import Comparison, compare_machines, compare_picks, compare_versions
from harness.compare.sides import loader, pick
from harness.cost.model import DEFAULT_BY
from harness.cost.stored import stored_costs
from harness.errors import UsageError
from harness.model.atomic_files import write_output
from harness.model.run_record import read_run
from harness.reports.compare import print_comparison
from harness.reports.compare_json import comparison_json
from harness.reports.cost import Costed, cost_lines
from harness.reports.junit_compare import comparison_xml
from harness.reports.style import screen
from harness.rules.load import load_catalogue
from harness.runs.run_store import find_run


@click.command()
@click.argument("names", metavar="[A B | RUN]", nargs=-1)
@click.option("--kernel", "pair", nargs=2, metavar="K1 K2", help="Two kernels of RUN, as KERNEL, KERNEL:ARCH or CELL.")
@click.option("--series", is_flag=True, help="Compare the kernels of RUN along their versions.")
@click.option("--across", is_flag=True, help="Compare the kernels of RUN across architectures and page sizes.")
@shared.RUNS
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write the comparison as JUnit XML.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text (docs/reference/compare.schema.json).")
@click.option("--all", "show_all", is_flag=True, help="Show every probe that changed, and every gained rule.")
def compare(
    names: tuple[str, ...],
    pair: tuple[str, str] | None,
    series: bool,
    across: bool,
    results: Path,
    junit: Path | None,
    as_json: bool,
    show_all: bool,
) -> int:
    """Show what changed from A to B, rule by rule. RUN is the newest run unless it is given.

    \b
    sealmatrix compare RUN-A RUN-B                                          what is new since last night
    sealmatrix compare RUN-A:debian-6.12.x86_64 RUN-B:debian-newest.x86_64  one cell against another
    sealmatrix compare --kernel debian-6.12:x86_64 debian-newest:x86_64     two kernels of one run
    sealmatrix compare debian-newest ./bzImage                              a kernel of yours, by its image
    sealmatrix compare last~1 last                                          the newest run and the one before
    sealmatrix compare --series                                             along the versions of one run
    sealmatrix compare --across                                             same kernel, another machine

    Both sides are judged again under the same catalogue. Where costs were counted on both kernels (sealmatrix cost,
    nightly --cost), their growth is shown; it does not change the exit status. Exit status: 0 nothing worse, 1 a
    failure was introduced or coverage was lost, 3 a cell could not be compared.
    """
    comparison = _compare(names, pair, series, across, results)
    if junit is not None:
        write_output(junit, comparison_xml(comparison))
    if as_json:
        click.echo(json.dumps(comparison_json(comparison), indent=1))
    else:
        print_comparison(screen(), comparison, every=show_all)
        for line in cost_lines(_costed(comparison, results)):
            click.echo(line)
    return comparison.exit_code


def _costed(comparison: Comparison, results: Path) -> list[Costed]:
    """Where `sealmatrix cost`, or a night, has counted on both kernels of a pair: what became of the costs."""
    if not (known := stored_costs(results)):
        return []
    runs = {side.run for pair in comparison.pairs for side in (pair.before, pair.after)}
    kernels = {run: _kernels_of(run, results) for run in runs}
    found: dict[tuple[str, str], Costed] = {}
    for pair in comparison.pairs:
        old, new = (kernels[side.run].get(side.cell, "") for side in (pair.before, pair.after))
        here, there = known.get((new, pair.after.arch)), known.get((old, pair.before.arch))
        if here and there and old != new:
            found.setdefault((old, new), Costed(here, there, DEFAULT_BY))
    return list(found.values())


def _kernels_of(run: str, results: Path) -> dict[str, str]:
    """The sha256 of each cell's kernel, of those that could be had; nothing where the run is somewhere else."""
    try:
        cells = read_run(find_run(results, run)).cells
    except UsageError:
        return {}
    return {cell.id: cell.kernel.sha256 for cell in cells if cell.kernel}


def _compare(
    names: tuple[str, ...], pair: tuple[str, str] | None, series: bool, across: bool, results: Path
) -> Comparison:
    load = loader(load_catalogue())
    if sum((pair is not None, series, across)) > 1:
        raise click.UsageError("--kernel, --series and --across exclude each other; give one of them")
    inside = pair is not None or series or across
    if len(names) != 2 and not inside:
        raise click.UsageError("give two sides (A and B), or one run with --kernel K1 K2, --series or --across")
    if inside and len(names) > 1:
        raise click.UsageError("--kernel, --series and --across compare within one run")
    if pair is not None:
        run = names[0] if names else None
        return compare_picks(*(pick_side(results, word, load, run) for word in pair))
    if inside:
        picked = pick(results, names[0] if names else "*", load)
        return compare_versions(picked) if series else compare_machines(picked)
    return compare_picks(*(pick_side(results, word, load) for word in names))
