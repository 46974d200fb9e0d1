"""The report of a qualification as plain data; the page shows exactly this, and ``report.json`` is exactly this."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from harness import __version__
from harness.compare.comparison import counted, rule_phrase
from harness.compare.diff import CHANGES, Pair, Side
from harness.compare.sides import Picked
from harness.model.run_record import CellRecord, RunRecord
from harness.qualify.model import Deviation, PolicyCheck, Qualification, WaiverUse
from harness.qualify.policy import Policy, Waiver
from harness.runs.causes import ReportedCause, causes_json, told_causes
from harness.runs.repeats import first_id

REPORT_SCHEMA = 1
POLICY = "policy.yaml"


@dataclass(frozen=True)
class Dossier:
    """Everything a report tells: the verdict, what was judged, and by what."""

    qualification: Qualification
    candidate: Picked
    baseline: Picked
    pairs: tuple[Pair, ...]
    policy: bytes
    catalogue_sha256: str


def report_json(dossier: Dossier) -> dict[str, Any]:
    """The whole report."""
    found = dossier.qualification
    return {
        "schema_version": REPORT_SCHEMA,
        "verdict": found.verdict,
        "judged_as_of": found.today.isoformat(),
        "sealmatrix": __version__,
        "catalogue_sha256": dossier.catalogue_sha256,
        "policy": {
            "title": found.policy.title,
            "sha256": sha256(dossier.policy).hexdigest(),
            "says": policy_in_words(found.policy),
        },
        "causes": causes_json(candidate_causes(dossier)),
        "checks": [_check(check) for check in found.checks],
        "waivers": [_use(use) for use in found.waivers],
        "allowed_differences": [vars(use) for use in found.allowed],
        "known_differences": list(found.known),
        "outside_the_policy": list(found.outside),
        "comparison": [_pair(pair) for pair in dossier.pairs],
        "candidate": _side(dossier.candidate),
        "baseline": _side(dossier.baseline),
        "repeat": {"judge": judge_command(dossier), "measure": _measure(dossier)},
    }


def candidate_causes(dossier: Dossier) -> tuple[ReportedCause, ...]:
    """What the candidate's failures have in common; nothing where it was only compared."""
    return told_causes(dossier.candidate.done, cells=cell_ids(dossier.candidate))


def policy_in_words(policy: Policy) -> list[str]:
    """What the policy demands, a sentence each."""
    lines = [f"The candidate is tested on {' and '.join(policy.architectures)}."]
    for wish in policy.require:
        families = f" of the families {', '.join(wish.families)}" if wish.families else ""
        lines.append(f"Every rule of level {' or '.join(wish.levels)}{families} holds.")
    coverage = policy.coverage
    share = "some of every family apply" if coverage.applied is None else f"{coverage.applied} % apply"
    lines.append(f"On every cell, {coverage.answered} % of their probes give an answer and {share}.")
    if policy.crashed == "refuse":
        lines.append("No kernel reports a crash, also while no probe runs.")
    lines.append(f"Since the baseline nothing is {' or '.join(policy.differences.refused) or 'refused'}.")
    if policy.cost is not None:
        rows = ", ".join(policy.cost.rows)
        lines.append(f"No system call ({rows}) takes {policy.cost.by:g} % more instructions than on the baseline.")
    for allowed in policy.differences.allow:
        lines.append(f"Expected: {', '.join(allowed.rules)} {' or '.join(allowed.changes)}: {allowed.reason}.")
    return lines


def _check(check: PolicyCheck) -> dict[str, Any]:
    deviations = [_deviation(deviation) for deviation in check.deviations]
    return {"title": check.title, "met": check.met, "says": check.says, "deviations": deviations}


def _deviation(deviation: Deviation) -> dict[str, Any]:
    return {
        "what": deviation.what,
        "cell": deviation.cell,
        "rule": deviation.rule,
        "says": deviation.says,
        "evidence": list(deviation.evidence),
        "configuration": deviation.configuration,
        "waiver": _waiver(deviation.waiver) if deviation.waiver else None,
    }


def _waiver(waiver: Waiver) -> dict[str, Any]:
    return waiver.model_dump(mode="json")


def _use(use: WaiverUse) -> dict[str, Any]:
    return {"use": use.use, "cells": list(use.cells), **_waiver(use.waiver)}


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "before": _name(pair.before),
        "after": _name(pair.after),
        "counts": dict(pair.counts),
        "says": counted(pair.counts, "rule") or "nothing changed",
        "rules": _changed(pair),
    }


def _changed(pair: Pair) -> dict[str, list[dict[str, str]]]:
    """Which rules changed, by how: what the counts count. Each with its first probe that did, in words."""
    found: dict[str, list[dict[str, str]]] = {}
    for change in CHANGES:
        for one in pair.rules:
            if one.change == change != "unchanged" and (first := one.worst) is not None:
                told = {"rule": one.rule.id, "probe": first.probe, "says": rule_phrase(pair, one)}
                found.setdefault(change, []).append(told)
    return found


def named(picked: Picked) -> str:
    """A side by its kernels: ``debian-newest (7.3.4)``; a run's id says nothing to who reads it."""
    kernels = dict.fromkeys(
        f"{side.kernel} ({side.version})" if side.version not in ("", side.kernel) else side.kernel
        for side in picked.sides
    )
    return ", ".join(kernels)


def _name(side: Side) -> dict[str, str]:
    return {"run": side.run, "cell": side.cell, "kernel": side.kernel, "version": side.version, "arch": side.arch}


def cell_ids(picked: Picked) -> list[str]:
    """The cells of a pick as they lie on disk, repeats included."""
    wanted = {side.cell for side in picked.sides}
    return [cell.id for cell in picked.done.record.cells if first_id(cell.id) in wanted]


def _side(picked: Picked) -> dict[str, Any]:
    run, wanted = picked.done.record, set(cell_ids(picked))
    return {
        "asked_for": picked.word,
        "kernels": named(picked),
        "run": _run(run),
        "cells": [_provenance(cell) for cell in run.cells if cell.id in wanted],
    }


def _run(run: RunRecord) -> dict[str, Any]:
    names = ("id", "state", "started", "finished", "sealmatrix", "payload", "payload_id", "catalogue_sha256")
    return {name: getattr(run, name) for name in names} | {
        "matrix": run.matrix,
        "host": run.host,
        "options": run.options,
    }


def _provenance(cell: CellRecord) -> dict[str, Any]:
    return cell.model_dump(mode="json", exclude={"statuses", "crashes"}) | {
        "console_reports": [{"title": crash.title, "during": crash.during} for crash in cell.crashes]
    }


def judge_command(dossier: Dossier) -> str:
    """The command that judges the same evidence again, to be run in the folder of the qualification."""
    picks = (("--candidate", dossier.candidate), ("--baseline", dossier.baseline))
    words = [part for option, picked in picks for part in (option, evidence_word(picked))]
    day = dossier.qualification.today.isoformat()
    return shlex.join(["sealmatrix", "qualify", *words, "--policy", POLICY, "--as-of", day, "-o", "../again"])


def evidence_word(picked: Picked) -> str:
    """A pick as it is called inside the qualification's folder."""
    return f"evidence/{picked.done.record.id}:{picked.wanted}"


def _measure(dossier: Dossier) -> list[str]:
    records = {picked.done.record.id: picked.done.record for picked in (dossier.candidate, dossier.baseline)}
    return [shlex.join(record.command) for record in records.values()]
