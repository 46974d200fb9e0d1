"""Costs as text, as JSON, as JUnit (a suite for each kernel, a case for each row), and as a page with a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from junit_xml import TestCase, TestSuite

from harness.cost.functions import FunctionCosts, largest
from harness.cost.model import Cost, CostChange, CostTable, changes, slopes
from harness.model.version import version_order
from harness.reports.junit import document, element, one_line, xml_text
from harness.runs.cells import plural

_SHOWN = 20  # changed rows on a screen
_ALIKE = 0.1  # per cent: what the same kernel may differ by from boot to boot
_MAPPINGS = (1, 2, 8, 64, 1000)
_COLOURS = ("#3b6ea5", "#c0562f", "#4f8a3c", "#8a5aa8", "#a8893a", "#3a8f8a", "#b04a78", "#5c5c5c")


@dataclass(frozen=True)
class Costed:
    """One kernel's costs, what they are compared with, and by how many per cent a row must grow to count."""

    table: CostTable
    other: CostTable | None
    by: float

    @property
    def changes(self) -> list[CostChange]:
        """Every row that both have, those that grew most first."""
        return changes(self.table, self.other) if self.other else []

    @property
    def grown(self) -> list[CostChange]:
        """The rows that cost more, by ``by`` per cent at least."""
        return [change for change in self.changes if change.percent >= self.by]

    @property
    def why_not(self) -> str:
        """Why the answer is incomplete, "" where it is not."""
        if self.table.lost:
            return self.table.lost
        if self.other is not None and self.other.lost:
            return f"{self.other.kernel} gave no answer: {self.other.lost}"
        if not self.table.costs:
            return "nothing was measured"
        if self.other is not None and not self.changes:
            return f"no cost was measured both here and on {self.other.kernel}"
        here, there = self.table, self.other
        for table, where in ((here, ""), *([(there, f" on {there.kernel}")] if there else [])):
            if troubles := table.troubles:
                rows = f"{plural(len(troubles), 'row')} could not be counted{where}"
                return f"{rows}, the first {troubles[0].row}: {troubles[0].trouble}"
        return ""

    @property
    def exit_code(self) -> int:
        """3 where the answer is incomplete, 1 when something grew, else 0."""
        return 3 if self.why_not else 1 if self.grown else 0


def cost_lines(costed: Sequence[Costed]) -> Iterator[str]:
    """For a person: what changed, or the table of a kernel, or the steps along the versions."""
    series = [one for one in costed if one.other is None]
    for one in costed:
        if one.why_not:
            yield f"{_head(one.table)}: incomplete: {one.why_not}"
        if one.other is not None:
            yield from _difference(one)
    for arch in dict.fromkeys(one.table.arch for one in series):
        tables = [one.table for one in series if one.table.arch == arch and one.table.costs]
        if len(tables) == 1:
            yield from _table(tables[0])
        elif tables:
            yield from _steps(tables, costed[0].by)


def _head(table: CostTable) -> str:
    return f"{table.kernel} {table.arch}" + (f" ({table.release})" if table.release else "")


def _difference(one: Costed) -> Iterator[str]:
    assert one.other is not None
    moved = [change for change in one.changes if abs(change.percent) > _ALIKE]
    moved.sort(key=lambda change: (-abs(change.percent), change.row))
    yield f"{_head(one.table)} against {_head(one.other)}: instructions a call"
    yield (
        f"  {len(one.changes)} costs compared: {len(one.grown)} grew by {one.by:g} % or more, "
        f"{sum(1 for change in moved if change.percent <= -one.by)} shrank by as much, "
        f"{len(one.changes) - len(moved)} are unchanged (within {_ALIKE:g} %)"
    )
    if alone := len(one.table.costs) - len(one.changes):
        yield f"  {alone} costs were measured on {one.table.kernel} only, so they are not compared"
    if moved:
        yield f"  {'':30} {'there':>11} {'here':>11}"
    for change in moved[:_SHOWN]:
        yield f"  {change.row:30} {change.there.settled:11,.0f} {change.here.settled:11,.0f} {change.percent:+8.1f} %"
    if len(moved) > _SHOWN:
        yield f"  and {len(moved) - _SHOWN} smaller changes; --json has all"


def _table(table: CostTable) -> Iterator[str]:
    counts = _counts([table])
    yield f"{_head(table)}: instructions a call, by the number of mappings"
    growth = {(operation, seals): slope for operation, seals, slope, _ in slopes(table.costs)}
    yield f"  {'':24}" + "".join(f"{count:>10,}" for count in counts) + (f"{'a mapping':>11}" if growth else "")
    for operation, seals in dict.fromkeys((cost.operation, cost.seals) for cost in table.costs.values()):
        row = [table.costs.get(f"{operation}/{count}/{seals}") for count in counts]
        slope = growth.get((operation, seals))
        name = operation if seals == "none" else f"{operation} {seals}"
        cells = "".join(f"{_number(cost):>10}" for cost in row)
        yield f"  {name:24}{cells}" + (f"{slope:11,.1f}" if slope is not None else "")
    meant = [_SEALS[seals] for seals in dict.fromkeys(cost.seals for cost in table.costs.values()) if seals in _SEALS]
    if meant:
        yield f"  {'; '.join(meant)}"


