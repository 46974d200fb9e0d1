from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.mutants.catalogue import choose, load_mutants
from harness.mutants.model import KINDS, Edit, Mutant
from harness.rules.load import load_catalogue

MUTANTS = load_mutants()
GOOD = """
- id: one
  what: a defect
  breaks: [U1]
  edits:
    "6.12": [{file: mm/vma.c, in: split, find: "a b", put: "c"}]
"""


def folder(tmp_path: Path, text: str) -> Path:
    for kind in KINDS:
        (tmp_path / f"{kind}.yaml").write_text(text if kind == "bypass" else "[]")
    return tmp_path


def test_there_are_enough_of_every_kind_for_both_sources() -> None:
    for series in ((6, 12), (7, 3)):
        usable = [m for m in MUTANTS.values() if not isinstance(m.variant(series, "x86_64"), str)]
        assert len(usable) >= 40
        assert {m.kind for m in usable} >= set(KINDS) - {"deep"}
    assert sum(m.kind == "deep" and not isinstance(m.variant((7, 3), "x86_64"), str) for m in MUTANTS.values()) >= 25
    assert {m.split("/")[0] for mutant in MUTANTS.values() for m in mutant.files} >= {"mm", "ipc", "kernel", "fs"}


def test_every_clause_broken_is_one_of_the_contract() -> None:
    letters = {"A", "U", "R", "P", "M", "O"}
    assert {clause[0] for mutant in MUTANTS.values() for clause in mutant.breaks} == letters
    # The clauses that have rules already must be spelt as the rules spell them.
    clauses = {rule.contract for rule in load_catalogue().values()}
    assert {c for c in clauses if c[0] in letters} & {c for m in MUTANTS.values() for c in m.breaks}


def test_what_is_equivalent_is_a_variant_there_is() -> None:
    for mutant in MUTANTS.values():
        assert set(mutant.equivalent) <= set(mutant.edits), mutant.id
    removed = MUTANTS["madvise-remove-unlisted"]
    assert removed.why_equivalent((6, 18)) and not removed.why_equivalent((7, 3))
    assert not removed.why_equivalent((6, 6))


def test_a_variant_holds_until_the_next_one() -> None:
    mutant = MUTANTS["munmap-unchecked"]
    assert mutant.variant((6, 16), "x86_64") == mutant.edits[6, 12]
    assert mutant.variant((8, 0), "x86_64") == mutant.edits[7, 3]
    assert mutant.variant((6, 10), "x86_64") == "written for 6.12 and later"
    assert MUTANTS["madvise-guard-unlisted"].variant((6, 12), "x86_64") == "guard regions came with 6.13"
    assert MUTANTS["tag-refused"].variant((6, 12), "x86_64") == "only on arm64"
    only_there = MUTANTS["memory-failure-answers-0"]
    assert only_there.variant((7, 3), "x86_64") == "needs a kernel built with --fragment fault-injection"
    assert only_there.variant((7, 3), "x86_64", ["fault-injection", "uprobes"]) == only_there.edits[7, 3]


def test_the_digest_follows_the_edits() -> None:
    def made(text: str) -> Mutant:
        return Mutant("one", "bypass", "", ("U1",), {(6, 12): (Edit("a", "b", "c", "put", text),)})

    assert made("x").digest((6, 12), "arm64") == made("x").digest((7, 0), "arm64")
    assert made("x").digest((6, 12), "arm64") != made("y").digest((6, 12), "arm64")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("put:", "puts:"), "[0].edits.6.12[0]: unknown key 'puts' (did you mean 'put'?)"),
        (('put: "c"', 'put: "c", after: "d"'), "exactly one of put, before, after"),
        ((', put: "c"', ""), "exactly one of put, before, after"),
        (("[U1]", "[]"), "breaks"),
        (("[U1]", "[u1]"), "breaks[0]"),
        (('"6.12"', "6.x"), "edits.6.x: "),
        (("mm/vma.c", "../vma.c"), "edits.6.12[0].file"),
        (("mm/vma.c", "/etc/vma.c"), "edits.6.12[0].file"),
        (("mm/vma.c", "mm/../../vma.c"), "edits.6.12[0].file"),
        (("id: one", "id: One!"), "id"),
        ((GOOD, "id: one"), "bypass.yaml:1: must be a list ([a, b])"),
        (("what: a defect", "what: {"), "not YAML"),
        (("- id: one", "- id: one\n  colour: red"), "[0]: unknown key 'colour'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_mutants(folder(tmp_path, GOOD.replace(*change)))


def test_a_name_comes_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"bypass.yaml:8: \[1\].id: another mutant has the name one"):
        load_mutants(folder(tmp_path, GOOD + GOOD))


def test_choosing() -> None:
    assert len(choose(MUTANTS, [])) == len(MUTANTS)
    assert {m.id for m in choose(MUTANTS, ["fork-*"])} == {i for i in MUTANTS if i.startswith("fork-")}
    assert {m.kind for m in choose(MUTANTS, ["atomicity"])} == {"atomicity"}
    with pytest.raises(UsageError, match="no mutant matches frok"):
        choose(MUTANTS, ["frok"])


def test_the_table_of_the_documents_has_as_many_of_each_kind() -> None:
    document = (Path(__file__).parents[2] / "docs/internals/mutation.md").read_text()
    told = {
        kind: int(number) for kind, number in re.findall(r"^\| ([a-z-]+) \| (\d+) \| [a-z`]", document, re.MULTILINE)
    }
    assert {kind: told.get(kind) for kind in KINDS} == Counter(mutant.kind for mutant in MUTANTS.values())
    usable = [
        sum(not isinstance(m.variant(s, (m.arches or ("x86_64",))[0], m.fragments), str) for m in MUTANTS.values())
        for s in ((6, 12), (7, 3))
    ]
    assert f"{len(MUTANTS)} in all: {usable[0]} apply to 6.12, {usable[1]} to 7.3" in document
