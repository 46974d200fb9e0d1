"""A run as KCIDB data, version 5.3: a checkout and a build for each kernel, a test for each rule on each cell.

A cell that is not clean (its guest was lost, its kernel crashed while no probe ran) has one test more,
``sealmatrix.cell``.
A known difference is a ``FAIL`` with an incident that ties it to an issue, which is how KCIDB tells old from new.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.model.codec import rule_json, verdict_json
from harness.model.run_record import CellRecord, RunRecord
from harness.model.verdict import RuleResult, Status
from harness.names import escaped
from harness.reports.page.seen import Sightings
from harness.reports.times import times_of
from harness.runs.cells import kernel_name, release
from harness.runs.model import RunDone

_ORIGIN = re.compile(r"[a-z0-9_]+\Z")
_PART = re.compile(r"[^a-zA-Z0-9_-]")
STATUSES: Mapping[Status, str] = {
    "fail": "FAIL",
    "error": "ERROR",
    "miss": "MISS",
    "known": "FAIL",
    "fixed": "PASS",
    "pass": "PASS",
    "observed": "DONE",
    "skip": "SKIP",
}
_EXCERPT = 16 * 1024


def kcidb(done: RunDone, origin: str = "sealmatrix") -> dict[str, Any]:
    """The whole report. ``origin`` names the submitting system. Raises ``UsageError`` for one that KCIDB refuses."""
    if not _ORIGIN.match(origin):
        raise UsageError(f"{origin!r} is no KCIDB origin; it has small letters, digits and _ only")
    checkouts: dict[str, dict[str, Any]] = {}
    builds: dict[str, dict[str, Any]] = {}
    issues: dict[str, dict[str, Any]] = {}
    tests, incidents, sightings = [], [], Sightings()
    for cell in done.record.cells:
        checkout, build = _checkout(origin, cell), _build(origin, done.record, cell)
        checkouts[checkout["id"]], builds[build["id"]] = checkout, build
        times = times_of(sightings, done, cell.id)
        for result in done.results.get(cell.id, ()):
            test = _test(origin, done.record, cell, result, build["id"])
            spent = sum(times.get(verdict.probe, 0) for verdict in result.verdicts)
            tests.append(test | ({"duration": spent / 1e6} if spent else {}))
            if result.status == "known":
                issue = _issue(origin, result)
                issues[issue["id"]] = issue
                incidents.append(_incident(origin, issue["id"], test["id"]))
        if not cell.clean:
            tests.append(_unclean(origin, done.record, cell, build["id"]))
    found = {"checkouts": checkouts.values(), "builds": builds.values(), "tests": tests}
    found |= {"issues": issues.values(), "incidents": incidents}
    return {"version": {"major": 5, "minor": 3}} | {name: list(rows) for name, rows in found.items() if rows}


def _checkout(origin: str, cell: CellRecord) -> dict[str, Any]:
    kernel = cell.kernel
    version = (kernel.version or kernel.release) if kernel else release(cell)
    packages = [" ".join((name, number)) for name, number, _ in kernel.packages] if kernel else []
    named = packages[0] if packages else version or kernel_name(cell)
    return {
        "id": f"{origin}:{_safe(named)}",
        "origin": origin,
        "tree_name": _safe(kernel.origin if kernel else kernel_name(cell)),
        "git_commit_name": _safe(version or "unknown"),
        "misc": {"packages": packages},
    }


def _build(origin: str, run: RunRecord, cell: CellRecord) -> dict[str, Any]:
    kernel = cell.kernel
    build: dict[str, Any] = {
        "id": f"{origin}:{kernel.sha256}" if kernel else f"{origin}:{run.id}/{_safe(cell.id)}/kernel",
        "checkout_id": _checkout(origin, cell)["id"],
        "origin": origin,
        "architecture": cell.arch,
        "comment": _safe(f"{kernel_name(cell)} {release(cell)}"),
    }
    if kernel is None and release(cell) == "":
        return build | {"status": "MISS", "log_excerpt": _safe(cell.reason)[-_EXCERPT:]}
    misc = {"image_sha256": kernel.sha256, "config_sha256": kernel.config_sha256} if kernel else {}
    return build | {"config_name": kernel.flavour if kernel else "host", "status": "PASS", "misc": misc}


def _unclean(origin: str, run: RunRecord, cell: CellRecord, build: str) -> dict[str, Any]:
    """The test of a cell that is not clean, whatever its rules say."""
    return {
        "id": f"{origin}:{run.id}/{_safe(cell.id)}/cell",
        "build_id": build,
        "origin": origin,
        "path": "sealmatrix.cell",
        "comment": "The guest boots and answers every probe, and its kernel reports no crash while none runs",
        "status": "ERROR" if cell.state in ("lost", "crashed") else "MISS",
        "log_excerpt": _safe(cell.trouble)[-_EXCERPT:],
        "environment": {"comment": _safe(cell.id), "misc": {"cell": cell.id, "profile": cell.profile}},
        "misc": {"state": cell.state, "reason": cell.reason},
    } | ({"start_time": cell.started} if cell.started else {})


def _test(origin: str, run: RunRecord, cell: CellRecord, result: RuleResult, build: str) -> dict[str, Any]:
    machine, rule = cell.machine, result.rule
    misc = {
        "rule": rule.statement,
        **rule_json(rule, ("contract", "level")),
        **verdict_json(result.worst, ("kind", "reason", "probe", "observed")),
        "probes": dict(result.counts),
        "payload_id": run.payload_id,
        "catalogue_sha256": run.catalogue_sha256,
    }
    return {
        "id": f"{origin}:{run.id}/{_safe(cell.id)}/{rule.id}",
        "build_id": build,
        "origin": origin,
        "path": ".".join(_PART.sub("_", part) for part in ("sealmatrix", rule.family, rule.id)),
        "comment": _safe(rule.statement),
        "status": STATUSES[result.status],
        "environment": {
            "comment": _safe(f"{cell.id} under {machine.acceleration or 'no acceleration'}" if machine else cell.id),
            "misc": {"cell": cell.id, "profile": cell.profile, "page_size": machine.page_size if machine else 0},
        },
        "misc": misc,
    } | ({"start_time": cell.started} if cell.started else {})


def _issue(origin: str, result: RuleResult) -> dict[str, Any]:
    return {
        "id": f"{origin}:known/{result.rule.id}",
        "version": 1,
        "origin": origin,
        "comment": _safe(f"{result.rule.id}: {result.worst.reason}"),
        "culprit": {"code": True},
    }


def _incident(origin: str, issue: str, test: str) -> dict[str, Any]:
    local = test.partition(":")[2]
    return {
        "id": f"{origin}:known/{local}",
        "origin": origin,
        "issue_id": issue,
        "issue_version": 1,
        "test_id": test,
        "present": True,
    }


def _safe(text: str) -> str:
    """KCIDB's strings must not hold NUL; other control characters help nobody either."""
    return "".join(c if c.isprintable() else escaped(c) for c in text)
