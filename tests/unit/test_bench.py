"""The measuring itself: what is a QEMU, what is within limits."""

from __future__ import annotations

import json
import os
import sys

import pytest

from bench.matrix import Emulator, Measured, against_limits, as_json, as_text, emulator, measure, stage_medians
from bench.suite_once import between_marks

GOOD = Measured(0, 80.0, 3.0, 100.0, (Emulator("debian-6.12.arm64", 100.0, 250.0),))


def test_a_process_that_is_no_qemu_and_one_that_is_gone_are_none() -> None:
    assert emulator(os.getpid()) is None
    assert emulator(1 << 30) is None


def test_a_program_is_measured_with_its_status() -> None:
    done = measure([sys.executable, "-c", "sum(range(10**6)); raise SystemExit(3)"])
    assert (done.status, done.emulators, done.guests_cpu) == (3, (), 0.0)
    assert done.harness_cpu > 0
    assert done.wall > 0


@pytest.mark.parametrize(
    ("measured", "kept"),
    [
        (GOOD, [True, True, True]),
        (Measured(0, 90.0, 4.0, 100.0, (Emulator("x", 100.0, 300.0),)), [False, False, False]),
        (Measured(3, 1.0, 1.0, 0.0, ()), [True, False, True]),
    ],
)
def test_limits(measured: Measured, kept: list[bool]) -> None:
    assert [ok for _, _, ok in against_limits(measured)] == kept


def test_medians_are_of_finished_cells_by_architecture() -> None:
    cells = [
        {"arch": "arm64", "state": "finished", "seconds": {"boot": 2.0}},
        {"arch": "arm64", "state": "finished", "seconds": {"boot": 4.0, "payload": 9.0}},
        {"arch": "x86_64", "state": "lost", "seconds": {"boot": 60.0}},
    ]
    assert stage_medians({"cells": cells}) == {"arm64": {"boot": 3.0, "payload": 9.0}}


def test_both_forms_say_what_is_over() -> None:
    over = Measured(0, 120.0, 3.0, 100.0, GOOD.emulators)
    assert "OVER (under 90 s)" in as_text(over, {"arm64": {"boot": 2.0}})
    assert [limit["ok"] for limit in json.loads(as_json(over, {}))["limits"]] == [False, True, True]


def test_a_suites_time_by_the_guests_clock_is_between_its_marks() -> None:
    console = (
        "[    1.5] Run /init as init process\n"
        "[    2.250000] sealmatrix: begin munmap/anon-rw/exact and 63 more\n"
        "[   3.000000][   T12] sealmatrix: begin munmap/anon-rw/head\n"
        "[    4.750000] sealmatrix: end\n"
        "[    9.000000] reboot: Power down\n"
    )
    assert between_marks(console) == 2.5
    assert between_marks("[    1.5] Run /init as init process\n") == 0