_SEALS = {
    "beside": "beside: a sealed mapping on either side",
    "refused": "refused: the last mapping is sealed, and the call fails",
}


def _counts(tables: Sequence[CostTable]) -> tuple[int, ...]:
    """The numbers of mappings that were measured: others would be empty columns."""
    found = {cost.mappings for table in tables for cost in table.costs.values()}
    return tuple(count for count in _MAPPINGS if count in found)


def _number(cost: Cost | None) -> str:
    return "-" if cost is None or cost.trouble else f"{cost.settled:,.0f}"


def _steps(tables: Sequence[CostTable], by: float) -> Iterator[str]:
    ordered = sorted(tables, key=lambda table: version_order(table.version))
    first, last = ordered[0], ordered[-1]
    yield f"{first.arch}, {len(ordered)} kernels from {first.kernel} to {last.kernel}: steps of {by:g} % or more"
    quiet = 0
    for row in dict.fromkeys(row for table in ordered for row in table.costs):
        steps = list(cost_steps(ordered, row, by))
        if len(steps) < 2:
            quiet += 1
            continue
        yield f"  {row}: {steps[0][0].kernel} {steps[0][1]:,.0f}"
        for table, settled, percent in steps[1:]:
            yield f"      {table.kernel:18} {settled:11,.0f} {percent:+8.1f} %"
    yield f"  {quiet} costs have no such step"


def cost_steps(ordered: Sequence[CostTable], row: str, by: float) -> Iterator[tuple[CostTable, float, float]]:
    """Along kernels in version order, where a row's cost moves by ``by`` per cent: (kernel, cost, per cent)."""
    before = 0.0
    for table in ordered:
        cost = table.costs.get(row)
        if cost is None or not cost.settled:
            continue
        percent = 100.0 * (cost.settled - before) / before if before else 0.0
        if not before or abs(percent) >= by:
            yield table, cost.settled, percent
            before = cost.settled


def cost_json(one: Costed) -> dict[str, Any]:
    """For programs."""
    table = one.table
    return {
        "kernel": table.kernel,
        "kernel_sha256": table.sha256,
        "arch": table.arch,
        "release": table.release,
        "version": table.version,
        "mseal": table.mseal,
        "unit": "instructions",
        "pinned": list(table.pinned),
        "lost": table.lost,
        "costs": [
            {
                "row": cost.row,
                "first": cost.first,
                "settled": cost.settled,
                "spread_percent": cost.spread,
                "calls": cost.calls,
                **({"errno": cost.errno} if cost.errno else {}),
                **({"trouble": cost.trouble} if cost.trouble else {}),
            }
            for cost in table.costs.values()
        ],
        "slopes": [
            {"operation": operation, "seals": seals, "each_mapping": round(slope, 2), "rest": round(rest, 1)}
            for operation, seals, slope, rest in slopes(table.costs)
        ],
        **(
            {
                "against": one.other.kernel,
                "by_percent": one.by,
                "changes": [
                    {
                        "row": change.row,
                        "here": change.here.settled,
                        "there": change.there.settled,
                        "percent": round(change.percent, 3),
                    }
                    for change in one.changes
                ],
            }
            if one.other
            else {}
        ),
    }


def functions_lines(here: FunctionCosts, there: FunctionCosts | None) -> Iterator[str]:
    """For a person: the functions that differ most or, without another kernel, those that take most."""
    head = f"{here.kernel} {here.arch}, {here.row}"
    for one in (here, there):
        if one is not None and one.lost:
            yield f"{one.kernel} {one.arch}, {one.row}: no answer: {one.lost}"
            return
    if there is None:
        yield f"{head}: {here.total:,.0f} instructions a call, the largest functions"
        yield from (f"  {name:40} {amount:11,.0f}" for name, amount, _ in largest(here, None))
        return
    yield f"{head}: {here.total:,.0f} instructions a call, {there.total:,.0f} on {there.kernel};"
    yield "  the functions that differ most:"
    yield f"  {'':40} {'there':>11} {'here':>11}"
    for name, amount, before in largest(here, there):
        yield f"  {name:40} {before:11,.0f} {amount:11,.0f} {amount - before:+10,.0f}"


