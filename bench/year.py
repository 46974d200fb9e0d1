#!/usr/bin/env python3
"""A year of nights with planted regressions, through the real store, history and site; only the guests are scripted.

    bench/year.py                                365 nights of 55 cells, twelve regressions
    bench/year.py --nights 60 --probes 300       a smaller one
    bench/year.py --json

The data are generated and true to the schemas: every cell answers each probe as the payload writes it. A third of the
entries follow a suite and have a new build about once a week; a regression begins with a new build of its cells, and
ends with another. Now and then a guest answers wrongly once, or is lost once: neither is a regression. Results are
pruned after each night by the rules of `sealmatrix results prune`. Prints what became of the planted regressions, the
room, and the slowest of each kind of night, with the limits beside them. Exit status: 0 within, 1 over.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.reports import Limit, Size, probe_name, rules
from harness.guests.model import Booted, Event, Exited, Output
from harness.history.database import database_url, reading
from harness.history.queries import rule_history, runs
from harness.history.regressions import Regression, regressions
from harness.kernels.store import Store
from harness.matrix.model import Profile
from harness.model.architectures import this_arch
from harness.model.rule import ProbeName
from harness.model.run_record import CellRecord, KernelRecord, MachineRecord, RunRecord
from harness.nightly.conclude import conclude
from harness.nightly.marks import nights
from harness.nightly.model import Night, NothingNew, Wanted
from harness.nightly.night import begin, end, nothing_new, observe, plan_night
from harness.nightly.prune import Keep, nights_on_disk, remove, to_remove
from harness.payload.build import build
from harness.reports.site import build_site
from harness.reports.write import write_reports
from harness.runs.execution.run import execute
from harness.runs.judges import catalogue_digest
from harness.runs.model import Cell, RunDone, Workload
from harness.runs.packing import pack_run
from harness.runs.plan import RunPlan
from harness.runs.planning.compose import Composed
from harness.verdicts.judge import Assignment, assign

ROOM = Limit("results, store, history and site", 4000, "MB")
QUIET = Limit("slowest night in which nothing is new", 10, "s")
ASKED = Limit("a rule over all runs", 0.3, "s")
SITE = Limit("the pages of all runs", 60, "s")
LIMITS = (ROOM, QUIET, ASKED, SITE)
UNITS = ["rw-p anon a0 a s", "rw-p anon a1 a s", "rw-p anon a2 a s"]
CONTROL: dict[str, Any] = {
    "stage": "done", "result": 0, "errno": 0, "before": UNITS, "after": ["-", "-", "-"], "write": "---",
    "mprotect": [12, 12, 12], "munmap": [0, 0, 0],
}  # fmt: skip
SEALED: dict[str, Any] = {
    "stage": "done", "seal": [0], "result": -1, "errno": 1, "before": UNITS, "after": UNITS, "write": "www",
    "mprotect": [1, 1, 1], "munmap": [1, 1, 1],
}  # fmt: skip
FIRST = datetime(2026, 1, 1, 2, 17, tzinfo=UTC)
BEGAN_LATE = 3
"""Nights by which a regression may be opened after it began: its cell may be lost in between."""


@dataclass(frozen=True)
class Planted:
    """A defect: the rule it breaks on some cells, from one night to another (the first without it)."""

    rule: int
    cells: tuple[int, ...]
    begins: int
    ends: int


@dataclass(frozen=True)
class Year:
    """What is to happen. ``builds`` say in which nights each cell has a new build."""

    size: Size
    nights: int
    seed: int

    @cached_property
    def planted(self) -> tuple[Planted, ...]:
        """Twelve, each of a rule of its own, that begin and end within the year where it is long enough."""
        draw = random.Random(self.seed)
        breakable = [number for number in range(self.size.rules) if number % 10 != 9]
        found = []
        for rule in draw.sample(breakable, 12):
            begins = draw.randrange(1, max(self.nights - 10, 2))
            cells = tuple(sorted(draw.sample(range(self.size.cells), draw.randrange(1, 6))))
            found.append(Planted(rule, cells, begins, begins + draw.randrange(2, 60)))
        return tuple(found)

    @cached_property
    def builds(self) -> Mapping[int, Sequence[int]]:
        """By cell: the nights in which it has a new build."""
        draw = random.Random(self.seed + 1)
        found = {}
        for cell in range(self.size.cells):
            moves = cell % 3 == 0
            new = {night for night in range(1, self.nights) if moves and draw.random() < 1 / 7}
            for one in self.planted:
                new |= {one.begins, one.ends} if cell in one.cells else set()
            found[cell] = sorted(new)
        return found

    def build(self, cell: int, night: int) -> int:
        """How many builds a cell has had."""
        return sum(begun <= night for begun in self.builds[cell])

    def broken(self, cell: int, night: int) -> frozenset[int]:
        """The rules that a cell breaks in a night."""
        return frozenset(one.rule for one in self.planted if cell in one.cells and one.begins <= night < one.ends)


@dataclass
class Journals:
    """What a payload says, by the rules that are broken. The lines of each probe are made once."""

    size: Size
    good: list[bytes] = field(default_factory=list)
    bad: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number in range(self.size.probes):
            name = probe_name(number, self.size)
            start = json.dumps({"type": "begin", "probe": name}).encode() + b"\n"
            extra = {"extra": {"place": number * 2 // 3}}
            seen = {"type": "observation", "probe": name, "layout": "SSS", "unit": 4096, "microseconds": 2000 + number}
            for lines, half in ((self.good, SEALED), (self.bad, SEALED | {"result": 0, "errno": 0})):
                told = seen | {"control": CONTROL | extra, "sealed": half | extra}
                lines.append(start + json.dumps(told, separators=(",", ":")).encode() + b"\n")

    def script(self, release: str, broken: frozenset[int], *, upto: int | None = None) -> Iterator[bytes]:
        """The stream of a cell; of ``upto`` probes only, where its guest is lost then."""
        names = [probe_name(number, self.size) for number in range(self.size.probes)]
        plan = {"type": "plan", "stream": 1, "payload": "c", "id": "id", "machine": "x86_64", "release": release,
                "page_size": 4096, "pid1": False, "probes": names}  # fmt: skip
        yield json.dumps(plan).encode() + b"\n"
        for number in range(self.size.probes if upto is None else upto):
            yield (self.bad if number % self.size.rules in broken else self.good)[number]
        if upto is None:
            yield json.dumps({"type": "end", "probes": self.size.probes}).encode() + b"\n"


@dataclass
class Scripted:
    """A guest that says what it is told to."""

    script: Iterator[bytes]
    release: str
    console: Path

    def boot(self) -> Booted:
        """Come up."""
        self.console.write_text("")
        return Booted(
            release=self.release, machine="x86_64", page_size=4096, cmdline="", acceleration="tcg",
            acceleration_reason="generated", boot_seconds=0.01,
        )  # fmt: skip

    def push(self, name: str, _content: bytes, _mode: int = 0o755) -> str:
        """Take anything."""
        return f"/work/{name}"

    def run(self, _argv: Sequence[str]) -> Iterator[Event]:
        """Say it."""
        for lines in self.script:
            yield Output("out", lines)
        yield Exited(0, None)

    def stop(self) -> None:
        """Nothing is left."""


@dataclass
class Nights:
    """The year as it goes."""

    year: Year
    folder: Path
    kept: Keep
    journals: Journals = field(init=False)
    assignment: Assignment = field(init=False)
    planned: tuple[ProbeName, ...] = field(init=False)
    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        size = self.year.size
        self.journals = Journals(size)
        self.catalogue = {rule.id: rule for rule in rules(size)}
        parts = (probe_name(number, size).split("/") for number in range(size.probes))
        self.planned = tuple(ProbeName(operation, region, span, "SSS") for operation, region, span in parts)
        self.assignment = assign(self.catalogue, self.planned)

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.folder / "results"

    def go(self, number: int) -> None:
        """One night, as `sealmatrix nightly` makes it, and what `results prune` removes after it."""
        now = (FIRST + timedelta(days=number)).isoformat(timespec="seconds")
        wanted, whole = Wanted(selection="nightly"), self._composed(number)
        begun = time.monotonic()
        planned = plan_night(wanted, whole, now)
        ended: Night | NothingNew | None = nothing_new(wanted, planned, begun, now)
        if ended is None:
            done = observe(wanted, begin(wanted, planned), whole, _run)
            write_reports(done)
            ended = conclude(wanted, done, self.catalogue, 1.0, now)
            pack_run(done.folder)
            end(ended)
        (self.quiet if isinstance(ended, NothingNew) else self.busy).append(time.monotonic() - begun)
        with reading(database_url(self.results)) as connection:
            opened = [one.opened_run for one in regressions(connection)]
        remove(to_remove(nights_on_disk(self.results), self.kept, opened))

    def _composed(self, number: int) -> Composed:
        year, size = self.year, self.year.size
        run = f"{FIRST + timedelta(days=number):%Y%m%d-%H%M%S}-0000"
        cells = [Cell(f"kernel-{cell}.x86_64", "x86_64", Profile("standard"), None) for cell in range(size.cells)]
        records = tuple(self._record(cell, number) for cell in range(size.cells))
        record = RunRecord(
            id=run, state="running", started=(FIRST + timedelta(days=number)).isoformat(timespec="seconds"),
            sealmatrix="0", command=("sealmatrix", "nightly"), options={}, host={}, matrix={}, payload="c",
            payload_id="id", catalogue_sha256=catalogue_digest(), jobs=2, cells=records,
        )  # fmt: skip
        load = Workload("payload", "id", "0" * 64, b"ELF", (), self.planned)
        plan = RunPlan(
            self.results / run, record, tuple(cells), {"x86_64": load}, self.assignment, 2,
            keys={told.id: told.key for told in records},
        )  # fmt: skip
        draw = random.Random(f"{year.seed} {number}")

        def make(cell: Cell, folder: Path) -> Scripted:
            index = int(cell.id.partition(".")[0].removeprefix("kernel-"))
            broken, upto = year.broken(index, number), None
            if "~" not in cell.id and draw.random() < 0.03:  # once: the second guest answers as it should
                if draw.random() < 0.5:
                    upto = size.probes // 2
                else:
                    broken |= {draw.randrange(0, size.rules - 1)}
            release = self._release(index, number)
            return Scripted(self.journals.script(release, broken, upto=upto), release, folder / "console.log")

        return Composed(plan, make)

    def _release(self, cell: int, night: int) -> str:
        return f"6.{cell}.{self.year.build(cell, night)}-generated"

    def _record(self, cell: int, night: int) -> CellRecord:
        release = self._release(cell, night)
        digest = sha256(release.encode()).hexdigest()
        kernel = KernelRecord(
            name=f"kernel-{cell}", release=release, version=release.partition("-")[0], arch="x86_64", flavour="cloud",
            sha256=digest, image_format="vmlinux", config_sha256="", origin_kind="file", origin="generated",
        )  # fmt: skip
        return CellRecord(
            id=f"kernel-{cell}.x86_64", profile="standard", arch="x86_64", payload_sha256="0" * 64, kernel=kernel,
            machine=MachineRecord(guest="qemu", smp=1, memory=256, boot=()), key=digest[:40],
        )  # fmt: skip


def _run(composed: Composed) -> RunDone:
    return execute(composed.plan, composed.make_guest, lambda told: None)


@dataclass(frozen=True)
class Found:
    """What became of the planted regressions."""

    planted: int
    opened: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    false: tuple[str, ...]
    unended: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Each opened once, none lost, none false, each that ended fixed."""
        return not (self.lost or self.twice or self.false or self.unended)


