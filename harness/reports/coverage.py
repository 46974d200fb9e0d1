"""Coverage as text, as JSON, and as a page with the source beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.coverage.model import CoverageResult, FunctionCoverage, number_of_rules
from harness.runs.cells import plural

_UNREACHED = 12  # lines named for each function on a screen
_SUMS = (("lines_run", "lines"), ("branches_both_ways", "branches"))
_RULES = 12  # named beside a line


def coverage_lines(result: CoverageResult) -> Iterator[str]:
    """For a person: function by function, and what nothing reaches."""
    head = f"{result.kernel} {result.arch} ({result.release})"
    more = f" and {result.programs} generated programs" if result.programs else ""
    yield f"{head}: what ran while sealed memory was present, {result.probes} probes{more}"
    if result.lost:
        yield f"  incomplete: {result.lost}"
    reached = [f for f in result.functions if f.reached]
    width = max((len(f.name) for f in reached), default=0)
    file = ""
    for function in reached:
        if function.file != file:
            file = function.file
            yield f"  {file:{width + 2}} {'lines':>12} {'both ways':>12} {'rules':>6}"
        lines = f"{function.lines_run}/{len(function.lines)}"
        branches = f"{function.both_ways}/{len(function.branches)}"
        yield f"    {function.name:{width}} {lines:>12} {branches:>12} {function.number_of_rules:>6}"
    if result.functions:
        sums = totals(result.functions)
        lines, branches = (f"{sums[part]} of {sums[all_of]}" for part, all_of in _SUMS)
        yield f"  {lines} lines, {branches} branches both ways"
        if result.programs:
            yield f"  {result.only_explored} of these lines were run by generated programs only"
        yield from _next(result.functions)
    if len(result.smallest) > 1:
        few = f"{len(result.smallest)} of the {result.probes} probes"
        yield f"  {few} reach all that they reach together (the list 'smallest' in coverage.json)"
    if result.cut:
        first = result.cut[0]
        yield f"  the trace of {plural(len(result.cut), 'probe')} was cut, the first {first}: more code may have run"
    if result.silent:
        yield f"  {plural(len(result.silent), 'probe')} sealed nothing here, the first {result.silent[0]}"


def _next(functions: Sequence[FunctionCoverage]) -> Iterator[str]:
    """The list of next work."""
    yield "  reached, but not these lines of it:"
    for function in functions:
        missing = [number for number, ran in function.lines.items() if not ran]
        if function.reached and missing:
            more = f" and {len(missing) - _UNREACHED} more" if len(missing) > _UNREACHED else ""
            named = ", ".join(map(str, missing[:_UNREACHED]))
            yield f"    {function.file} {function.name}: {named}{more}"
    never = [f for f in functions if not f.reached]
    yield f"  never reached: {len(never)} functions"
    for file in dict.fromkeys(f.file for f in never):
        yield f"    {file}: {', '.join(f.name for f in never if f.file == file)}"


def totals(functions: Sequence[FunctionCoverage]) -> dict[str, int]:
    """Sums over functions."""
    return {
        "functions": len(functions),
        "functions_reached": sum(f.reached for f in functions),
        "lines": sum(len(f.lines) for f in functions),
        "lines_run": sum(f.lines_run for f in functions),
        "branches": sum(len(f.branches) for f in functions),
        "branches_both_ways": sum(f.both_ways for f in functions),
    }


def coverage_json(result: CoverageResult) -> dict[str, Any]:
    """For programs."""
    return {
        "kernel": result.kernel,
        "arch": result.arch,
        "release": result.release,
        "lost": result.lost,
        "probes": result.probes,
        "programs": result.programs,
        "lines_only_explored": result.only_explored,
        "cut": list(result.cut),
        "silent": list(result.silent),
        "smallest": list(result.smallest),
        "totals": totals(result.functions),
        "functions": [
            {
                "file": f.file,
                "function": f.name,
                "line": f.line,
                "lines": {str(number): list(result.by_line.get((f.file, number), ())) for number in f.lines},
                "run": [number for number, ran in f.lines.items() if ran],
                "branches": [{"line": number, "took": [one, other]} for number, one, other in f.branches],
                "rules": list(f.rules),
            }
            for f in result.functions
        ],
    }


def coverage_page(result: CoverageResult, sources: Mapping[str, Sequence[str]]) -> str:
    """A page of its own: the table, and each file's source with what ran of it."""
    environment = Environment(
        loader=PackageLoader("harness.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files = list(dict.fromkeys(f.file for f in result.functions))
    return environment.get_template("coverage.html.j2").render(
        result=result,
        totals=totals(result.functions),
        files=[(file, list(_source(result, file, sources.get(file, ())))) for file in files],
    )


def _source(result: CoverageResult, file: str, source: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each line of a file: its number, text, state, what its branches did and which rules ran it."""
    ran = {number: one for f in result.functions if f.file == file for number, one in f.lines.items()}
    branches: dict[int, list[tuple[bool, bool]]] = {}
    for f in result.functions:
        for number, one, other in f.branches if f.file == file else ():
            branches.setdefault(number, []).append((one, other))
    for number, text in enumerate(source, 1):
        rules = result.by_line.get((file, number), ())
        named, count = ", ".join(rules[:_RULES]), number_of_rules(rules)
        more = f" and {len(rules) - _RULES} more" if len(rules) > _RULES else ""
        yield {
            "number": number,
            "text": text.expandtabs(8),
            "state": "" if number not in ran else "run" if ran[number] else "not",
            "branches": " ".join(_ways(*ways) for ways in branches.get(number, ())),
            "half": any(one != other for one, other in branches.get(number, ())),
            "ran_by": f"{plural(count, 'rule')}: {named}{more}" if count else named,
        }


def _ways(one: bool, other: bool) -> str:
    return "both" if one and other else "one" if one or other else "none"
