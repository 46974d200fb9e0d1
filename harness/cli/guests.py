"""``sealmatrix guests``: the guests that were saved, and removing them."""

from __future__ import annotations

import json

import click
from rich.table import Table

from harness.cli import options as shared
from harness.guests.snapshots import LIMIT, SavedGuest, SavedGuests
from harness.reports.style import print_table, screen


@click.group()
def guests() -> None:
    """Saved guests: what `sealmatrix run` restores instead of booting a kernel again.

    \b
    sealmatrix guests list     list them, most recently used first
    sealmatrix guests clear    remove them all; the next run boots
    """


@guests.command("list")
@shared.JSON_TABLE
def list_command(as_json: bool) -> None:
    """List the saved guests and their size."""
    found = SavedGuests().all()
    if as_json:
        click.echo(json.dumps([_as_json(guest) for guest in found], indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("guest", "kernel", "arch", "profile", "saved", "boot", "MB"):
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("kernel", "profile"))
    for guest in found:
        boot, size = f"{guest.boot_seconds:.1f} s", f"{guest.size / 1e6:.0f}"
        saved = guest.saved[:16].replace("T", " ")
        table.add_row(guest.key[:12], guest.kernel, guest.arch, guest.profile, saved, boot, size)
    console = screen()
    if found:
        print_table(console, table)
    total = sum(guest.size for guest in found)
    console.print(f"{len(found)} saved, {total / 1e6:.0f} MB of at most {LIMIT / 1e6:.0f} MB", highlight=False)


@guests.command("clear")
def clear_command() -> None:
    """Remove every saved guest. Runs that are restoring one now are not disturbed."""
    count = SavedGuests().clear()
    click.echo(f"{count} removed")


def _as_json(guest: SavedGuest) -> dict[str, object]:
    return {
        "key": guest.key,
        "kernel": guest.kernel,
        "arch": guest.arch,
        "profile": guest.profile,
        "saved": guest.saved,
        "boot_seconds": guest.boot_seconds,
        "sha256": guest.sha256,
        "size": guest.size,
        "facts": dict(guest.facts),
    }