def judged(year: Year, known: Sequence[Regression]) -> Found:
    """Hold what the nights opened against what was planted."""
    names = [rule.id for rule in rules(year.size)]
    lost, twice, unended, mine = [], [], [], set()
    for one in year.planted:
        told = f"{names[one.rule]} on {len(one.cells)} cells from night {one.begins}"
        found = [r for r in known if names[one.rule] in r.rules]
        mine |= {r.number for r in found}
        if not found:
            lost.append(told)
        if len(found) > 1:
            twice.append(f"{told}: {', '.join(r.name for r in found)}")
        for r in found:
            night = (datetime.strptime(r.opened_run[:8], "%Y%m%d").replace(tzinfo=UTC) - FIRST).days + 1
            whole = set(r.cells) == {f"kernel-{cell}.x86_64" for cell in one.cells}
            if not one.begins <= night <= one.begins + BEGAN_LATE or not whole:
                lost.append(f"{told}: {r.name} was opened in night {night} on {', '.join(r.cells)}")
            if one.ends + BEGAN_LATE < year.nights and r.state != "fixed":
                unended.append(f"{told}: {r.name} is {r.state}")
    false = [f"{r.name} {r.kind} {r.sentence} on {', '.join(r.cells)}" for r in known if r.number not in mine]
    return Found(len(year.planted), len(known), tuple(lost), tuple(twice), tuple(false), tuple(unended))


