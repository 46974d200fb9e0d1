"""Every example of README.md, docs/ and the help parses, and what it names is there; those that are cheap are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any

import click
import pytest

from harness.cli.main import cli, main
from harness.kernels.versions import compare
from harness.matrix.load import load_matrix
from harness.mutants.catalogue import choose, load_mutants
from harness.nightly.marks import NightRecord, write_mark
from harness.payload.build import probe_list
from harness.rules.load import load_catalogue
from tests.examples import PATTERNS, ROOT, Example, examples
from tests.support.compared_runs import GOOD, make_run

EXAMPLES = examples()
PARSED = [example for example in EXAMPLES if example.words[0] in ("sealmatrix", "scripts/matrix")]
MATRIX = load_matrix(ROOT / "kernels.yaml")
# Nothing boots and nothing is fetched.
CHEAP = ("rules", "mutants list", "mutants show", "guests", "history", "show", "compare", "report", "site")
RULES, MUTANTS = load_catalogue(), load_mutants()


def named(example: Example) -> str:
    return f"{example.where}: {example.line}"


def parsed(example: Example) -> click.Context:
    """The command an example calls, with the values of its parameters. Raises ``click.UsageError``."""
    first, *words = example.words
    words = ["run", *words] if first == "scripts/matrix" else words
    command: click.Command = cli
    context = click.Context(cli, info_name="sealmatrix")
    while isinstance(command, click.Group) and words and not _by_itself(command, words):
        below = command.get_command(context, words[0])
        if below is None:
            raise click.UsageError(f"no such command: {words[0]}")
        command, name, words = below, words[0], words[1:]
        context = click.Context(command, parent=context, info_name=name)
    group = isinstance(command, click.Group) and not (words and _by_itself(command, words))
    if group or example.open_ended or (example.inline and not words):
        return context
    parent = context.parent
    assert parent is not None
    return command.make_context(context.info_name, words, parent=parent)


def _by_itself(group: click.Group, words: list[str]) -> bool:
    """Whether options are for a group that is a command, too, such as ``qualify``."""
    return group.invoke_without_command and words[0].startswith("-")


def values(context: click.Context, *options: str) -> Iterator[str]:
    """What is given for options of these names, and for arguments of these metavars."""
    for parameter in context.command.params:
        if set(options) & {*parameter.opts, parameter.name or ""} and (
            given := context.params.get(parameter.name or "")
        ):
            yield from (given,) if isinstance(given, str) else given


def is_there(glob: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, glob) for name in names)


@pytest.fixture(scope="session")
def probes() -> list[str]:
    return [probe.id for probe in probe_list()]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where examples find the files they speak of."""
    for folder in ("linux/arch/x86/boot", "here/folder", "here/results", "here/release-7.3.4"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (
        "question.py",
        "file",
        "file.py",
        "policy.yaml",
        "repro",
        "repro.c",
        "reproducer",
        "mseal_test",
        "bzImage",
    ):
        (tmp_path / "here" / file).touch()
    for file in ("here/kernel-core.rpm", "linux/arch/x86/boot/bzImage"):
        (tmp_path / file).touch()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_there_are_examples_everywhere() -> None:
    places = {example.where for example in EXAMPLES}
    assert {"README.md", "docs/use/bisect.md", "sealmatrix --help", "sealmatrix kernels --help"} <= places
    assert len(EXAMPLES) > 150


@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_what_is_written_in_capitals_is_a_pattern_with_a_meaning(example: Example) -> None:
    assert not example.unknown_patterns


@pytest.mark.parametrize("example", PARSED, ids=named)
def test_it_parses_and_what_it_names_is_there(example: Example, place: Path, probes: list[str]) -> None:
    context = parsed(example)
    for words in re.findall(r"debian-[\w.*-]+", " ".join(example.words)):
        assert is_there(re.sub(r"\.(x86_64|arm64)$", "", words), MATRIX.kernels), words
    for name in values(context, "--kernels"):
        assert name.startswith("./") or is_there(name, MATRIX.kernels) or example.defines(name), name
    for name in values(context, "--profile"):
        assert name in MATRIX.profiles or example.defines(name), name
    for name in values(context, "--selection"):
        assert name in MATRIX.selections or example.defines(name), name
    for rule in values(context, "--rule", "rule_id"):
        assert is_there(rule, RULES), rule
    for glob in values(context, "--run", "--probe"):
        assert is_there(glob, probes), glob
    if values(context, "--only"):
        assert choose(MUTANTS, list(values(context, "--only")))


@pytest.mark.parametrize("example", [e for e in EXAMPLES if e not in PARSED], ids=named)
def test_a_script_is_there_and_knows_the_options(example: Example) -> None:
    path, *words = example.words
    assert os.access(ROOT / path, os.X_OK)
    sources = [path, "scripts/setup"] if path.startswith("scripts/") else [path]
    known = "\n".join((ROOT / source).read_text() for source in sources)
    for word in takewhile(lambda word: word != "--", words):  # what follows is a command of its own
        if word.startswith("--"):
            assert f'"{word}"' in known or f"{word})" in known, word


# --- bisections -------------------------------------------------------------------------------------------------------


def changes() -> list[tuple[str, str, str]]:
    """Changes known on stock kernels, from the table of docs/reference/findings.md: (rule, until, from)."""
    found = []
    for row in re.findall(r"^\|(.*)\|$", (ROOT / "docs/reference/findings.md").read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in row.split("|")]
        if len(cells) != 4:  # a table of numbers
            continue
        _, rules, until, since = cells
        pairs = zip(until.replace("and ", "").split(", "), since.replace("and ", "").split(", "), strict=True)
        found += [(rule, *pair) for pair in pairs for rule in re.findall(r"`([^`]+)`", rules)]
    return found


def of_versions(example: Example) -> tuple[str, str, str] | None:
    """The rule and both ends of a bisection that names versions; None for any other example."""
    context = parsed(example)
    if context.command.name != "bisect" or "RULE" in example.line:
        return None
    rule, good, bad = (context.params.get(name) for name in ("rule", "good", "bad"))
    if not (rule and good and bad) or any("/" in word or word.endswith(".deb") for word in (*good, *bad)):
        return None
    return rule, good[0], bad[0]


@pytest.mark.parametrize("example", [e for e in PARSED if "sealmatrix bisect" in e.line], ids=named)
def test_a_bisection_of_stock_kernels_has_something_to_find(example: Example, place: Path) -> None:
    asked = of_versions(example)
    if asked is None:
        return
    rule, good, bad = asked
    known = [(until, since) for name, until, since in changes() if name == rule]
    assert any(
        compare(good, until) <= 0 and (bad == "newest" or compare(since, f"{bad}.999") <= 0) for until, since in known
    ), f"docs/reference/findings.md knows no change of {rule} from {good} to {bad}"


# --- the cheap ones ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two runs that patterns mean."""
    folder = tmp_path_factory.mktemp("examples")
    cells: Any = {"debian-6.12": GOOD, "debian-newest": GOOD}
    for name in (PATTERNS["RUN-A"], PATTERNS["RUN-B"]):
        make_run(folder / "results", name, **cells)
        write_mark(folder / "results" / name, NightRecord(state="done", selection="nightly"))
    words = [sys.executable, "-m", "harness", "history", "rebuild", "--results", str(folder / "results")]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return folder


def is_cheap(example: Example) -> bool:
    first, *words = example.words
    other_runs = any(
        words in example.line for words in ("results/", "tests/", "--across", "arm64", "bzImage", "--tree")
    )
    a_name = example.inline and len(words) == 1
    return first == "sealmatrix" and " ".join(words).startswith(CHEAP) and not other_runs and not a_name


@pytest.mark.parametrize("example", [example for example in PARSED if is_cheap(example)], ids=named)
def test_a_cheap_one_is_run(example: Example, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    if "guests" in example.words:  # these may remove what is stored
        monkeypatch.setenv("SEALMATRIX_CACHE", str(runs / "cache"))
    monkeypatch.setattr(sys, "argv", example.words)
    with pytest.raises(SystemExit) as ended:
        main()
    # Of runs that asked few rules, some say so by their status.
    told = (0, 3) if example.words[1] in ("show", "compare") else (0,)
    assert (ended.value.code or 0) in told, example.line
