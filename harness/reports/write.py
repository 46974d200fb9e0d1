"""The files of a run that others read: JUnit for each cell and for all, ``verdicts.json``, and the page for people."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from harness.errors import StoreError
from harness.model.atomic_files import write_text
from harness.model.json_text import pretty_json
from harness.model.run_record import read_run, write_run
from harness.model.stored_files import packed
from harness.nightly.marks import news_of
from harness.observations.journal import stored_journal
from harness.reports.junit import classnames, document, element, suite
from harness.reports.page import Sightings, page_html
from harness.reports.times import times_of
from harness.runs.cells import cell_folder
from harness.runs.judging import recorded_facts, verdicts_json
from harness.runs.model import JOURNAL, RunDone
from harness.runs.programs import Reproduce
from harness.runs.run_store import run_lock
from harness.runs.summary import summary_json

_WRITERS = 4


def write_reports(done: RunDone, reproduce: Reproduce | None = None, *, page: bool = True) -> tuple[Path, ...]:
    """Write the reports into the run's folder and return their paths, the run's own last. Raises ``StoreError``.

    ``reproduce`` makes the programs the page shows for what went wrong; ``page`` says whether there is one.
    """
    names = classnames(done.record.cells)
    sightings = Sightings()
    suites = []
    # Each file is forced to the disk, and most of the time that takes is spent waiting: the next is made meanwhile.
    with _not_collecting(), ThreadPoolExecutor(_WRITERS) as pool:
        written = []
        for cell in done.record.cells:
            folder = cell_folder(done, cell.id)
            times = times_of(sightings, done, cell.id)
            suites.append(element(suite(done, cell, names[cell.id], times)))
            written.append(pool.submit(_write, folder / "junit.xml", document(suites[-1:])))
        reports = {"junit.xml": document(suites)}
        if page:
            reports["report.html"] = page_html(done, sightings, reproduce, news_of(done.folder))
        reports["verdicts.json"] = pretty_json(summary_json(done))
        for name, text in reports.items():
            written.append(pool.submit(_write, done.folder / name, text))
        paths = tuple(future.result() for future in written)
    _sign(done.folder, reports)
    return paths


def write_again(done: RunDone, reproduce: Reproduce | None = None, *, page: bool = True) -> tuple[Path, ...]:
    """Write every file of a stored run that is derived from its journals, its cells' verdicts first.

    Returns their paths. Raises ``StoreError``, and ``UsageError`` while the run still goes on.
    """
    with run_lock(done.folder):
        paths = []
        for cell in done.record.cells:
            folder = cell_folder(done, cell.id)
            facts = recorded_facts(cell, stored_journal(folder / JOURNAL))
            verdicts = verdicts_json(done.record.id, cell, facts, done.results.get(cell.id, ()))
            paths.append(_write(folder / "verdicts.json", pretty_json(verdicts)))
            packed(paths[-1]).unlink(missing_ok=True)
        return (*paths, *write_reports(done, reproduce, page=page))


def _sign(folder: Path, reports: Mapping[str, str]) -> None:
    """Keep the digests of a run's reports in its record: what is altered afterwards is no word of the run's."""
    if (folder / "run.json").is_file():
        digests = {name: sha256(text.encode()).hexdigest() for name, text in reports.items()}
        record = read_run(folder)
        write_run(folder, record.model_copy(update={"reports": record.reports | digests}))


@contextmanager
def _not_collecting() -> Iterator[None]:
    """Let the garbage collector rest: reports make no cycles, and it would walk millions of verdicts for nothing."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def page_of(done: RunDone, reproduce: Reproduce | None = None) -> str:
    """The page of a run, its journals and its news read from its folder."""
    sightings = Sightings()
    for cell in done.record.cells:
        sightings.read(cell.id, cell_folder(done, cell.id) / JOURNAL)
    return page_html(done, sightings, reproduce, news_of(done.folder))


def write_page(done: RunDone, reproduce: Reproduce) -> None:
    """Write the page alone, once it is known what is new. Raises ``StoreError``."""
    with _not_collecting():
        text = page_of(done, reproduce)
    _write(done.folder / "report.html", text)
    _sign(done.folder, {"report.html": text})


def _write(path: Path, text: str) -> Path:
    """Write one report. The folder may be missing: a cell that never began has none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreError(f"{path.parent}: cannot be written: {problem.strerror}") from problem
    write_text(path, text)
    return path
