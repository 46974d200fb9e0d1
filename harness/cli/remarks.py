"""Notes beside a run's answer, on the diagnostic console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

FOLDED_FROM = 4


def tell_remarks(aside: Console, remarks: Sequence[str]) -> None:
    """Print notes, one a line."""
    for remark in folded(remarks):
        aside.print(f"note: {remark}", highlight=False, markup=False, soft_wrap=True)


def folded(remarks: Sequence[str]) -> tuple[str, ...]:
    """One line in place of many that say the same of different kernels (``kernel: what: value``), where the first of
    them stands. Kernels and values are in each cell's results."""
    parts = [_parts(remark) for remark in remarks]
    same = [what for _, what in parts]
    said: dict[str, None] = {}
    for remark, (_, what) in zip(remarks, parts, strict=True):
        count = same.count(what)
        said.setdefault(f"{count} kernels: {what}" if what and count >= FOLDED_FROM else remark)
    return tuple(said)


def _parts(remark: str) -> tuple[str, str]:
    kernel, _, rest = remark.partition(": ")
    what, _, value = rest.rpartition(": ")
    return (kernel, what or value) if rest else ("", "")
