"""The files of a run that others read: JUnit for each cell and for all, ``verdicts.json``, and the page for people."""

from __future__ import annotations

import json
from pathlib import Path

from harness.errors import StoreError
from harness.reports.cells import cell_folder
from harness.reports.jsonout import summary_json
from harness.reports.junit import classnames, suite, to_xml
from harness.reports.page import Sightings, page_html
from harness.runs.execute import RunDone
from harness.runs.record import write_atomically


def write_reports(done: RunDone) -> tuple[Path, ...]:
    """Write the reports into the run's folder and return their paths, the run's own last. Raises ``StoreError``."""
    names = classnames(done.record.cells)
    sightings = Sightings()
    written, suites, seen = [], [], {}
    for cell in done.record.cells:
        results = done.results.get(cell.id, ())
        seen[cell.id] = sightings.read(cell_folder(done, cell.id) / "observations.jsonl")
        suites.append(suite(done.record, cell, names[cell.id], results, seen[cell.id].times))
        written.append(_write(cell_folder(done, cell.id) / "junit.xml", to_xml(suites[-1:])))
    written.append(_write(done.folder / "junit.xml", to_xml(suites)))
    written.append(_write(done.folder / "report.html", page_html(done, sightings, seen)))
    written.append(_write(done.folder / "verdicts.json", json.dumps(summary_json(done), indent=1) + "\n"))
    return tuple(written)


def page_of(done: RunDone) -> str:
    """The page of a run, its journals read from its folder."""
    sightings = Sightings()
    seen = {c.id: sightings.read(cell_folder(done, c.id) / "observations.jsonl") for c in done.record.cells}
    return page_html(done, sightings, seen)


def _write(path: Path, text: str) -> Path:
    """Write one report. The folder may be missing: a cell that never began has none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreError(f"{path.parent}: cannot be written: {problem.strerror}") from problem
    write_atomically(path, text)
    return path
