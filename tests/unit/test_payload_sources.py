"""The C sources: their style, and what their tables say of a probe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.payload.build import payload_root, probe_list

SOURCES = sorted(payload_root().glob("*/*.[ch]"))
TABLE = payload_root() / "c" / "regions_table.h"
PROBES = {probe.id: probe for probe in probe_list()}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_lines_fit_and_the_licence_is_named(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line.expandtabs(8)) > 120] == []
    if path.parent.name in ("c", "init"):
        assert lines[0] == "/* SPDX-License-Identifier: MIT */"


def test_only_one_header_knows_the_architectures() -> None:
    """Everything else asks arch.h, which refuses an architecture it has no header for."""
    known = ("__x86_64__", "__aarch64__", "__riscv")
    naming = {
        path.name for path in SOURCES if path.parent.name in ("c", "init") and any(w in path.read_text() for w in known)
    }
    assert naming == {"arch.h"}
    assert "#else\n#error " in (payload_root() / "c" / "arch.h").read_text()


@pytest.mark.parametrize("name", ["half", "listing", "process", "raw", "regions", "report", "snapshot", "text"])
def test_what_runs_for_every_probe_formats_by_hand(name: str) -> None:
    """printf() and its like take a thousand instructions for a number; docs/internals/speed.md counts them."""
    assert "stdio.h" not in (payload_root() / "c" / f"{name}.c").read_text()


def test_the_time_is_asked_by_the_system_call() -> None:
    """On a kernel whose children lack what is sealed they may lack the vdso: such a payload died and told nothing."""
    ours = [path for path in SOURCES if path.parent.name == "c" and path.suffix == ".c"]
    assert [path.name for path in ours if re.search(r"\bclock_gettime\(C", path.read_text())] == []


def test_a_region_is_one_row_and_a_member_of_sets() -> None:
    """Its id, its row and the declaration of what makes it are made of regions_table.h, and an operation covers it."""
    rows = re.findall(r'^REGION\((\w+), (\w+),\s+\.name = "([a-z-]+)"', TABLE.read_text(), re.MULTILINE)
    assert len(rows) == TABLE.read_text().count("\nREGION(") > 70
    ids, makers, names = ({*column} for column in zip(*rows, strict=True))
    assert len(ids) == len(names) == len(rows)
    assert {probe.region for probe in PROBES.values()} >= names
    elsewhere = [path for path in SOURCES if path.name not in (TABLE.name, "ops.h") and path.suffix == ".h"]
    again = {
        (path.name, word)
        for path in elsewhere
        if path.parent.name == "c" and not path.name.startswith("explore")
        for word in re.findall(r"\w+", path.read_text())
        if word in ids | makers
    }
    assert again == set()


@pytest.mark.parametrize(
    ("probe", "needs", "uses", "traits"),
    [
        ("munmap/anon-rw/exact", set(), set(), set()),
        ("munmap/hugetlb-private-rw/exact", {"hugepages"}, set(), set()),
        ("swap-out/anon-r/exact", {"swap"}, set(), set()),
        ("madvise-pageout/anon-rw/exact", set(), {"swap"}, set()),
        ("after-pageout-munmap/anon-r/exact", set(), {"swap"}, set()),
        ("mbind-migrate/anon-r/exact", {"two-nodes"}, set(), set()),
        ("race-munmap/anon-rw/exact", {"two-cpus"}, set(), {"race"}),
        ("mseal-map-limit/anon-rw/plain", {"own-machine"}, set(), set()),
        ("mseal-32-bit/anon-rw/plain", {"32-bit-calls"}, set(), set()),
        ("munmap-tagged/anon-rw/exact", {"tagged-pointers"}, set(), set()),
        ("munmap/pkey-no-access-rw/exact", {"protection-keys"}, set(), {"unreadable"}),
        ("munmap/anon-none/exact", set(), set(), {"unreadable"}),
        ("munmap/stack-growing-rw/exact", set(), set(), {"grows"}),
        ("system-munmap/vdso-rx/single", set(), set(), {"kernel-mapping"}),
        ("fork-exec/anon-rw/exact", set(), set(), {"new-image"}),
        ("munmap/anon-bti-rx/exact", {"branch-targets"}, set(), set()),
        ("mte-mprotect/anon-rw/exact", {"memory-tags"}, set(), set()),
        ("page-zero-munmap/anon-rw/exact", {"no-memory-tags"}, set(), {"new-image"}),
        ("program32-munmap/anon-r/exact", {"32-bit-programs"}, set(), {"new-image"}),
        ("system-munmap/uprobes-x/single", set(), set(), {"kernel-mapping", "unreadable"}),
    ],
)
def test_a_probe_says_what_it_needs(probe: str, needs: set[str], uses: set[str], traits: set[str]) -> None:
    listed = PROBES[probe]
    assert (listed.needs, listed.uses, listed.traits) == (needs, uses, traits)
