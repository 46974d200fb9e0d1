from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BuildError, UsageError
from harness.kernels.tree import (
    OWN,
    SYSTEM_MAPPINGS,
    Option,
    build_tree,
    check_options,
    check_tree,
    decisive,
    own_fragments,
    parse_fragment,
)
from harness.model.architectures import ARCHES


def test_our_fragments_are_read_and_name_what_the_rules_need() -> None:
    needed = {
        "PROC_PAGE_MONITOR",
        "USERFAULTFD",
        "HUGETLBFS",
        "TRANSPARENT_HUGEPAGE",
        "SWAP",
        "NUMA",
        "KSM",
        "SECRETMEM",
    }
    for arch in ARCHES:
        options = {o.name: o for o in parse_fragment("".join(p.read_text() for p in own_fragments(arch)))}
        assert {name for name in needed if options[name].value == "y"} == needed
        assert options["CHECKPOINT_RESTORE"].value == "n"
        assert options["LOCALVERSION"].value == "-sealmatrix"
    assert {p.name for p in OWN.glob("*.config")} == {
        "base.config", "virtme.config", SYSTEM_MAPPINGS.name, *(f"{arch}.config" for arch in ARCHES),
        "debug.config", "kasan.config", "kcsan.config", "kmemleak.config", "kcov.config",
        "fault-injection.config", "uprobes.config", "32-bit.config",
    }  # fmt: skip


def test_a_fragment() -> None:
    text = '# a comment\nCONFIG_A=y\n\n# optional\nCONFIG_B=16\nCONFIG_C="x y"\n# CONFIG_A is not set\n'
    assert parse_fragment(text) == (Option("A", "n"), Option("B", "16", optional=True), Option("C", "x y"))


@pytest.mark.parametrize("line", ["A=y", "CONFIG_A", "CONFIG_A y", " CONFIG_A=y"])
def test_a_line_that_is_no_option(line: str) -> None:
    with pytest.raises(UsageError, match="line 2"):
        parse_fragment(f"CONFIG_Z=y\n{line}\n")


@given(st.text(max_size=200))
def test_any_text_is_a_fragment_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_fragment(text)


def test_options_that_were_dropped() -> None:
    options = parse_fragment("CONFIG_A=y\n# optional\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=y\n")
    assert check_options(options, {"A": "y", "B": "y", "D": "y"}) == ()
    assert check_options(options, {"A": "y", "D": "y"}) == ("B=y is not available in this tree",)
    with pytest.raises(BuildError, match=r"A=y \(is off\), C=n \(is y\), D=y \(is m\)"):
        check_options(options, {"C": "y", "D": "m"})


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (
            "  CC mm/vma.o\nmm/vma.c:3:1: error: expected ';'\nmake[2]: *** [x] Error 1\n",
            "mm/vma.c:3:1: error: expected ';'",
        ),
        ("ld: undefined reference to `x'\n", "ld: undefined reference to `x'"),
        ("one\ntwo\n\n", "two"),
        ("", "make said nothing"),
    ],
)
def test_the_decisive_line(output: str, line: str) -> None:
    assert decisive(output) == line


def test_what_is_no_clean_tree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a kernel source tree"):
        check_tree(tmp_path)
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 9\n")
    (tmp_path / "Kbuild").write_text("")
    assert check_tree(tmp_path) == (6, 12)
    (tmp_path / ".config").write_text("")
    with pytest.raises(UsageError, match="make mrproper"):
        build_tree(tmp_path, "x86_64", tmp_path / "out")
