from __future__ import annotations

import json

import pytest

from harness.errors import BuildError
from harness.payload import ProbeInfo, build, payload_root, probe_list
from harness.payload.build import parse_list

LINE = {
    "probe": "munmap/anon-rw/into",
    "family": "munmap",
    "operation": "munmap",
    "region": "anon-rw",
    "span": "into",
    "layout": "pPSs",
}


def test_parse_list() -> None:
    assert parse_list(json.dumps(LINE) + "\n") == (
        ProbeInfo("munmap/anon-rw/into", "munmap", "munmap", "anon-rw", "into", "pPSs"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("not json\n", "line 1: not a probe"),
        ("[1, 2]\n", "line 1: not a probe"),
        ("17\n", "line 1: not a probe"),
        (json.dumps({**LINE, "layout": 3}), "line 1: not a probe"),
        (json.dumps({k: v for k, v in LINE.items() if k != "span"}), "line 1: not a probe"),
        (json.dumps(LINE) + "\n" + json.dumps(LINE) + "\n", r"line 2: munmap/anon-rw/into comes twice"),
        (json.dumps(LINE) + '\n{"probe": "x', "line 2: not a probe"),
    ],
)
def test_parse_list_refuses(text: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        parse_list(text)


def test_build_is_the_same_twice_and_knows_its_probes() -> None:
    one, two = build("x86_64"), build("x86_64")
    assert one == two
    assert one.path.name == "payload"
    assert len(one.id) == 16
    assert len(one.sha256) == 64
    assert one.probes == probe_list()


def test_architectures_differ_in_bytes_only() -> None:
    x86, arm = build("x86_64"), build("arm64")
    assert x86.sha256 != arm.sha256
    assert (x86.id, x86.probes, x86.compiler) == (arm.id, arm.probes, arm.compiler)


def test_the_program_knows_its_id() -> None:
    payload = build("x86_64")
    assert payload.id.encode() in payload.path.read_bytes()


class TestProbes:
    """What the tables promise, whatever is in them."""

    def test_ids_are_made_of_their_parts(self) -> None:
        for probe in probe_list():
            assert probe.id == f"{probe.operation}/{probe.region}/{probe.span}"

    def test_a_span_has_one_layout(self) -> None:
        assert len({(p.span, p.layout) for p in probe_list()}) == len({p.span for p in probe_list()})

    def test_the_covered_units_are_contiguous(self) -> None:
        for layout in {p.layout for p in probe_list()}:
            covered = "".join("x" if c.isupper() else " " for c in layout).strip()
            assert covered, layout
            assert " " not in covered, layout
            assert set(layout.lower()) <= set("psg"), layout
            assert len(layout) <= 8, layout

    def test_only_operations_that_seal_or_map_do_without_a_seal(self) -> None:
        sealing = {"mseal", "fork-mseal", "vfork-mseal"}
        for probe in probe_list():
            if "s" not in probe.layout.lower():
                # What the kernel maps by itself it seals by itself, or not at all.
                assert probe.operation in sealing or probe.operation.startswith(
                    ("mseal-", "thread-mseal", "system-", "consumer-", "program32-mseal")
                ), probe.id

    def test_no_selftest_is_listed(self) -> None:
        assert not [p for p in probe_list() if p.family == "selftest"]

    def test_every_family_of_the_contract_is_there(self) -> None:
        assert {p.family for p in probe_list()} == {
            "arguments", "munmap", "mmap-fixed", "mprotect", "mremap", "madvise", "process-madvise", "fork", "heap",
            "rings", "shm", "pages", "userfaultfd", "force", "file", "threads", "system", "sequences", "races",
            "consumers", "program32",
        }  # fmt: skip


def test_sources_are_found_in_the_checkout() -> None:
    assert (payload_root() / "c" / "main.c").is_file()
