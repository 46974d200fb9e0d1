"""Putting a run together out of the rooms above: the matrix, kernels, payloads, guests and the catalogue."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__
from harness.guests.accel import AccelWanted
from harness.guests.deadlines import deadlines
from harness.guests.host import HostGuest
from harness.guests.model import Deadlines
from harness.guests.programs import make_programs
from harness.guests.qemu import Wishes
from harness.kernels.model import Kernel
from harness.kernels.providers.request import Progress
from harness.kernels.resolve import Resolution, provide
from harness.matrix.model import CellSpec, InQemu, InVirtme, Matrix, OnHost, OverSsh, Profile
from harness.matrix.plan import refuse_impossible
from harness.matrix.sources.machine import MachineSource
from harness.model.architectures import Arch, host_arch, this_arch
from harness.model.rule import BEFORE_MSEAL, ProbeName
from harness.model.run_record import CellRecord, ExploreRecord, MachineRecord, RunRecord
from harness.names import named_after
from harness.runs.finished_cells import FinishedCells, cell_key, undamaged
from harness.runs.guest_factory import guest_maker, remote_limits
from harness.runs.judges import catalogue_digest
from harness.runs.kernel_records import kernel_record
from harness.runs.model import Cell, MakeGuest, Workload
from harness.runs.plan import RunPlan
from harness.runs.planning.estimates import expected_seconds
from harness.runs.planning.payload_tasks import PayloadTask, Probes, fitted
from harness.runs.planning.schedule import default_jobs
from harness.runs.planning.suite_task import Suites
from harness.runs.repeats import repeated
from harness.runs.run_store import new_run_id
from harness.suites.gather import SuiteWords, meant_suites

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What the user chose about a run, whatever its cells are. ``probes`` are globs; ``scale`` stretches deadlines,
    ``repeat`` says how often each cell is run, ``fresh`` that each boots its kernel, whatever was saved, ``crosscheck``
    are globs of what the second payload observes too. ``explore`` are the seconds that generated programs are run for
    after the probes, none for 0, and ``seed`` is what they follow from. ``suites`` are foreign
    suites, which run after the probes or, where no probes are named, in place of them; what is named ``suite_`` is for
    each of them."""

    results: Path
    command: tuple[str, ...]
    _: KW_ONLY
    probes: tuple[str, ...] = ()
    jobs: int | None = None
    acceleration: AccelWanted = "auto"
    offline: bool = False
    scale: float = 1.0
    repeat: int = 1
    fresh: bool = False
    crosscheck: tuple[str, ...] = ()
    explore: float = 0.0
    seed: int = 0
    suites: tuple[str, ...] = ()
    suite_arguments: tuple[str, ...] = ()
    suite_files: tuple[str, ...] = ()
    suite_environment: tuple[str, ...] = ()

    @property
    def exploring(self) -> ExploreRecord | None:
        """What each cell is explored by."""
        return ExploreRecord(seconds=self.explore, seed=self.seed) if self.explore else None


@dataclass(frozen=True)
class Composed:
    """A run ready to go, and what its user should be told first. ``wishes`` are those of its guests in QEMU; ``every``
    cell is there, those too that are taken from earlier runs."""

    plan: RunPlan
    make_guest: MakeGuest
    remarks: tuple[str, ...] = ()
    wishes: Wishes | None = None
    every: tuple[Cell, ...] = ()


def compose_matrix(
    options: Options,
    matrix: Matrix,
    specs: Sequence[CellSpec],
    progress: Progress,
    task: PayloadTask | None = None,
    *,
    against: Mapping[str, str] | None = None,
) -> Composed:
    """A run of cells of the matrix. Fetches kernels and builds payloads; what cannot be had is missed, cell by cell.

    Guests do ``task``: the probes of ``options``, if none is given. ``against`` says which cell a cell is compared
    with; those are taken from the finished cells of earlier runs where they are there, unless ``options`` is fresh.
    """
    refuse_impossible(specs)
    resolution = provide(matrix, specs, offline=options.offline, progress=progress)
    cells = [_cell(spec, resolution) for spec in specs]
    source = {"path": str(matrix.path), "sha256": matrix.sha256}
    if given := {spec.kernel.name: spec.kernel.source.words for spec in specs if not spec.kernel.listed}:
        source["given"] = json.dumps(given)
    if against:
        source["against"] = json.dumps(dict(against))
    composed = compose_cells(options, cells, source, task)
    plan = taking(keyed(composed.plan), () if options.fresh else frozenset((against or {}).values()))
    remarks = (*resolution.remarks, *composed.remarks)
    return replace(composed, plan=plan, every=composed.plan.cells, remarks=remarks)


