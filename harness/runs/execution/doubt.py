"""What was seen among others in one process and was not as usual: it is asked again, alone, and only that counts.

What is usual, the catalogue says, so it is the judge who is asked, and no second table of expectations exists. A probe
that passes, that does not apply here, or of which nothing is promised, is as usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from harness.model.rule import KernelFacts, ProbeName, asked_options
from harness.observations.collector import Collector
from harness.rules.load import load_catalogue
from harness.runs.model import Cell, Workload
from harness.verdicts.judge import Assignment, Findings, assign, unusual

_MOST_AT_ONCE = 400  # a command of the channel has at most 1023 words


@dataclass(frozen=True)
class SecondAsking:
    """The probes to be asked again, in portions that fit a command, and what was found of all that ran among others."""

    again: tuple[tuple[str, ...], ...] = ()
    findings: Findings | None = None


def doubtful(cell: Cell, workload: Workload, collector: Collector) -> SecondAsking:
    """What is to be asked again, alone."""
    if workload.name != "c" or collector.plan is None:
        return SecondAsking()
    kernel = _facts(cell, collector)
    among = {probe: seen for probe, seen in collector.observations.items() if probe in collector.batched}
    if not kernel or not among:
        return SecondAsking()
    findings = Findings(kernel)
    found = frozenset(unusual(_assigned(workload.planned), findings, among))
    return SecondAsking(tuple(_portions([probe.id for probe in workload.planned if probe.id in found])), findings)


def alone(argv: Sequence[str], probes: Sequence[str]) -> list[str]:
    """The payload's command, for these probes alone."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in ("--run", "--exclude"):
            next(words)
        else:
            kept.append(word)
    return [*kept, "--lone", *(word for probe in probes for word in ("--run", probe))]


def _portions(probes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for first in range(0, len(probes), _MOST_AT_ONCE):
        yield tuple(probes[first : first + _MOST_AT_ONCE])


@cache
def _assigned(planned: tuple[ProbeName, ...]) -> Assignment:
    return assign(load_catalogue(), planned)


def _facts(cell: Cell, collector: Collector) -> KernelFacts | None:
    plan, version, config = collector.plan, "", {}
    if plan is None:
        return None
    kernel = cell.kernel
    if kernel is not None and not isinstance(kernel, Exception):
        version = kernel.version
        if kernel.config:
            config = {o: kernel.config.get(o, "n") for o in asked_options(load_catalogue().values())}
    try:
        return KernelFacts(plan.release, cell.arch, plan.page_size, version, plan.features, config)
    except ValueError:
        return None
