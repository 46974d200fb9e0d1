"""``verdicts.json`` of a whole run: each cell's status for each rule; see ``docs/reference/verdicts.schema.json``."""

from __future__ import annotations

from typing import Any

from harness.model.codec import result_json, rule_json
from harness.model.run_record import CellRecord
from harness.model.verdict import STATUSES, RuleResult
from harness.runs.causes import causes_json, told_causes
from harness.runs.cells import kernel_name, release, status_counts
from harness.runs.crashes import crashes_json
from harness.runs.judging import VERDICTS_SCHEMA
from harness.runs.model import RunDone
from harness.runs.published_bugs import bugs_json, bugs_of_cell


def summary_json(done: RunDone) -> dict[str, Any]:
    """The run's verdicts as plain data. The probes are in each cell's own ``verdicts.json``."""
    run = done.record
    rules = {result.rule.id: result.rule for results in done.results.values() for result in results}
    return {
        "schema_version": VERDICTS_SCHEMA,
        "run": run.id,
        "state": run.state,
        "started": run.started,
        "finished": run.finished,
        "sealmatrix": run.sealmatrix,
        "payload": run.payload,
        "payload_id": run.payload_id,
        "catalogue_sha256": run.catalogue_sha256,
        "exit_code": done.exit_code,
        "counts": dict(status_counts(done)),
        "rules": {name: rule_json(rule) for name, rule in rules.items()},
        "causes": causes_json(told_causes(done)),
        "crashes": crashes_json(done),
        "cells": [_cell(cell, done.results.get(cell.id, ())) for cell in run.cells],
    }


def _cell(cell: CellRecord, results: tuple[RuleResult, ...]) -> dict[str, Any]:
    kernel, machine = cell.kernel, cell.machine
    statuses = [result.status for result in results]
    return {
        "cell": cell.id,
        "kernel": {
            "name": kernel_name(cell),
            "release": release(cell),
            "arch": cell.arch,
            "page_size": machine.page_size if machine else 0,
            "sha256": kernel.sha256 if kernel else "",
        },
        "profile": cell.profile,
        "state": cell.state,
        "reason": cell.reason,
        "published_bugs": bugs_json(bugs_of_cell(cell, results)),
        "acceleration": machine.acceleration if machine else "",
        "start": machine.start if machine else "",
        "counts": {status: statuses.count(status) for status in STATUSES},
        "rules": {result.rule.id: result_json(result) | {"probes": dict(result.counts)} for result in results},
    }
