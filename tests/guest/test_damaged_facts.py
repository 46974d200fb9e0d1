"""What a half scribbled over the facts it shares with the engine spoils no line: it is told as a difference."""

from __future__ import annotations

import json
import platform
import subprocess
from functools import cache
from pathlib import Path

import pytest

from harness.observations.model import Observation
from harness.observations.stream import parse_line
from harness.payload import compile_static
from harness.payload.build import payload_root
from tests.support.payload_here import ARCH

SPOILING = {*map(chr, range(32)), '"', "\\", *map(chr, range(127, 256))}


@cache
def lines() -> list[bytes]:
    if platform.machine() not in ARCH:
        pytest.skip(f"no payload for a {platform.machine()} machine")
    sources = [Path(__file__).with_name("damaged_facts.c"), payload_root() / "c" / "report.c"]
    writer = compile_static(sources, ARCH[platform.machine()], "damaged-facts")
    return subprocess.run([writer], capture_output=True, timeout=60, check=True).stdout.splitlines()


def test_any_byte_of_a_fact_makes_a_line_that_is_read() -> None:
    for byte, line in enumerate(lines()[:256]):
        one = "?" if chr(byte) in SPOILING else chr(byte)
        backing, data = (f"a{one}on", f"a{one}") if byte else ("a", "a")  # a text ends where it says so
        half = json.loads(line)["sealed"]
        assert half["after"] == ["rw-p anon a0 a s", f"r{one}-p {backing} {data} {one} {one}"]
        assert half["divided"] == ["..", f".{one}"]
        assert half["seal"] == [0]


def test_a_damaged_fact_is_told_as_a_difference() -> None:
    for byte, line in enumerate(lines()[256:512]):
        if byte and chr(byte) in SPOILING:
            one = parse_line(line)
            assert isinstance(one, Observation), one
            assert one.sealed.after[1] == "rw-p a?on a0 ? ?" != one.control.after[1]


def test_a_half_that_lost_count_of_its_seals_tells_more_than_there_can_be() -> None:
    assert len(lines()) == 515
    for line in lines()[512:]:
        one = parse_line(line)
        assert isinstance(one, Observation)
        assert len(one.sealed.seal) == 9