def compose_cells(
    options: Options, firsts: Sequence[Cell], source: dict[str, str], task: PayloadTask | None = None
) -> Composed:
    """A run of cells whose kernels are at hand; ``source`` says where they come from."""
    task = task or task_of(options, (cell.profile for cell in firsts))
    _make_programs(firsts, task)
    jobs = options.jobs or default_jobs(repeated(firsts, options.repeat))
    load = max(1.0, jobs / (os.cpu_count() or 1))
    workloads = {
        arch: task.workload(arch, _limits(arch, options, load), kmsg=True)
        for arch in sorted({cell.arch for cell in firsts})
    }
    trimmed = [
        replace(cell, profile=fitted(cell.profile, _all_planned(workloads[cell.arch])), explore=options.exploring)
        for cell in firsts
    ]
    cells = repeated(trimmed, options.repeat)
    wishes = Wishes(acceleration=options.acceleration, load=load, scale=options.scale, fresh=options.fresh)
    plan = _plan(options, task, cells, workloads, jobs, source)
    return Composed(plan, guest_maker(wishes), task.remarks(), wishes)


def keyed(plan: RunPlan) -> RunPlan:
    """The plan with the keys under which its cells are kept once they have finished."""
    records = {record.id: record for record in plan.record.cells}
    keys = {cell.id: cell_key(cell, records[cell.id], plan.workloads[cell.arch]) for cell in plan.cells}
    told = tuple(record.model_copy(update={"key": keys.get(record.id, "")}) for record in plan.record.cells)
    return replace(plan, keys=keys, record=plan.record.model_copy(update={"cells": told}))


def taking(plan: RunPlan, reusable: Collection[str]) -> RunPlan:
    """The plan with those of its cells that are ``reusable`` taken from where they have finished before."""
    store = FinishedCells()
    records = {record.id: record for record in plan.record.cells}
    cells = {cell.id: cell for cell in plan.cells}
    found = [store.find(plan.keys[name], records[name]) for name in reusable if plan.keys.get(name)]
    taken = tuple(one for one in found if one is not None and undamaged(cells[one.record.id]))
    gone = {one.record.id for one in taken}
    return replace(plan, taken=taken, cells=tuple(cell for cell in plan.cells if cell.id not in gone))


def compose_ssh(options: Options, target: OverSsh, task: PayloadTask | None = None) -> Composed:
    """A run of one cell: the kernel that a machine reached over SSH runs. Raises ``BootFailed`` when it is not."""
    from harness.guests.ssh import detect_arch  # noqa: PLC0415  paramiko is for those who need it
    from harness.guests.ssh_connect import place_of  # noqa: PLC0415

    place = place_of(target)
    arch = detect_arch(target, remote_limits("x86_64", options.scale).boot)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", place.host)
    cell = Cell(f"ssh-{name}.{arch}", arch, Profile("ssh", 0, 0, guest=target), None)
    return compose_cells(options, [cell], {"ssh": str(place)}, task)


def compose_host(options: Options, task: PayloadTask | None = None) -> Composed:
    """A run of one cell: the kernel this machine runs, without a guest."""
    arch = this_arch()
    uname = platform.uname()
    profile = Profile("host", os.cpu_count() or 1, 0, guest=OnHost())
    task = task or task_of(options, [profile])
    if _has_probes(task):
        make_programs([arch], init=False)
    cell = Cell(named_after(f"host-{uname.node}.{arch}"), arch, profile, None, explore=options.exploring)
    seconds = deadlines(arch, "none", arch, scale=options.scale)
    workloads = {arch: task.workload(arch, seconds, kmsg=False)}

    def make_guest(_cell: Cell, _folder: Path) -> HostGuest:
        return HostGuest(seconds)

    plan = _plan(options, task, repeated([cell], options.repeat), workloads, 1, {})
    return Composed(plan, make_guest, task.remarks())


