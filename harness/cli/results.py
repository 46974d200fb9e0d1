"""``sealmatrix results``: what the nights leave on disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from harness.cli import options as shared
from harness.cli.history import where
from harness.errors import UsageError
from harness.history.database import database_url, reading
from harness.history.regressions import regressions
from harness.nightly.prune import Keep, nights_on_disk, pack_kept, remove, sweep, to_remove

BUDGET = "SEALMATRIX_RESULTS_BUDGET"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@click.group()
def results() -> None:
    """Remove and pack the results of nights.

    \b
    sealmatrix results prune --dry-run       what would be removed
    sealmatrix results prune --keep-last 30 --keep-weeks 104
    """


@results.command()
@click.option("--keep-last", type=click.IntRange(1), default=Keep.last, show_default=True, help="The newest nights.")
@click.option("--keep-weeks", type=click.IntRange(0), default=Keep.weeks, show_default=True, help="One night a week.")
@click.option("--budget", metavar="SIZE", help=f"Room for all nights: 500M, 4G [default: {BUDGET}, else any].")
@shared.DRY_RUN
@where
def prune(
    keep_last: int, keep_weeks: int, budget: str | None, dry_run: bool, results: Path, database: str | None
) -> None:
    """Remove old nights, and pack the others.

    Kept are the newest nights, one of each week, and every night that opened a regression. Only results of
    `sealmatrix nightly` are removed. The history keeps what it knows of removed nights.
    """
    keep = Keep(last=keep_last, weeks=keep_weeks, most=size_of(budget or os.environ.get(BUDGET, "0")))
    if not results.is_dir():
        raise UsageError(f"{results}: no such folder of results")
    nights = nights_on_disk(results)
    opened: set[str] = set()
    if nights:
        with reading(database_url(results, database)) as connection:
            opened = {one.opened_run for one in regressions(connection)}
    gone = to_remove(nights, keep, opened)
    for night in gone:
        click.echo(f"{'would remove' if dry_run else 'removed'} {night.folder.name} ({night.size / 1e6:.1f} MB)")
    kept = [night for night in nights if night not in gone]
    packed = 0
    if not dry_run:
        sweep(results)
        remove(gone)
        packed = pack_kept(kept)
    freed = (sum(night.size for night in gone) + packed) / 1e6
    click.echo(f"{len(kept)} nights kept, {len(gone)} {'to remove' if dry_run else 'removed'}, {freed:.1f} MB")


def size_of(text: str) -> int:
    """``4G`` in bytes. Raises ``UsageError``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text, re.IGNORECASE)
    if not found:
        raise UsageError(f"{text!r} is not a size; write 500M or 4G")
    return int(float(found[1]) * _UNITS[found[2].upper()])