def functions_json(here: FunctionCosts, there: FunctionCosts | None) -> dict[str, Any]:
    """For programs."""
    told: dict[str, Any] = {
        "kernel": here.kernel,
        "arch": here.arch,
        "row": here.row,
        "lost": here.lost or (there.lost if there else ""),
        "functions": {name: round(amount, 2) for name, amount in here.functions.items()},
    }
    return {**told, "against": there.kernel, "functions_there": dict(there.functions)} if there else told


def cost_junit(costed: Sequence[Costed]) -> str:
    """A whole document. A row that grew is a failure, one without a cost an error."""
    return document([element(_suite(one)) for one in costed])


def _suite(one: Costed) -> TestSuite:
    table = one.table
    classname = f"sealmatrix.{table.kernel.replace('.', '_')}.{table.arch}.cost"
    changed = {change.row: change for change in one.changes}
    cases = []
    for cost in table.costs.values():
        case = TestCase(f"cost.{cost.row}", classname, stdout=f"{cost.settled:.0f} instructions")
        change = changed.get(cost.row)
        if cost.trouble:
            case.add_error_info(one_line(cost.trouble), "", "miss")
        elif one.other is not None and (there := one.other.costs.get(cost.row)) is not None and there.trouble:
            case.add_error_info(one_line(f"{one.other.kernel}: {there.trouble}"), "", "miss")
        elif one.other is not None and change is None:
            case.add_skipped_info(one_line(f"{one.other.kernel} has no such cost"), "")
        elif change is not None and change.percent >= one.by:
            told = (
                f"{change.here.settled:,.0f} instructions, {change.there.settled:,.0f} before: {change.percent:+.1f} %"
            )
            case.add_failure_info(told, told, "cost")
        cases.append(case)
    if one.why_not and not any(case.is_error() for case in cases):
        case = TestCase("cost", classname)
        case.add_error_info(one_line(one.why_not), xml_text(one.why_not), "miss")
        cases.append(case)
    facts = {"release": table.release, "unit": "instructions", "pinned": "; ".join(table.pinned)}
    return TestSuite(classname, cases, package="sealmatrix", properties={k: xml_text(v) for k, v in facts.items()})


def cost_page(costed: Sequence[Costed], names: Mapping[str, str]) -> str:
    """One page that needs nothing else: per operation the growth with the number of mappings, and along versions."""
    environment = Environment(
        loader=PackageLoader("harness.reports"), undefined=StrictUndefined, autoescape=True, trim_blocks=True
    )
    arches = []
    for arch in dict.fromkeys(one.table.arch for one in costed):
        tables = _each_once([one for one in costed if one.table.arch == arch])
        operations = dict.fromkeys(cost.operation for table in tables for cost in table.costs.values())
        arches.append(
            {
                "name": arch,
                "tables": tables,
                "mappings": _counts(tables),
                "charts": [_chart(operation, tables, names) for operation in operations],
            }
        )
    grown = [(one, change) for one in costed for change in one.grown]
    return environment.get_template("cost.html.j2").render(costed=costed, arches=arches, grown=grown, number=_number)


def _each_once(costed: Sequence[Costed]) -> list[CostTable]:
    tables = {table.kernel: table for one in costed for table in (one.other, one.table) if table and table.costs}
    return sorted(tables.values(), key=lambda table: version_order(table.version))


def _chart(operation: str, tables: Sequence[CostTable], names: Mapping[str, str]) -> dict[str, Any]:
    """A line for each number of mappings along the kernels, each relative to its first kernel."""
    width, height = 640.0, 150.0
    lines = []
    shares = {}
    for count in _MAPPINGS:
        row = f"{operation}/{count}/none"
        points = [(i, table.costs[row].settled) for i, table in enumerate(tables) if _has(table, row)]
        if points:
            shares[count] = [(i, settled / points[0][1]) for i, settled in points]
    values = [share for points in shares.values() for _, share in points] or [1.0]
    low, high = min(*values, 0.95), max(*values, 1.05)
    for number, (count, points) in enumerate(shares.items()):
        place = [
            (
                20 + (width - 40) * (i / max(1, len(tables) - 1)),
                10 + (height - 20) * (1 - (share - low) / (high - low)),
            )
            for i, share in points
        ]
        lines.append(
            {
                "count": count,
                "colour": _COLOURS[number % len(_COLOURS)],
                "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in place),
                "dots": place,
                "last": points[-1][1],
            }
        )
    counts = _counts(tables)
    what = next((text for row, text in names.items() if row.startswith(f"{operation}/")), "")
    rows = [
        {"seals": seals, "table": table, "costs": [table.costs.get(f"{operation}/{n}/{seals}") for n in counts]}
        for table in tables
        for seals in ("none", "beside", "refused")
        if any(_has(table, f"{operation}/{n}/{seals}") for n in _MAPPINGS)
    ]
    return {"operation": operation, "what": what, "lines": lines, "low": low, "high": high, "rows": rows}


def _has(table: CostTable, row: str) -> bool:
    return row in table.costs and table.costs[row].settled > 0