@dataclass(frozen=True)
class Measured:
    """Everything that was measured."""

    found: Found
    nights: int
    runs: int
    quiet_nights: int
    busy_seconds: float
    values: Mapping[str, float]

    @property
    def kept(self) -> bool:
        """Whether all limits hold."""
        return self.found.kept and all(self.values[limit.name] <= limit.most for limit in LIMITS)


def measured(year: Year, folder: Path, kept: Keep) -> Measured:
    """Let a year go by in ``folder``."""
    going = Nights(year, folder, kept)
    for number in range(year.nights):
        going.go(number)
        if sys.stderr.isatty() or number % 30 == 29:
            sys.stderr.write(f"night {number + 1} of {year.nights}\n")
    url = database_url(going.results)
    with reading(url) as connection:
        known = regressions(connection)
        recorded = len(runs(connection, None))
        begun = time.monotonic()
        rule_history(connection, next(iter(going.catalogue)))
        asked = time.monotonic() - begun
        begun = time.monotonic()
        build_site(connection, folder / "site", going.catalogue, 200)
        site = time.monotonic() - begun
    told = [p.lstat() for part in ("results", "cache/finished", "site") for p in (folder / part).rglob("*")]
    room = sum(one.st_size / one.st_nlink for one in told if stat.S_ISREG(one.st_mode)) / 1e6
    values = {ROOM.name: room, QUIET.name: max(going.quiet, default=0.0), ASKED.name: asked, SITE.name: site}
    done = sum(1 for _ in nights(going.results, "nightly"))
    found = judged(year, known)
    sys.stderr.write(f"{done} nights are still in {going.results.name}\n")
    return Measured(found, year.nights, recorded, len(going.quiet), max(going.busy), values)


