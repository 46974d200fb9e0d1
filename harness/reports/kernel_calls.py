"""Which functions of mm/ a sealed call went through, in this kernel and in the one it is compared with, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.runs.kernel_calls import MEANS, CallRow, ComparedCalls, KernelCalls

_ROWS = 40  # of a trace that are shown; around what differs
_AROUND = 3
_WIDTH = 46
_NAMED = 12


def print_calls(console: Console, traced: Sequence[ComparedCalls], stored: str = "") -> None:
    """Print the traces, differences first; ``stored`` names the file that has all of them."""
    for one in traced:
        console.print()
        for line in calls_lines(one):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if stored:
        console.print(f"all of it: {stored}", highlight=False, markup=False, soft_wrap=True)


def calls_lines(one: ComparedCalls) -> list[str]:
    """One probe's sealed call as lines: by what means, what differs, both side by side."""
    lines = [f"what the sealed call of {one.probe} went through in mm/"]
    lines += [_side(side) for side in (one.here, one.there) if side is not None]
    if one.here.why or (one.there is not None and one.there.why):
        return [*lines, *_alone(one)]
    if one.there is None:
        lines.append("  nothing to compare with: no kernel of this run kept the rule, and no baseline ran")
        return [*lines, *_alone(one)]
    lines += [
        f"  only in {side.cell}: {_some(names)}"
        for side, names in ((one.here, one.only_here), (one.there, one.only_there))
        if names
    ]
    rows = one.rows()
    if not any(row.differs for row in rows):
        lines.append("  the same functions in the same order")
    lines.append("side by side, what a loop repeats once:")
    return [*lines, f"  {one.here.cell:{_WIDTH}}  {one.there.cell}", *_table(rows)]


def _side(side: KernelCalls) -> str:
    if side.means is None:
        return f"  {side.cell}: cannot be traced: {side.why}"
    count = len(side.functions)
    return f"  {side.cell}: {count} {'function' if count == 1 else 'functions'}, by {MEANS[side.means]}"


def _alone(one: ComparedCalls) -> list[str]:
    seen = next((side for side in (one.here, one.there) if side is not None and side.means is not None), None)
    if seen is None:
        return []
    return [f"  {seen.cell}", *_table([CallRow(call, call) for call in seen.functions], twice=False)]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _table(rows: Sequence[CallRow], *, twice: bool = True) -> list[str]:
    """Rows, but of a long table only those near a difference, and the first ones."""
    differing = [at for at, row in enumerate(rows) if row.differs]
    near = {at + step for at in differing for step in range(-_AROUND, _AROUND + 1)} | set(range(_AROUND))
    shown = [at for at in range(len(rows)) if at in near] if len(rows) > _ROWS and differing else [*range(len(rows))]
    lines, last = [], -1
    for at in shown[:_ROWS]:
        if at != last + 1:
            lines.append("    …")
        lines.append(_line(rows[at], twice=twice))
        last = at
    if left := len(rows) - 1 - last:
        lines.append(f"    … and {left} more")
    return lines


def _line(row: CallRow, *, twice: bool) -> str:
    here, there = (f"{'  ' * call[0]}{call[1]}" if call else "-" for call in (row.here, row.there))
    text = f"{here:{_WIDTH}}  {there}" if twice else here
    return f"{'≠' if row.differs else ' '} {text}".rstrip()
