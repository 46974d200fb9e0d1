"""Options that several commands have: one spelling, one type, one sentence of help each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.model.architectures import ARCHES

ClickCommand = TypeVar("ClickCommand", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)

SELECTION = click.option("-s", "--selection", metavar="NAME", help="A selection of kernels.yaml [default: default].")
SELECTION_OF_RUN = click.option(
    "-s",
    "--selection",
    metavar="NAME",
    help="A selection of kernels.yaml, or what KERNEL is asked [default: default; KERNEL and -k are asked everything].",
)
KERNELS_OF_SELECTION = click.option(
    "-s", "--selection", metavar="NAME", help="The kernels of a selection of kernels.yaml."
)
ARCHITECTURES = click.option(
    "-a", "--arch", "arches", multiple=True, type=click.Choice(ARCHES), help="Only this architecture."
)
ARCHITECTURE = click.option(
    "-a", "--arch", type=click.Choice(ARCHES), default="x86_64", show_default=True, help="The architecture."
)
PROFILES = click.option(
    "-p", "--profile", "profiles", multiple=True, metavar="NAME", help="Machine profile to boot on; repeatable."
)
TWO_CPUS_NAME = "two-cpus"
TWO_CPUS = click.option(
    "-p", "--profile", default=TWO_CPUS_NAME, show_default=True, metavar="NAME", help="Machine profile to boot on."
)
HOST = click.option("--host", is_flag=True, help="Test the kernel of this machine, without a guest.")
SSH = click.option(
    "--ssh",
    metavar="[USER@]HOST[:PORT]",
    help="Test the running kernel of a machine reachable by SSH, which is not modified.",
)
FRESH = click.option("--fresh", is_flag=True, help="Boot every kernel: restore no saved guest, and save none.")
JOBS = click.option(
    "-j", "--jobs", type=click.IntRange(1), help="Cells at a time [default: what cores and memory allow]."
)
COMPILERS = click.option("-j", "--jobs", type=click.IntRange(1), help="Compilers at a time [default: number of cores].")
ACCEL = click.option(
    "--accel", type=click.Choice(["auto", "kvm", "tcg"]), default="auto", show_default=True, help="Acceleration."
)


def todays_seed() -> int:
    """The date as a number, such as 20261128: all kernels of a day are explored by the same programs."""
    return int(f"{datetime.now(UTC):%Y%m%d}")


SEED = click.option(
    "--seed",
    type=click.IntRange(0),
    default=todays_seed,
    show_default=False,
    help="Seed of --explore [default: the date, such as 20261128].",
)
SCALE = click.option(
    "--scale", type=click.FloatRange(0.01), default=1.0, help="Multiply every deadline by this factor."
)
OFFLINE = click.option("--offline", is_flag=True, help="Use only kernels that are already stored; no network.")
MATRIX = click.option("-f", "--matrix", "path", type=_PATH, help="The matrix file [default: kernels.yaml].")
RUNS = click.option(
    "--results", type=_PATH, default=Path("results"), show_default=True, help="Folder that has the runs."
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="No progress display.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
JSON = click.option("--json", "as_json", is_flag=True, help="JSON on standard output instead of text.")
JSON_TABLE = click.option("--json", "as_json", is_flag=True, help="JSON on standard output instead of the table.")


KERNELS = click.option(
    "-k", "--kernels", multiple=True, metavar="KERNEL", help="Kernels: names, globs, paths or URLs; repeatable."
)
EVERY_RULE = click.option(
    "--all", "show_all", is_flag=True, help="Show every rule, also those with the same result everywhere."
)
PROBES = click.option(
    "-r",
    "--run",
    "probes",
    multiple=True,
    metavar="GLOB",
    help="Select probes by id; prefix with ! to exclude; repeatable.",
)
RULES = click.option(
    "--rule", "rules", multiple=True, metavar="GLOB", help="Select the probes of rules by rule id; repeatable."
)


SUITES = click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="SUITE",
    help="Run a foreign suite: a name, a program, C file, script, folder or tar, or FILE.yaml; repeatable.",
)


def results(default: str = "results") -> Callable[[ClickCommand], ClickCommand]:
    """Where a command puts what it makes."""
    return click.option("--results", type=_PATH, default=Path(default), show_default=True, help="Folder for results.")