def as_text(told: Measured) -> str:
    """For a person."""
    found = told.found
    lines = [
        f"{told.nights} nights, {told.runs} runs, {told.quiet_nights} nights without one; "
        f"slowest other night {told.busy_seconds:.1f} s",
        f"regressions: {found.planted} planted, {found.opened} opened; {'ok' if found.kept else 'OVER'}",
    ]
    for what in ("lost", "twice", "false", "unended"):
        lines += [f"  {what}: {one}" for one in getattr(found, what)]
    for limit in LIMITS:
        value = told.values[limit.name]
        verdict = "ok" if value <= limit.most else "OVER"
        lines.append(f"{limit.name:<40}{value:>9.2f} {limit.unit:<3} {verdict} (at most {limit.most:g})")
    return "\n".join(lines)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=365)
    parser.add_argument("--cells", type=int, default=55)
    parser.add_argument("--probes", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    year = Year(Size(words.cells, words.probes, 99, 0), words.nights, words.seed)
    with tempfile.TemporaryDirectory(prefix="sealmatrix-year-") as folder:
        cache = Path(folder) / "cache"
        build(this_arch())
        cache.mkdir()
        (cache / "payload").symlink_to(Store().root / "payload")  # reports name probes, and would compile it
        os.environ["SEALMATRIX_CACHE"] = str(cache)
        told = measured(year, Path(folder), Keep())
    sys.stdout.write((json.dumps(asdict(told), indent=1) if words.json else as_text(told)) + "\n")
    return 0 if told.kept else 1


if __name__ == "__main__":
    sys.exit(main())
