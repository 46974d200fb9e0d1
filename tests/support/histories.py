"""Runs and regressions, as a history keeps them."""

from __future__ import annotations

from harness.history.regressions import Regression
from harness.model.run_record import write_run
from harness.reports.write import write_reports
from harness.runs.judging import write_plan
from harness.runs.model import RunDone


def on_disk(made: RunDone, name: str) -> RunDone:
    record = made.record.model_copy(
        update={"id": name, "started": f"2026-11-23T21:{int(name[-2:], 16) % 60:02}:00+00:00"}
    )
    done = RunDone(made.folder, record, made.results)
    done.folder.mkdir(parents=True, exist_ok=True)
    write_plan(done.folder, "0123456789abcdef", ())
    write_run(done.folder, record)
    write_reports(done)
    return done


def regression(**changed: object) -> Regression:
    facts = {
        "number": 0, "state": "confirmed", "kind": "bypass", "headline": "h", "sentence": "munmap gets at it",
        "rule": "r", "probe": "munmap/anon-rw/exact", "rules": ("r",), "cells": ("debian-7.3.x86_64",), "good": "7.3.3",
        "first": "7.3.4", "last": "7.3.4", "opened_run": "n-1", "opened": "2026-11-28T00:00:00+00:00",
        "events": (("2026-11-28T00:00:00+00:00", "n-1", "opened, confirmed"),),
    }  # fmt: skip
    return Regression(**{**facts, **changed})  # type: ignore[arg-type]
