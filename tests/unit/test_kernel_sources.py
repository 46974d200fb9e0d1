"""A kernel source is one module and a row in two tables: nobody else asks which one it is."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import get_args

import pytest

from harness.errors import ConfigError, KernelUnavailable
from harness.kernels.lock import Lock
from harness.kernels.missing import refuse_missing
from harness.kernels.providers.request import Provided, Request
from harness.kernels.resolve import PROVIDERS, resolve
from harness.kernels.store import Store
from harness.matrix.model import STANDARD_PROFILE, CellSpec, KernelSpec, Matrix
from harness.matrix.schema import KernelEntry
from harness.matrix.sources.base import NamedPath, Source, SourceEntry

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "harness/matrix/sources").glob("*.py"))
MAY_ASK = {
    # The archive has many builds of a kernel: these search, list or check it.
    "bisect/candidates.py": {"DebianSource"},
    "bisect/ends.py": {"DebianSource", "MachineSource"},
    "kernels/baseline.py": {"DebianSource"},
    "kernels/debian.py": {"DebianSource"},
    "cli/checks.py": {"DebianSource"},
    "cli/kernels.py": {"DebianSource"},
    # Only packages and commits have something between them to search.
    "nightly/bisecting.py": {"DebianSource", "TreeSource"},
    # The kernel of a machine is not ours to provide.
    "matrix/plan.py": {"MachineSource"},
    "runs/interactive.py": {"MachineSource"},
    "runs/planning/compose.py": {"MachineSource"},
    # Kernels on a command line, and how each source is had.
    "kernels/argument.py": {"FileSource", "PackageSource", "TreeSource", "UrlSource"},
    "kernels/branches.py": {"TreeSource"},
    "kernels/debian_tree.py": {"DebianTreeSource"},
    "kernels/fetch.py": {"FileSource", "PackageSource"},
    "kernels/series.py": {"TreeSource"},
    "kernels/tree_source.py": {"TreeSource"},
}


def named_sources(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness.matrix.sources.")
        for alias in node.names
        if alias.name.endswith("Source") and alias.name != "Source"
    }


def classes(base: type) -> set[type]:
    """The subclasses of ``base`` that the modules of sources define."""
    found = set()
    for path in MODULES:
        module = importlib.import_module(f"harness.matrix.sources.{path.stem}")
        values = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, base)]
        found |= {value for value in values if value is not base and value.__module__ == module.__name__}
    return found


def test_every_source_has_a_row_in_both_tables() -> None:
    union, _ = get_args(KernelEntry)
    rows = {get_args(row)[0]: get_args(row)[1].tag for row in get_args(union)}
    assert set(rows) == classes(SourceEntry)
    for entry, tag in rows.items():
        assert tag == f"source={get_args(entry.model_fields['source'].annotation)[0]}"
    assert set(PROVIDERS) == classes(Source)


def test_every_source_is_described() -> None:
    union, _ = get_args(KernelEntry)
    described = (ROOT / "docs/reference/matrix.md").read_text()
    for row in get_args(union):
        value = get_args(row)[1].tag.removeprefix("source=")
        assert f"`{value}`" in described or f"source: {value}" in described, value


def test_nobody_else_asks_for_a_source_by_name() -> None:
    tables = {ROOT / "harness/matrix/schema.py", ROOT / "harness/kernels/resolve.py"}
    own = {*MODULES, *(ROOT / "harness/kernels/providers").glob("*.py")}
    asking = {
        str(path.relative_to(ROOT / "harness")): names
        for path in sorted((ROOT / "harness").rglob("*.py"))
        if path not in own and path not in tables and (names := named_sources(path))
    }
    assert asking == MAY_ASK


class Shelf(Source):
    """A source that only this module knows."""

    asked = "shelf 3"
    named_paths = (NamedPath("shelf", Path("/nowhere/3"), folder=True),)


def test_a_new_source_is_served_by_its_row_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def provide_shelf(request: Request, source: Shelf) -> Provided:
        request.say(f"looking at {source.asked}")
        raise KernelUnavailable("the shelf is empty")

    monkeypatch.setattr("harness.kernels.resolve.PROVIDERS", {**PROVIDERS, Shelf: provide_shelf})
    spec = KernelSpec("mine", Shelf(), ("x86_64",))
    said: list[str] = []
    done = resolve(
        [(spec, "x86_64")],
        store=Store(tmp_path / "store"),
        lock=Lock(tmp_path / "kernels.lock"),
        progress=lambda name, arch, text: said.append(text),
    )
    assert [str(kernel) for kernel in done.kernels.values()] == ["mine (x86_64): the shelf is empty"]
    assert said == ["looking at shelf 3", "unavailable"]
    matrix = Matrix(tmp_path / "kernels.yaml", "", {"mine": spec}, {}, {})
    with pytest.raises(ConfigError, match=r"kernels\.mine\.shelf: /nowhere/3: no such folder"):
        refuse_missing(matrix, [CellSpec(spec, "x86_64", STANDARD_PROFILE)])
