#!/usr/bin/env python3
"""Kill a nightly with real guests at random times, and see that the next call ends it: nothing lost, nothing twice.

    bench/killed.py                       20 kills of a night of two cells
    bench/killed.py --kills 3 --seed 7    fewer, at other times
    bench/killed.py --before debian-6.12.117 --after bzImage        other kernels, or images: what changes in the night

A first night runs two cells. Then one entry becomes another kernel, on which mseal is missing, and the second night is
killed with SIGKILL after a time that is drawn between its start and its end; each kill begins with the first night's
results and with no answer kept since. After the second call: one run more, every cell answered, no guest booted for a
cell that had its verdicts, one regression, one line of the history, no process left. Exit status: 0 all held, 1 not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness.history.database import database_url, reading
from harness.history.queries import runs
from harness.history.regressions import regressions
from harness.kernels.store import default_root
from harness.model.run_record import RunRecord, read_run
from harness.nightly.marks import nights
from harness.runs.repeats import first_id

SEALMATRIX = [sys.executable, "-m", "harness"]
ROOT = Path(__file__).resolve().parent.parent
MATRIX = """\
version: 1
kernels:
  moves: {{{moves}, architectures: [x86_64]}}
  stays: {{source: debian, suites: [trixie], release: 6.12, architectures: [x86_64]}}
profiles:
  standard: {{}}
selections:
  nightly:
    kernels: [moves, stays]
    probes: [munmap/anon-rw/exact, mprotect-none/anon-r/exact, "mseal-page/*"]
"""
OLD = "source: debian, suites: [trixie], release: 6.12"
NEW = "source: debian, suites: [bookworm], release: 6.1"


@dataclass(frozen=True)
class Place:
    """Where the nights are made: a cache that has everything but finished cells, a matrix, results."""

    folder: Path

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.folder / "results"

    def prepare(self) -> None:
        """Borrow what the user's cache has, but for answers."""
        (self.folder / "cache").mkdir(parents=True)
        for part in default_root().iterdir():
            if part.name not in ("finished", "work"):
                (self.folder / "cache" / part.name).symlink_to(part)

    def moves_to(self, source: str) -> None:
        """What the entry that moves is."""
        (self.folder / "kernels.yaml").write_text(MATRIX.format(moves=source))

    def start(self) -> subprocess.Popen[bytes]:
        """Begin a night."""
        words = ["nightly", "-q", "--sample", "0", "--scale", "4", "-f", str(self.folder / "kernels.yaml")]
        environment = os.environ | {"SEALMATRIX_CACHE": str(self.folder / "cache")}
        with (self.folder / "said").open("wb") as said:
            return subprocess.Popen(
                [*SEALMATRIX, *words, "--offline", "--results", str(self.results)],
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=ROOT,
            )  # fmt: skip

    def whole(self) -> int:
        """A night to its end; returns its exit status."""
        return self.start().wait()

    @property
    def said(self) -> str:
        """What the last night printed."""
        return (self.folder / "said").read_text(errors="replace")

    def guests(self) -> int:
        """How many emulators of ours are left."""
        found = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += b"qemu-system" in (words := path.read_bytes()) and str(self.folder).encode() in words
            except OSError:
                continue
        return found


def keep(place: Place) -> None:
    """Keep the first night's results and answers, to begin each kill with."""
    shutil.copytree(place.folder / "cache/finished", place.folder / "kept/finished")
    shutil.copytree(place.results, place.folder / "kept/results")


def restore(place: Place) -> None:
    """Begin again after the first night."""
    for name, target in (("finished", place.folder / "cache/finished"), ("results", place.results)):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(place.folder / "kept" / name, target)


def killed(place: Place, seconds: float) -> bool:
    """A night that is killed after so many seconds; says whether it was still going on."""
    process = place.start()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def answered(results: Path) -> dict[str, RunRecord]:
    """The runs of the folder."""
    return {path.parent.name: read_run(path.parent) for path in results.glob("*/run.json")}


def faults(place: Place, before: dict[str, RunRecord], status: int) -> list[str]:
    """What does not hold after the second call. ``before`` are the runs as the kill left them."""
    after = answered(place.results)
    told = [f"exit status {status}: {place.said[-300:]}"] if status not in (0, 1) else []
    done = [mark for _, mark in nights(place.results, "nightly")]
    if [mark.state for mark in done] != ["done", "done"] or len(after) != 2:
        told.append(f"{len(after)} runs, nights {[mark.state for mark in done]}")
    for name, run in after.items():
        if unanswered := [cell.id for cell in run.cells if cell.state != "finished"]:
            told.append(f"{name}: {unanswered} have no answer")
        if sorted({first_id(cell.id) for cell in run.cells}) != ["moves.x86_64", "stays.x86_64"]:
            told.append(f"{name}: cells {[cell.id for cell in run.cells]}")
        finished = {cell.id: cell for cell in before[name].cells if cell.state == "finished"} if name in before else {}
        told += [
            f"{name}: {cell.id} had its verdicts and was run again"
            for cell in run.cells
            if cell.id in finished and cell.started != finished[cell.id].started
        ]
    with reading(database_url(place.results)) as connection:
        recorded = [run.id for run in runs(connection)]
        found = regressions(connection)
    if sorted(recorded) != sorted(after):
        told.append(f"the history has the runs {recorded}")
    if [one.cells for one in found] != [("moves.x86_64",)]:
        told.append(f"regressions {[(one.name, one.sentence, one.cells) for one in found]}")
    if len(found) == 1 and sum(what.startswith("opened") for _, _, what in found[0].events) != 1:
        told.append(f"{found[0].name} was opened twice: {found[0].events}")
    if f"new: {found[0].name} " not in place.said and f"nothing new since {max(after)}" not in place.said:
        told.append(f"the news are {place.said}")
    if left := place.guests():
        told.append(f"{left} guests are left")
    return told


def main() -> int:
    """Kill, and look."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--before", default=OLD, help="what the entry is in the first night, as kernels.yaml says it")
    parser.add_argument("--after", default=NEW, help="and in the second")
    words = parser.parse_args()
    draw = random.Random(words.seed)
    with tempfile.TemporaryDirectory(prefix="sealmatrix-killed-") as name:
        place = Place(Path(name))
        place.prepare()
        place.moves_to(words.before)
        if (status := place.whole()) != 0:
            print(f"the first night ended with {status}:\n{place.said}")
            return 1
        keep(place)
        place.moves_to(words.after)
        begun = time.monotonic()
        place.whole()
        length = time.monotonic() - begun
        news = [line for line in place.said.splitlines() if line.startswith(("nightly ", "new: "))]
        print(f"a night takes {length:.1f} s: {'; '.join(news)}", flush=True)
        wrong = number = 0
        while number < words.kills:
            restore(place)
            after = draw.uniform(0.0, length)
            if not killed(place, after):
                continue  # it had ended
            number += 1
            before = answered(place.results)
            left = place.guests()
            states = {run: [c.state for c in told.cells] for run, told in before.items() if run not in _first(place)}
            found = faults(place, before, place.whole())
            wrong += bool(found)
            where = json.dumps(next(iter(states.values()), "no run yet"))
            print(f"{number:>3} killed after {after:5.2f} s (cells {where}), {left} guests a moment later: "
                  f"{'ok' if not found else '; '.join(found)}", flush=True)  # fmt: skip
    print(f"{words.kills} kills, {wrong} after which something was lost or twice")
    return int(wrong > 0)


def _first(place: Place) -> set[str]:
    return {path.parent.name for path in (place.folder / "kept/results").glob("*/run.json")}


if __name__ == "__main__":
    sys.exit(main())