def _make_programs(cells: Sequence[Cell], task: PayloadTask) -> None:
    """Compile what is lacking before the first guest boots. A scenario runs in Python, which says so itself."""
    init = any(isinstance(cell.profile.guest, InQemu | InVirtme) for cell in cells)
    make_programs(sorted({cell.arch for cell in cells}), init=init, payload=_has_probes(task))


def _has_probes(task: PayloadTask) -> bool:
    return isinstance(task, Probes) or (isinstance(task, Suites) and task.probes is not None)


def task_of(options: Options, profiles: Iterable[Profile]) -> PayloadTask:
    """What guests do: probes, foreign suites, or both. Raises ``UsageError``."""
    probes = Probes(options.probes, options.crosscheck)
    if not options.suites:
        return probes
    words = SuiteWords(
        suites=options.suites,
        arguments=options.suite_arguments,
        files=options.suite_files,
        environment=options.suite_environment,
    )
    beside = probes if options.probes else None
    user_space = not any(isinstance(profile.guest, InQemu) for profile in profiles)
    return Suites(meant_suites(words), beside, user_space, say=_LOG.info)


def _all_planned(workload: Workload) -> tuple[ProbeName, ...]:
    """By both payloads; a program of a foreign suite may use anything."""
    foreign = (ProbeName("suite", "any", "whole", "p"),) if workload.suites else ()
    return workload.planned + (workload.second.planned if workload.second else ()) + foreign


def _limits(arch: Arch, options: Options, load: float) -> Deadlines:
    """A guest's deadlines. Which acceleration it will get is known only once it runs: allow for the slower."""
    acceleration = "kvm" if options.acceleration == "kvm" else "tcg"
    return deadlines(arch, acceleration, host_arch(), load=load, scale=options.scale)


def _cell(spec: CellSpec, resolution: Resolution) -> Cell:
    own = isinstance(spec.kernel.source, MachineSource)
    kernel = None if own else resolution.kernels[spec.kernel.name, spec.arch]
    return Cell(spec.id, spec.arch, spec.profile, kernel, BEFORE_MSEAL in spec.kernel.labels)


def _plan(
    options: Options,
    task: PayloadTask,
    cells: tuple[Cell, ...],
    workloads: Mapping[Arch, Workload],
    jobs: int,
    matrix: dict[str, str],
) -> RunPlan:
    run_id = new_run_id()
    any_workload = next(iter(workloads.values()))
    record = RunRecord(
        id=run_id,
        state="running",
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        sealmatrix=__version__,
        command=options.command,
        options={k: v for k, v in asdict(options).items() if k not in ("results", "command")},
        host=_host_facts(),
        matrix=matrix,
        payload=any_workload.name,
        payload_id=any_workload.id,
        catalogue_sha256=catalogue_digest(),
        jobs=jobs,
        cells=tuple(_cell_record(cell, workloads[cell.arch]) for cell in cells),
    )
    return RunPlan(
        folder=options.results / run_id,
        record=record,
        cells=cells,
        workloads=workloads,
        assignment=task.question(any_workload.planned),
        jobs=jobs,
        expected=expected_seconds(options.results, [cell.id for cell in cells], options.probes),
    )


def _cell_record(cell: Cell, payload: Workload) -> CellRecord:
    profile = cell.profile
    return CellRecord(
        id=cell.id,
        profile=profile.name,
        arch=cell.arch,
        kernel=kernel_record(cell.kernel) if isinstance(cell.kernel, Kernel) else None,
        machine=_machine_record(profile),
        payload_sha256=payload.sha256,
        second_sha256=payload.second.sha256 if payload.second else "",
        before_mseal=cell.before_mseal,
        explore=cell.explore,
    )


def _machine_record(profile: Profile) -> MachineRecord:
    names = MachineRecord.model_fields.keys() - {"guest", "cpu"}  # which processor depends on the acceleration it gets
    asked = {f.name: getattr(profile, f.name) for f in fields(Profile) if f.name in names}
    return MachineRecord(guest=profile.guest.kind, **asked)


def _host_facts() -> dict[str, str]:
    uname = platform.uname()
    return {
        "system": uname.system,
        "release": uname.release,
        "machine": uname.machine,
        "cores": str(os.cpu_count() or 0),
        "python": platform.python_version(),
    }
