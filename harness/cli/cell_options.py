"""The options that commands which boot cells have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click

from harness.cli import options as shared
from harness.cli.announce import hush
from harness.guests.accel import AccelWanted
from harness.runs.planning.compose import Options
from harness.secret_urls import masked_words


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """Which cells, and how they are run. The names are those of the options."""

    selection: str | None
    kernels: tuple[str, ...]
    arches: tuple[str, ...]
    profiles: tuple[str, ...]
    host: bool
    ssh: str | None
    fresh: bool
    jobs: int | None
    accel: AccelWanted
    scale: float
    offline: bool
    path: Path | None
    results: Path
    quiet: bool
    as_json: bool

    def refuse_machine_and_kernels(self, *, more: bool = False) -> None:
        """Raise ``UsageError`` where a machine is to run the kernel it has, and kernels are named (``more``: in other
        words) as well."""
        if self.host and self.ssh:
            raise click.UsageError("use either --host (this machine) or --ssh (another one)")
        chosen = self.selection or self.kernels or self.arches or self.profiles or self.path
        if (self.host or self.ssh) and (chosen or more):
            raise click.UsageError(
                "--host and --ssh run a machine's kernel; they take no selection, kernel, arch or profile"
            )

    def options(self, *, probes: Sequence[str] = (), crosscheck: Sequence[str] = ()) -> Options:
        """The same for the composer."""
        return Options(
            self.results,
            ("sealmatrix", *masked_words(sys.argv[1:])),
            probes=tuple(probes),
            jobs=self.jobs,
            acceleration=self.accel,
            offline=self.offline,
            scale=self.scale,
            fresh=self.fresh,
            crosscheck=tuple(crosscheck),
        )


def cell_options(
    results: str, selection: Callable[[Callable[..., int]], Callable[..., int]] = shared.SELECTION
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command these options; it is called with ``choice``, a ``CellOptions``, in their place."""
    options = (
        selection,
        shared.KERNELS,
        shared.ARCHITECTURES,
        shared.PROFILES,
        shared.HOST,
        shared.SSH,
        shared.FRESH,
        shared.JOBS,
        shared.ACCEL,
        shared.SCALE,
        shared.OFFLINE,
        shared.MATRIX,
        shared.results(results),
        shared.QUIET,
        shared.JSON_TABLE,
    )
    names = [field.name for field in fields(CellOptions)]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @wraps(command)
        def call(**given: Any) -> int:
            choice = CellOptions(**{name: given.pop(name) for name in names})
            hush(choice.quiet or choice.as_json)
            return command(choice=choice, **given)

        for option in reversed(options):
            call = option(call)
        return call

    return decorate
