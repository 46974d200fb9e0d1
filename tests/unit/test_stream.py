"""The stream's parser and the journal, given friendly and hostile bytes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import LostGuest, StoreError
from harness.observations.collector import Collector
from harness.observations.journal import Journal, read_journal
from harness.observations.model import Begin, End, Garbage, Observation, Plan, Unit
from harness.observations.stream import MAX_LINE, StreamParser, parse_line
from harness.runs.execution.payload_stream import Listener
from harness.runs.model import Workload

HALF = {
    "stage": "done",
    "result": 0,
    "errno": 0,
    "before": ["rw-p anon a0 a -"],
    "after": ["-"],
    "write": "-",
    "mprotect": [12],
    "munmap": [0],
}
SEEN = {
    "type": "observation",
    "probe": "munmap/anon-rw/exact",
    "layout": "S",
    "unit": 4096,
    "microseconds": 12,
    "control": HALF,
    "sealed": HALF | {"seal": [0], "result": -1, "errno": 1},
}
PLAN = {
    "type": "plan",
    "stream": 1,
    "payload": "c",
    "id": "0123456789abcdef",
    "machine": "x86_64",
    "release": "6.12.1",
    "page_size": 4096,
    "pid1": False,
    "features": {"mseal": 0},
    "probes": ["munmap/anon-rw/exact"],
}


def encode(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def parse(data: bytes, step: int = 7) -> list[object]:
    parser = StreamParser()
    found = [r for i in range(0, len(data), step) for _, r in parser.feed(data[i : i + step])]
    return found + [r for _, r in parser.close()]


def test_records() -> None:
    plan, begin, seen, end = parse(encode(PLAN, {"type": "begin", "probe": "x"}, SEEN, {"type": "end", "probes": 1}))
    assert isinstance(plan, Plan)
    assert begin == Begin("x")
    assert isinstance(seen, Observation)
    assert seen.control.units_before == (Unit("rw-p", "anon", "a0", "a", "-"),)
    assert seen.control.units_after == (None,)
    assert (seen.control.said, seen.sealed.said) == ("0", "EPERM")
    assert end == End(1)


@pytest.mark.parametrize(
    "broken",
    [
        SEEN | {"layout": "SS"},
        SEEN | {"layout": "x"},
        SEEN | {"verdict": "pass"},
        SEEN | {"control": HALF | {"before": ["rwx"]}},
        SEEN | {"control": HALF | {"errno": "EPERM"}},
        SEEN | {"control": HALF | {"stage": "ok"}},
        {k: v for k, v in SEEN.items() if k != "sealed"},
        {"type": "verdict", "status": "pass"},
        {"status": "pass"},
        ["observation"],
        7,
    ],
)
def test_what_is_not_a_record_is_garbage(broken: object) -> None:
    assert isinstance(parse_line(json.dumps(broken).encode()), Garbage)


COMPACT = json.dumps(SEEN, separators=(",", ":")).encode()


def test_halves_that_are_alike_are_read_once() -> None:
    first, second = (parse_line(COMPACT.replace(b"munmap/", name)) for name in (b"a/", b"b/"))
    assert isinstance(first, Observation) and isinstance(second, Observation)
    assert (first.probe, second.probe) == ("a/anon-rw/exact", "b/anon-rw/exact")
    assert first.control is second.control
    assert first.sealed is second.sealed
    assert first == replace(second, probe=first.probe)


PIECES = (
    b'"',
    b"{",
    b"}",
    b",",
    b"\\",
    b"0",
    b"-",
    b'},"sealed":{',
    b'"probe":"x",',
    b'"extra":{"a":1},',
    b"\xff",
    b"",
)


@given(st.lists(st.tuples(st.integers(0, len(COMPACT)), st.integers(0, 8), st.sampled_from(PIECES)), max_size=3))
def test_an_observation_is_read_by_halves_as_it_is_as_a_whole(changes: list[tuple[int, int, bytes]]) -> None:
    line = COMPACT
    for place, gone, piece in changes:
        line = line[:place] + piece + line[place + gone :]
    by_halves = parse_line(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.observations.stream._observation", lambda _line: None)
        assert by_halves == parse_line(line)


@pytest.mark.parametrize(
    "line",
    [
        COMPACT.replace(b'"unit":4096', b'"unit":04096'),
        COMPACT.replace(b'"layout":"S"', b'"layout":"SS"'),
        COMPACT.replace(b'"layout":"S"', b'"layout":"x"'),
        COMPACT.replace(b'"before":["rw-p anon a0 a -"]', b'"before":["rwx"]'),
        COMPACT.replace(b"}}", b'},"sealed":{}}'),
        COMPACT[:-1],
        COMPACT + b"}",
    ],
)
def test_an_observation_that_is_none_is_garbage_in_the_payloads_form_too(line: bytes) -> None:
    assert isinstance(parse_line(line), Garbage)


def test_the_end_of_a_long_plan_is_looked_at_once() -> None:
    """It took time by the square of the plan's length."""
    names = [f"munmap/anon-{i}/exact" for i in range(20_000)]
    collector = Collector()
    collector.add(parse_line(json.dumps(PLAN | {"probes": names}).encode()))
    collector.observations |= dict.fromkeys(names, seen("x"))
    begun = time.process_time()
    collector.add(End(len(names)))
    assert time.process_time() - begun < 1
    assert collector.ended
    assert not collector.doubts


