"""What must hold of the tree itself, whatever the code does."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.main import cli
from harness.matrix.load import load_matrix

ROOT = Path(__file__).parents[2]
# Where no git tells what belongs to the project: folders that tools and users fill.
_FILLED = {".git", ".venv", "__pycache__", "results", "node_modules", "dist", "build"}

# The mirror is this system's, or a setting (docs/reference/kernels.md); a name in the tree would be a private choice.
_REGISTRY = re.compile(
    r"(?:\b(?:deb|ftp|archive|security|snapshot|mirrors?|ports)\.(?:\w+\.)*(?:debian|ubuntu|kernel)\.(?:org|com)\b)"
    r"|\b(?:pypi|pythonhosted|ziglang|crates|npmjs)\.(?:org|io|com)\b|\b(?:quay|ghcr|gcr|docker)\.io\b",
    re.IGNORECASE,
)
_HOME = re.compile(r"(?<![\w.~-])/(?:root|home/\w+|Users/\w+|tmp/w|work/(?:main|shared))(?=[/\s\"'`)]|$)")


def tracked() -> list[Path]:
    """The files of the project: git's list, or everything that is not filled by tools where git is no help."""
    if shutil.which("git"):
        done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout:
            return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return list(_walk(ROOT))


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False):
            hidden_cache = entry.name.endswith(("_cache", ".egg-info")) or entry.name == ".hypothesis"
            if entry.name not in _FILLED and not hidden_cache:
                yield from _walk(Path(entry.path))
        elif entry.is_file():
            yield Path(entry.path)


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """ "file:line: match" for every hit in the files that are text."""
    found = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found += [f"{path.relative_to(ROOT)}:{number}: {hit.group()}" for hit in pattern.finditer(line)]
    return found


def test_no_registry_or_mirror_is_named() -> None:
    assert lines_with(_REGISTRY, tracked()) == []


def test_no_path_of_somebodys_machine_is_named() -> None:
    # A console log was written by a kernel, not by us.
    ours = [path for path in tracked() if "tests/data/console" not in path.as_posix()]
    assert lines_with(_HOME, ours) == []


@pytest.mark.parametrize("words", ["deb debian org", "files pythonhosted org", "ftp de debian org"])
def test_the_pattern_knows_a_mirror(words: str) -> None:
    host = words.replace(" ", ".")  # spelled so that this file passes its own test
    assert _REGISTRY.search(f"URIs: http://{host}/debian")


def test_the_licence_is_here_and_is_the_one_we_state() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert 'license = "MIT"' in (ROOT / "pyproject.toml").read_text()


def test_every_module_says_what_it_is_for() -> None:
    modules = sorted((ROOT / "harness").rglob("*.py"))
    assert [str(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))] == []


def types_of(tree: ast.Module) -> Iterator[str]:
    """The classes and the aliases of types at the top of a module; a constant is written in capitals only."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if name.lstrip("_")[:1].isupper() and not name.isupper():
                yield name


def test_no_two_types_share_a_name() -> None:
    """A reader who has learned a name has learned it for the whole of ``harness/``."""
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for name in types_of(ast.parse(path.read_text())):
            places.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert len(places) > 500
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_what_tests_share_is_not_taken_from_a_test() -> None:
    """Fixtures and helpers of several modules are in ``tests/support``; also the programs that tests start."""
    foreign = re.compile(r"\btests\.(?:\w+\.)*(?:test_\w+|conftest)\b(?= import|\.)|\bfrom \.+(?:test_\w+|conftest)\b")
    assert foreign.search("from tests.unit.test_judge import half")
    assert lines_with(foreign, [path for path in tracked() if path.suffix == ".py" and path != Path(__file__)]) == []


def test_programs_are_executable_and_shell_scripts_stop_at_the_first_error() -> None:
    programs = [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci" / "run"]
    assert [str(path) for path in programs if not os.access(path, os.X_OK)] == []
    shell = [path for path in programs if re.match(r"#!/bin/(ba)?sh\n", path.read_text())]
    assert shell
    assert [str(path) for path in shell if "\nset -eu\n" not in path.read_text()] == []


def test_the_matrix_loads() -> None:
    matrix = load_matrix(ROOT / "kernels.yaml")
    assert {"default", "nightly", "smoke"} <= set(matrix.selections)


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in tracked()
        if page.suffix == ".md"
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_document_is_in_the_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text()
    names = {path.relative_to(docs).as_posix() for path in tracked() if docs in path.parents} - {"README.md"}
    ours = {name for name in names if name.endswith((".md", ".schema.json"))}
    assert sorted(name for name in ours if f"({name})" not in index) == []


@pytest.mark.parametrize("name", ["README.md", "docs/use/reading-a-failure.md"])
def test_the_failure_that_is_shown_is_what_show_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    quoted = [
        block
        for block in re.findall(r"^```\w*\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        if "fail bypass" in block
    ]
    cli.main(["show", str(ROOT / "tests/data/runs/faults"), "--status", "fail"], standalone_mode=False)
    shown = capsys.readouterr().out.splitlines()
    assert quoted
    assert [line for block in quoted for line in block.splitlines() if line not in shown] == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/internals/architecture.md", "docs/internals/decisions.md"])
def test_code_that_documents_name_is_there(name: str) -> None:
    """Paths are the ends of paths of ours; ``file.py:Class.method`` is in that file."""
    text, files = (ROOT / name).read_text(), tracked()
    gone = []
    for path, symbol in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|c|h|tsv))(?::([\w.]+))?`", text):
        found = [file for file in files if file.as_posix().endswith(f"/{path}")]
        to_be_written = re.search(r"[A-Z]{2,}", path)  # NAME and FAMILY stand for one
        words = list(filter(None, symbol.split(".")))
        there = any(all(re.search(rf"\b{re.escape(word)}\b", f.read_text()) for word in words) for f in found)
        if not there and not to_be_written:
            gone.append(f"{path}:{symbol}")
    assert gone == []


def test_no_module_is_too_long_to_read_at_once() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in sorted((ROOT / "harness").rglob("*.py"))}
    assert [f"{path.relative_to(ROOT)}: {count}" for path, count in lines.items() if count > 350] == []
