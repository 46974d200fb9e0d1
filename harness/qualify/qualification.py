"""From two picks and a policy to a folder that holds the verdict, the report and all evidence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from harness.compare.diff import Side, compare
from harness.compare.sides import Picked, match, narrowing
from harness.errors import UsageError, some_of
from harness.model.atomic_files import write_text
from harness.model.rule import Rule
from harness.model.run_record import CellRecord
from harness.qualify.costs import CostPair, MeasuredCosts
from harness.qualify.evidence import copy_run, new_folder, seal
from harness.qualify.judge import qualify
from harness.qualify.model import QualificationInput
from harness.qualify.page import page
from harness.qualify.policy import Policy
from harness.qualify.report import POLICY, Dossier, cell_ids, report_json
from harness.qualify.sbom import SBOM, can_sbom, sbom
from harness.qualify.signature import sign
from harness.rules.load import CATALOGUE
from harness.runs.judges import catalogue_digest
from harness.runs.repeats import first_id

NO_COSTS = MeasuredCosts()


def judge_picks(
    candidate: Picked,
    baseline: Picked,
    policy: Policy,
    data: bytes,
    today: date,
    catalogue: Mapping[str, Rule],
    costs: MeasuredCosts = NO_COSTS,
) -> Dossier:
    """Judge a candidate against its baseline. Raises ``UsageError`` when both are the same, or cannot be matched."""
    matched = match(baseline, candidate)
    for before, after in matched.pairs:
        if (before.run, before.cell) == (after.run, after.cell):
            raise UsageError(f"candidate and baseline are the same: {after.cell} of run {after.run}")
    pairs = tuple(compare(before, after) for before, after in matched.pairs)
    case = QualificationInput(
        candidate.sides,
        pairs,
        unfinished(candidate, policy),
        tuple(catalogue.values()),
        tuple(_cost_pair(candidate, after, baseline, before, costs) for before, after in matched.pairs),
        costs.rows,
    )
    return Dossier(qualify(policy, case, today), candidate, baseline, pairs, data, catalogue_digest())


def _cost_pair(candidate: Picked, after: Side, baseline: Picked, before: Side, costs: MeasuredCosts) -> CostPair:
    here, there = (
        costs.tables.get((_image(p, side), side.arch)) for p, side in ((candidate, after), (baseline, before))
    )
    return CostPair(after.kernel, before.kernel, after.arch, here, there)


def _image(picked: Picked, side: Side) -> str:
    """The digest of the kernel that a side ran."""
    kernels = {cell.id: cell.kernel for cell in picked.done.record.cells}
    kernel = kernels.get(side.cell)
    return kernel.sha256 if kernel is not None else ""


def unfinished(picked: Picked, policy: Policy) -> Mapping[str, str]:
    """Why cells of a pick did not finish, by the id of the cell they are or repeat."""
    wanted = set(cell_ids(picked))
    if globs := narrowing(picked.done):
        # Probes that were not planned leave no trace in the results.
        return {first_id(cell): f"the run was limited to {some_of(globs)}" for cell in wanted}
    cells = [cell for cell in picked.done.record.cells if cell.id in wanted]
    why = {first_id(cell.id): _restored(cell) for cell in cells if policy.start == "fresh" and _restored(cell)}
    refused = [c for c in cells if not (c.clean or (c.state == "crashed" and policy.crashed == "accept"))]
    return why | {first_id(c.id): c.trouble for c in refused}


def _restored(cell: CellRecord) -> str:
    warm = cell.machine is not None and cell.machine.start == "warm"
    return "its guest was restored from a saved one; run it again with --fresh" if warm else ""


def write_qualification(dossier: Dossier, folder: Path, key: Path | None = None) -> str:
    """Write report and evidence into a new folder, and seal it; with a ``key``, sign the seal. Returns its digest.

    The list of kernels and tools is written where its library is installed. Raises ``UsageError`` and ``StoreError``,
    and leaves nothing then.
    """
    with new_folder(folder) as partial:
        for picked in (dossier.candidate, dossier.baseline):
            target = partial / "evidence" / picked.done.record.id
            copy_run(picked.done.folder, cell_ids(picked), target)
        shutil.copytree(CATALOGUE, partial / "evidence" / "catalogue", ignore=shutil.ignore_patterns("__pycache__"))
        (partial / POLICY).write_bytes(dossier.policy)
        report = report_json(dossier)
        write_text(partial / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        write_text(partial / "report.html", page(report))
        if can_sbom():
            write_text(partial / SBOM, sbom(dossier))
        digest = seal(partial)
        if key is not None:
            sign(partial, key)
        return digest