def test_a_cut_off_record_is_garbage() -> None:
    assert [type(r) for r in parse(encode(SEEN)[:-1])] == [Garbage]


def test_an_endless_line_is_bounded_and_the_next_line_is_read() -> None:
    parser = StreamParser()
    found = [r for _ in range(3) for _, r in parser.feed(b"x" * MAX_LINE)]
    found += [r for _, r in parser.feed(b"x\n" + encode({"type": "end", "probes": 0}))]
    assert [type(r) for r in found] == [Garbage, End]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_survived_and_excerpts_are_printable(data: bytes, step: int) -> None:
    for record in parse(data, step):
        if isinstance(record, Garbage):
            assert record.excerpt.isprintable()


def test_what_comes_together_is_written_together_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr("os.write", lambda fd, data: (written.append(bytes(data)), write(fd, data))[1])
    path = tmp_path / "observations.jsonl"
    first, second = encode({"type": "begin", "probe": "a"}), COMPACT + b"\n"
    workload = Workload("c", "0123456789abcdef", "", b"", (), ())
    with Journal(path) as journal:
        listener = Listener(workload, journal, lambda: None)
        listener.feed(first + second + second[:40])
        assert written == [first + second], "what has come is on its way to the disk, and an unfinished line waits"
        listener.feed(second[40:] + b"nonsense\n" + first)
        with pytest.raises(LostGuest, match="reports id x"):
            listener.feed(first + encode(PLAN | {"id": "x"}) + second)
    kept = path.read_bytes().splitlines(keepends=True)
    assert [kept[0], kept[1], kept[2]] == [first, second, second]
    assert json.loads(kept[3])["type"] == "harness-garbage"
    assert kept[4:] == [first, first, encode(PLAN | {"id": "x"})]


def test_journal_survives_being_cut(tmp_path: Path) -> None:
    path = tmp_path / "observations.jsonl"
    with Journal(path) as journal:
        for line in encode(PLAN, {"type": "begin", "probe": "munmap/anon-rw/exact"}, SEEN).splitlines():
            journal.line(line)
        journal.note("lost", reason="QEMU was killed\x1b[0m")
    whole = read_journal(path)
    assert set(whole.observations) == {"munmap/anon-rw/exact"}
    assert [note["type"] for note in whole.notes] == ["harness-lost"]
    assert not whole.ended
    path.write_bytes(path.read_bytes()[:-60])
    assert len(read_journal(path).garbage) == 1


def test_the_first_observation_stands_and_a_wrong_count_is_no_end() -> None:
    collector = Collector()
    for _, record in StreamParser().feed(encode(PLAN, SEEN, SEEN | {"microseconds": 99}, {"type": "end", "probes": 2})):
        collector.add(record)
    found = collector.journalled()
    assert found.observations["munmap/anon-rw/exact"].microseconds == 12
    assert len(found.garbage) == 1
    assert not found.ended


def begin(probe: str, lane: int | None = None) -> Begin:
    return Begin(probe, lane)


def seen(probe: str) -> Observation:
    found = parse_line(json.dumps(SEEN | {"probe": probe}).encode())
    assert isinstance(found, Observation)
    return found


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([begin("a", 0), begin("b", 1), seen("b"), begin("c", 1), seen("a"), seen("c"), begin("d")], ""),
        ([begin("a"), seen("a"), begin("c"), seen("c")], ""),
        ([begin("b", 0), seen("b"), begin("a", 0)], "begun after b, which the plan has later"),
        ([begin("a", 0), begin("b", 0)], "begun before a was observed"),
        ([begin("a", 2)], "begun in lane 2 of 2"),
        ([begin("z", 0)], "begun but not planned"),
    ],
)
def test_a_lane_keeps_to_the_plan(records: list[Begin | Observation], why: str) -> None:
    collector = Collector()
    plan = parse_line(json.dumps(PLAN | {"probes": ["a", "b", "c", "d"], "lanes": 2}).encode())
    assert isinstance(plan, Plan)
    for record in (plan, *records):
        collector.add(record)
    assert [garbage.reason for garbage in collector.garbage] == ([why] if why else [])
    # Whatever was wrong, what had begun and was not observed is no miss.
    assert set(collector.begun) == {record.probe for record in records if isinstance(record, Begin)}


def test_a_disk_that_is_full_is_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this machine has no /dev/full")
    journal = Journal(full)
    with pytest.raises(StoreError, match="No space left"):
        journal.line(b"x")
