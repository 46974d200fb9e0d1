"""The result of a patch series as text for an answer on a mailing list. Pure."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.compare.comparison import Comparison, counted
from harness.compare.diff import Pair, told
from harness.runs.cells import plural
from harness.verdicts.causes import causes

WIDTH = 72
_FEW = 5


@dataclass(frozen=True, kw_only=True)
class SeriesTested:
    """What was tested: ``base`` and ``patched`` are commits, ``subjects`` those of the patches, ``probes`` how many
    were asked, ``where`` the architectures and how they ran, ``command`` what repeats it."""

    version: str
    base: str
    patched: str
    subjects: Sequence[str]
    probes: int
    where: str
    command: Sequence[str]


def mail_text(tested: SeriesTested, comparison: Comparison) -> str:
    """Return the whole text, lines of at most 72 columns but for commands and names."""
    return "\n".join(_lines(tested, comparison)) + "\n"


def _lines(tested: SeriesTested, comparison: Comparison) -> Iterator[str]:
    rules = max((len(pair.rules) for pair in comparison.pairs), default=0)
    yield from _wrapped(
        f"sealmatrix {tested.version} asked {plural(tested.probes, 'probe')} of {plural(rules, 'rule')} about "
        f"mseal(2) on {tested.where}."
    )
    yield ""
    yield f"  base     {tested.base[:12]}"
    yield f"  patched  {tested.patched[:12]}, {_patches(len(tested.subjects))}:"
    for subject in tested.subjects[:_FEW]:
        yield f"             {subject[: WIDTH - 13]}"
    if len(tested.subjects) > _FEW:
        yield f"             ... and {len(tested.subjects) - _FEW} more"
    yield ""
    for pair in comparison.pairs:
        yield from _pair(pair)
    yield ""
    yield "To repeat:"
    yield f"  {shlex.join(tested.command)}"


def _patches(count: int) -> str:
    return f"{count} patch" if count == 1 else f"{count} patches"


def _pair(pair: Pair) -> Iterator[str]:
    changes = counted(pair.counts, "rule", across=False)
    if pair.before.trouble or pair.after.trouble:
        trouble = pair.after.trouble or pair.before.trouble
        yield from _wrapped(f"{pair.after.arch}: incomplete: {trouble}")
    if not changes:
        yield f"{pair.after.arch}: nothing changed."
        return
    yield f"{pair.after.arch}: {changes}."
    before = {cause.headline for cause in causes(pair.before.results.values())}
    for cause in causes(pair.after.results.values()):
        if cause.headline not in before:
            size = f"({plural(len(cause.rules), 'rule')}, {plural(cause.failed, 'probe')})"
            yield from _wrapped(f"{cause.headline} {size}", "  ")
    for change in [rule for rule in pair.rules if rule.worst is not None][:_FEW]:
        worst = change.worst
        assert worst is not None
        yield f"  {change.change}: {change.rule.id}"
        yield f"    {worst.probe}"
        yield f"      base:    {told(worst.before)}"
        yield f"      patched: {told(worst.after)}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
