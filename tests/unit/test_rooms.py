"""Rooms (docs/internals/architecture.md): each imports only rooms above it; the payloads never import the harness."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Top to bottom: a room sees what stands before it.
ROOMS = (
    "errors",
    "names",
    "secret_urls",
    "model",
    "processes",
    "config",
    "bugs",
    "matrix",
    "kernels",
    "payload",
    "guests",
    "rules",
    "observations",
    "verdicts",
    "reproducer",
    "explore",
    "suites",
    "cost",
    "runs",
    "coverage",
    "cluster",
    "compare",
    "history",
    "bisect",
    "qualify",
    "mutants",
    "nightly",
    "reports",
    "cli",
)


def room_of(path: Path) -> str:
    """The room a module of ``harness/`` stands in; "" for the package itself, and ``python -m harness`` is the cli."""
    place = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
    return {"__init__": "", "__main__": "cli"}.get(place, place)


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) of every import, also of those inside functions and conditions."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*above, *([module] if module else [])])
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)


def offences(path: Path, source: str) -> list[str]:
    """Every import of a module of ``harness/`` that looks down or outside the list, as "file:line: what"."""
    room = room_of(path)
    if room not in ("", *ROOMS):
        return [f"{path.relative_to(ROOT)}:1: {room} is not a room: add it to docs/internals/architecture.md and here"]
    above = ROOMS[: ROOMS.index(room) + 1] if room else ()
    package = ".".join(path.relative_to(ROOT).parent.parts)
    found = []
    for line, name in imports(source, package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "harness" and target in ROOMS and target not in (*above, "errors"):
            found.append(f"{path.relative_to(ROOT)}:{line}: {room or 'harness'} imports {target}")
        if top in ("tests", "bench", "guest_payload"):
            found.append(f"{path.relative_to(ROOT)}:{line}: {room or 'harness'} imports {top}")
    return found


def test_every_room_imports_only_rooms_above_it() -> None:
    modules = sorted((ROOT / "harness").rglob("*.py"))
    assert modules
    assert [line for path in modules for line in offences(path, path.read_text())] == []


def test_planning_never_imports_execution_and_what_both_share_imports_neither() -> None:
    found = []
    for path in sorted((ROOT / "harness" / "runs").rglob("*.py")):
        part = path.relative_to(ROOT / "harness" / "runs").parts[0]
        below = {"planning": ["execution"], "execution": []}.get(part, ["planning", "execution"])
        for line, name in imports(path.read_text(), "harness.runs"):
            if any(name.startswith(f"harness.runs.{room}.") for room in below):
                found.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert found == []


def test_the_payloads_never_import_the_harness() -> None:
    names = [
        f"{path}:{line}: {name}"
        for path in sorted((ROOT / "guest_payload").rglob("*.py"))
        for line, name in imports(path.read_text(), "guest_payload")
        if name.partition(".")[0] == "harness"
    ]
    assert names == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("verdicts/judge.py", "import harness.model.rule", 0),
        ("verdicts/judge.py", "from harness.errors import UsageError", 0),
        ("verdicts/judge.py", "from harness import __version__", 0),
        ("verdicts/judge.py", "from . import model", 0),
        ("verdicts/judge.py", "from ..runs import plan", 1),
        ("verdicts/judge.py", "from harness import runs", 1),
        ("verdicts/judge.py", "def late():\n    import harness.cli", 1),
        ("errors.py", "from harness.matrix import model", 1),
        ("__init__.py", "from harness.cli import main", 1),
        ("utils/misc.py", "", 1),
        ("cli/main.py", "import harness.qualify, harness.bisect", 0),
        ("history/read.py", "from harness.reports.page import columns", 1),
        ("qualify/judge.py", "from harness.reports import style", 1),
        ("bisect/session.py", "import harness.reports.junit", 1),
        ("compare/diff.py", "from harness.history import read", 1),
        ("model/run_record.py", "from harness.runs.execution.cell_worker import CellOutcome", 1),
        ("qualify/judge.py", "from harness.compare import diff", 0),
        ("guests/qemu.py", "import guest_payload.python", 1),
    ],
)
def test_the_rule_itself(path: str, source: str, found: int) -> None:
    assert len(offences(ROOT / "harness" / path, source)) == found
