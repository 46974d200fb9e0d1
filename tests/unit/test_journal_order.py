"""Journals that no payload wrote: lines swapped, doubled or gone, plans that say less, another machine's word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.model.verdict import EXIT_NO_ANSWER
from harness.observations.journal import read_journal
from harness.runs.model import RunDone
from harness.runs.run_store import load_run
from tests.stored_runs import as_older
from tests.support.scripted_runs import BOOTED_RELEASE, END, PLAN, PROBES, RULES, begin, guest, run, seen, statuses

Lines = list[bytes]
PLANNED, BEGIN, SEEN, BEGIN_2, SEEN_2, ENDED = range(6)
WHOLE: Lines = [PLAN, begin(0), seen(0).splitlines(True)[1], begin(1), seen(1).splitlines(True)[1], END]


def forged(tmp_path: Path, lines: Sequence[bytes]) -> RunDone:
    """A run that ended well, and then had its journal edited."""
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, *WHOLE)})
    assert (done.exit_code, statuses(done, "a")) == (0, ["pass", "pass"])
    (tmp_path / "r/cells/a/observations.jsonl").write_bytes(b"".join(lines))
    return load_run(as_older(tmp_path / "r"), RULES)


def without(*gone: int) -> Lines:
    return [line for number, line in enumerate(WHOLE) if number not in gone]


def doubled(number: int) -> Lines:
    return [*WHOLE[: number + 1], *WHOLE[number:]]


def swapped(one: int, other: int) -> Lines:
    lines = list(WHOLE)
    lines[one], lines[other] = lines[other], lines[one]
    return lines


def ending(count: int) -> bytes:
    return json.dumps({"type": "end", "probes": count}).encode() + b"\n"


@pytest.mark.parametrize(
    ("lines", "expected", "state"),
    [
        (WHOLE, ["pass", "pass"], "finished"),
        (doubled(BEGIN), ["error", "pass"], "finished"),
        (doubled(SEEN), ["error", "pass"], "finished"),
        (doubled(SEEN_2), ["pass", "error"], "finished"),
        (doubled(ENDED), ["error", "error"], "finished"),
        (doubled(PLANNED), ["error", "error"], "finished"),
        ([*WHOLE, *WHOLE], ["error", "error"], "finished"),
        (swapped(BEGIN, SEEN), ["error", "pass"], "finished"),
        (swapped(SEEN, BEGIN_2), ["error", "error"], "finished"),
        (swapped(BEGIN, BEGIN_2), ["error", "error"], "finished"),
        (swapped(SEEN_2, ENDED), ["pass", "error"], "lost"),
        ([*without(ENDED, SEEN_2, BEGIN_2), ending(1), *WHOLE[BEGIN_2:ENDED]], ["pass", "error"], "finished"),
        ([*without(ENDED, SEEN_2, BEGIN_2), ending(1)], ["pass", "error"], "lost"),
        (without(BEGIN), ["error", "pass"], "finished"),
        (without(SEEN), ["error", "error"], "lost"),
        (without(BEGIN_2, SEEN_2), ["pass", "error"], "lost"),
        (without(BEGIN_2, SEEN_2, ENDED), ["pass", "miss"], "lost"),
        (without(ENDED), ["pass", "pass"], "lost"),
        (without(PLANNED), ["error", "error"], "lost"),
        ([], ["miss", "miss"], "lost"),
    ],
)
def test_what_no_payload_writes_is_no_answer(tmp_path: Path, lines: Lines, expected: list[str], state: str) -> None:
    done = forged(tmp_path, lines)
    assert (statuses(done, "a"), done.record.cells[0].state) == (expected, state)
    assert done.exit_code == (0 if lines == WHOLE else EXIT_NO_ANSWER)
    for verdict in done.results["a"][0].verdicts:
        assert verdict.reason or verdict.status == "pass"


def test_a_plan_that_says_less_than_the_journal(tmp_path: Path) -> None:
    """What the payload planned counts, also where the rest of it was taken out of the journal."""
    for lines, second in ((WHOLE, "pass"), (without(SEEN_2), "error"), (without(BEGIN_2, SEEN_2), "error")):
        forged(tmp_path, lines)
        plan = json.loads((tmp_path / "r/plan.json").read_text())
        (tmp_path / "r/plan.json").write_text(json.dumps(plan | {"probes": plan["probes"][:1]}))
        assert statuses(load_run(tmp_path / "r", RULES), "a") == ["pass", second]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"release": "6.6.0"}, f"the kernel 6.6.0, but the machine booted with {BOOTED_RELEASE}"),
        ({"machine": "aarch64"}, "the architecture arm64, but the machine booted with x86_64"),
        ({"page_size": 16384}, "the page size 16384, but the machine booted with 4096"),
    ],
)
def test_a_payload_that_speaks_of_another_machine(tmp_path: Path, change: dict[str, object], said: str) -> None:
    """In a stored run as in one that goes on: rules ask for the kernel, and would ask another's."""
    plan = json.dumps(json.loads(PLAN) | change).encode() + b"\n"
    live, _ = run(tmp_path / "live", {"a": guest(tmp_path, plan, *WHOLE[1:])})
    for done in (live, forged(tmp_path, [plan, *WHOLE[1:]])):
        cell = done.record.cells[0]
        assert (cell.state, cell.reason) == ("lost", f"the payload reports {said}")
        assert statuses(done, "a") == ["error", "error"]


@pytest.mark.parametrize(
    "lines", [[*WHOLE[:SEEN], *WHOLE[BEGIN_2:]], [PLAN, END], doubled(SEEN_2)[:-1], swapped(SEEN, BEGIN_2)]
)
def test_no_guest_is_believed_either(tmp_path: Path, lines: Lines) -> None:
    done, _ = run(tmp_path / "r", {"a": guest(tmp_path, *lines)})
    assert "error" in statuses(done, "a")
    assert done.exit_code == EXIT_NO_ANSWER
    assert statuses(load_run(tmp_path / "r", RULES), "a") == statuses(done, "a")


def test_a_journal_of_several_guests_is_still_read(tmp_path: Path) -> None:
    """Until 0.2 another guest could take over the rest of a plan; no guest came to the end of it then."""
    path = tmp_path / "observations.jsonl"
    note = b'{"type": "harness-guest", "guest": 2}\n'
    path.write_bytes(b"".join([*WHOLE[: BEGIN_2 + 1], note, *WHOLE[BEGIN_2:ENDED]]))
    found = read_journal(path)
    assert (list(found.observations), dict(found.doubts), found.lacks()) == ([p.id for p in PROBES], {}, "")
