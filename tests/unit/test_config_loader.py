"""One loader reads every YAML file; its errors have file, line, key and the nearest valid word."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.matrix.load import load_matrix
from harness.mutants.catalogue import load_mutants
from harness.mutants.model import KINDS
from harness.qualify.load import load_policy
from harness.rules.load import load_catalogue
from harness.rules.refusals import load_refusals
from harness.rules.warnings import load_warnings

HARNESS = Path(__file__).parents[2] / "harness"

RULE = """\
family: munmap
rules:
  - id: one
    contract: U1
    level: required
    outcome: blocked
    statement: x
    sources: [x]
    where: {since: 6.10}
    probes: [{operations: munmap}]
    known:
      - {probes: "*", until: 6.12, reason: x, source: x}
"""
MUTANT = """\
- id: one
  what: x
  breaks: [U1]
  edits:
    6.10: [{file: mm/vma.c, find: a, put: b}]
"""
WARNING = "allowed:\n  - title: 'WARNING*'\n    since: 6.10\n    reason: x\n"
REFUSAL = "refused:\n  - operations: munmap\n    errnos: EPERM\n    reason: x\nunavailable: []\n"
POLICY = "version: 1\ntitle: x\narchitectures: [arm64]\nrequire:\n  - levels: [required]\n"
MATRIX = """\
version: 1
extends: none
kernels:
  mine:
    source: tree
    tree: ../linux
    architectures: [x86_64]
"""

Load = Callable[[Path], object]


def one_rule(path: Path) -> object:
    return load_catalogue(path.parent)


def one_mutant(path: Path) -> object:
    for kind in KINDS:
        path.with_name(f"{kind}.yaml").touch()
        if kind != KINDS[0]:
            path.with_name(f"{kind}.yaml").write_text("[]")
    path.rename(path.with_name(f"{KINDS[0]}.yaml"))
    return load_mutants(path.parent)


def one_warning(path: Path) -> object:
    return load_warnings(path)


def one_policy(path: Path) -> object:
    return load_policy(path, load_catalogue())


@pytest.mark.parametrize(
    ("load", "good", "old", "new", "said"),
    [
        pytest.param(
            one_rule, RULE, "level", "levl", "5: rules[0]: unknown key 'levl' (did you mean 'level'?)", id="rule key"
        ),
        pytest.param(
            one_rule,
            RULE,
            "blocked",
            "bloked",
            "6: rules[0].outcome: unknown value 'bloked' (did you mean 'blocked'?)",
            id="rule word",
        ),
        pytest.param(
            one_rule, RULE, "6.10", "soon", "9: rules[0].where.since: not a kernel version: 'soon'", id="rule version"
        ),
        pytest.param(
            one_rule,
            RULE,
            "reason",
            "reson",
            "12: rules[0].known[0]: unknown key 'reson' (did you mean 'reason'?) (and 1 more)",
            id="known key",
        ),
        pytest.param(
            one_rule,
            RULE,
            "  - id: one\n",
            "  - id: [one]\n",
            "3: rules[0].id: must be text, not a list or a mapping",
            id="rule type",
        ),
        pytest.param(
            one_mutant,
            MUTANT,
            "put",
            "putt",
            "5: [0].edits.6.10[0]: unknown key 'putt' (did you mean 'put'?)",
            id="mutant key",
        ),
        pytest.param(
            one_mutant,
            MUTANT,
            "- id: one\n",
            "- id: one\n  arches: [x86]\n",
            "2: [0].arches[0]: unknown value 'x86'",
            id="mutant word",
        ),
        pytest.param(
            one_warning,
            WARNING,
            "reason",
            "reasn",
            "4: allowed[0]: unknown key 'reasn' (did you mean 'reason'?) (and 1 more)",
            id="warning key",
        ),
        pytest.param(
            one_warning, WARNING, "6.10", "x", "3: allowed[0].since: not a kernel version: 'x'", id="warning version"
        ),
        pytest.param(
            load_refusals,
            REFUSAL,
            "EPERM",
            "EPRM",
            "3: refused[0].errnos: 'EPRM' is no error (did you mean 'EPERM'?)",
            id="refusal word",
        ),
        pytest.param(
            load_refusals,
            REFUSAL,
            "operations",
            "operation",
            "2: refused[0]: unknown key 'operation' (did you mean 'operations'?)",
            id="refusal key",
        ),
        pytest.param(
            one_policy,
            POLICY,
            "levels",
            "level",
            "5: require[0]: unknown key 'level' (did you mean 'levels'?) (and 1 more)",
            id="policy key",
        ),
        pytest.param(
            load_matrix,
            MATRIX,
            "../linux",
            "[a]",
            "6: kernels.mine.tree: must be text, not a list or a mapping",
            id="kind and key have one name",
        ),
        pytest.param(
            load_matrix,
            MATRIX,
            "source: tree",
            "source: tre",
            "5: kernels.mine.source: unknown value 'tre' (did you mean 'tree'?)",
            id="kernel kind",
        ),
        pytest.param(
            load_matrix,
            MATRIX,
            "    source: tree\n",
            "",
            "4: kernels.mine: source is missing (valid: debian, debian-source, file,",
            id="no kind",
        ),
        pytest.param(load_matrix, MATRIX, "    tree: ../linux\n", "", "4: kernels.mine.tree: is missing", id="no key"),
    ],
)
def test_an_error_has_file_line_key_and_nearest_word(
    load: Load, good: str, old: str, new: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(good)
    assert load(path)
    path = tmp_path / "wrong" / "file.yaml"
    path.parent.mkdir()
    assert old in good
    path.write_text(good.replace(old, new, 1))
    with pytest.raises(ConfigError, match=r"^[^\n]*\.yaml:" + re.escape(said)) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_number_like_version_keeps_its_last_zero(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(RULE)
    assert load_catalogue(tmp_path)["one"].where.since == (6, 10, 0)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot read the matrix: No such file or directory"):
        load_matrix(tmp_path / "none.yaml")


@pytest.mark.parametrize("load", [one_rule, one_mutant, one_warning, load_refusals, one_policy, load_matrix])
@pytest.mark.parametrize("text", ["", "x", "- 1", "{", "a: \x00", "[" * 40, "- a: &x 1\n  b: *y"])
def test_what_is_no_such_file_is_one_line(load: Load, text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^[^\n]*\.yaml[^\n]*$"):
        load(path)


def test_nobody_else_reads_yaml() -> None:
    found = [
        str(path.relative_to(HARNESS))
        for path in sorted(HARNESS.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and any(alias.name == "yaml" for alias in node.names)
    ]
    assert found == ["config/yaml_lines.py"]
