"""``run.json``: everything needed to say what a run was, and to repeat it. Written whole, by rename."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from harness.errors import UsageError
from harness.model.atomic_files import write_text
from harness.model.json_text import parse_json
from harness.model.rule import MSEAL_SINCE
from harness.model.stored_files import read_stored
from harness.model.version import parse_version
from harness.names import Identifier, printable

SCHEMA = 1
CellState = Literal["waiting", "running", "finished", "crashed", "lost", "interrupted"]
# A lost cell has verdicts: what its kernel did to it is an answer.
LEFT: Final = frozenset({"waiting", "running", "interrupted"})
"""The states of a cell whose answer is incomplete: what `run --resume` has left to do."""
RunState = Literal["running", "finished", "interrupted"]
_WRITTEN_AS_JSON: dict[str, TypeAdapter[Any]] = {
    "given": TypeAdapter(dict[str, list[str]]),
    "against": TypeAdapter(dict[str, str]),
}
"""What ``matrix`` has as the text of a JSON object: the kernels named on the command line, and what each is compared
with."""


class Part(BaseModel):
    """A mapping of a document. What a reader of this version does not know is an error in a schema of this version."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KernelRecord(Part):
    """The kernel of a cell: enough to find the same bytes again. ``config`` has the options that rules ask for."""

    name: str
    release: str
    arch: str
    flavour: str
    sha256: str
    image_format: str
    config_sha256: str
    origin_kind: str
    origin: str
    version: str = ""
    config: dict[str, str] = {}
    packages: tuple[tuple[str, str, str], ...] = ()
    note: str = ""


class MachineRecord(Part):
    """The machine a cell ran on, as asked for and as it came up.

    ``cpu`` is the emulator's model of a processor, and ``argv`` its arguments, as run; ``notes`` are the set-up steps
    that failed in the guest. ``start`` is "cold" or "warm", and ``saved_guest`` the key of the saved guest it came
    from, or was saved as. ``config`` has the options that rules ask for, where the machine says how its kernel was
    configured. ``filter`` says so where something in front of the kernel may have answered for it.
    """

    guest: str
    smp: int
    memory: int
    boot: tuple[str, ...]
    numa: int = 1
    swap: int = 0
    hugepages: int = 0
    release: str = ""
    page_size: int = 0
    cmdline: str = ""
    cpu: str = ""
    acceleration: str = ""
    acceleration_reason: str = ""
    argv: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    digests: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    start: str = ""
    start_reason: str = ""
    saved_guest: str = ""
    config: dict[str, str] = {}
    filter: str = ""


class CrashRecord(Part):
    """A report the console showed; ``during`` is the probe that was running, ``also`` those it may be as well.

    ``places`` has frames of its stack with where they are in the source: ``do_it+0x4f/0x2a0 mm/mprotect.c:612``.
    """

    kind: str
    title: str
    lines: tuple[str, ...]
    during: str | None
    fatal: bool
    line: int = 0
    also: tuple[str, ...] = ()
    places: tuple[str, ...] = ()


class HelperRecord(Part):
    """A further guest that took over a share of a cell's probes: ``probes`` of them, from ``first`` on, in the plan's
    order. ``folder`` has its journal and console; ``reason`` says why it was of no use, or not to its end."""

    guest: int
    folder: Identifier
    first: str
    probes: int
    boot: float
    acceleration: str
    reason: str


class ExploreRecord(Part):
    """That a cell is explored too: by generated programs, for so many seconds, all from this seed."""

    seconds: float
    seed: int


class CellRecord(Part):
    """One cell. ``state`` is "crashed" where every answer is there and the kernel reported a crash while no probe ran.
    ``seconds`` by stage; ``reason`` says why a cell that is not finished is not. ``host`` is the machine
    that ran it where that is not the run's own, ``lost_on`` the workers that were lost with it before. ``helpers``
    are the further guests that took over a share of its probes, ``second_sha256`` is of the payload that checked the
    first one. ``before_mseal``: the matrix says of the kernel that there is nothing to ask. ``key`` is under which the
    cell is kept once it has finished, and ``taken_from`` the run whose finished cell this is, where the same bytes had
    been asked the same before. ``evidence`` has the sha256 of its journals and consoles, by their place in its folder;
    empty where an older version ran it. ``explore``: after the probes generated programs are run.
    """

    id: Identifier
    profile: str
    arch: str
    state: CellState = "waiting"
    reason: str = ""
    kernel: KernelRecord | None = None
    machine: MachineRecord | None = None
    payload_sha256: str = ""
    second_sha256: str = ""
    started: str = ""
    seconds: dict[str, float] = {}
    garbage: int = 0
    crashes: tuple[CrashRecord, ...] = ()
    exit_status: int | None = None
    exit_signal: int | None = None
    statuses: dict[str, int] = {}
    host: dict[str, str] = {}
    lost_on: tuple[str, ...] = ()
    before_mseal: bool = False
    key: str = ""
    taken_from: str = ""
    helpers: tuple[HelperRecord, ...] = ()
    evidence: dict[str, str] = {}
    explore: ExploreRecord | None = None

    @property
    def clean(self) -> bool:
        """Whether the cell gave all its answers, from a kernel that reported no crash of its own accord."""
        return self.state == "finished"

    @property
    def whole(self) -> bool:
        """Whether every answer is there; a kernel that crashed while no probe ran may have given them all."""
        return self.state in ("finished", "crashed")

    @property
    def trouble(self) -> str:
        """Why it is not clean, ``lost: the payload was killed by signal 11``; "" when it is."""
        return "" if self.clean else ": ".join(filter(None, (self.state, self.reason)))


class SittingRecord(Part):
    """One time a run was resumed: when, by what, and for which cells."""

    started: str
    command: tuple[str, ...]
    sealmatrix: str
    host: dict[str, str]
    cells: tuple[Identifier, ...]


class RunRecord(Part):
    """A whole run. Times are UTC, ISO 8601. ``sittings`` are those after the first. ``reports`` has the sha256 of every
    report of the run that was written, by its name."""

    schema_version: Literal[1] = 1
    id: Identifier
    state: RunState
    started: str
    finished: str = ""
    sealmatrix: str
    command: tuple[str, ...]
    options: dict[str, Any]
    host: dict[str, str]
    matrix: dict[str, str]
    payload: str
    payload_id: str
    catalogue_sha256: str
    jobs: int
    sittings: tuple[SittingRecord, ...] = ()
    reports: dict[str, str] = {}
    cells: tuple[CellRecord, ...]

    @field_validator("matrix")
    @classmethod
    def _can_be_read(cls, matrix: dict[str, str]) -> dict[str, str]:
        """Refuse what whoever reads the record later could not read."""
        for name, shape in _WRITTEN_AS_JSON.items():
            try:
                shape.validate_json(matrix.get(name, "{}"))
            except ValidationError as problem:
                raise ValueError(f"{name!r} is not a JSON object of the right form") from problem
        return matrix


def answers_expected(cell: CellRecord) -> bool:
    """Whether there is something to ask of a cell's kernel: not where the matrix says that it is from before mseal, nor
    where its version does."""
    told = (cell.kernel.version or cell.kernel.release) if cell.kernel else cell.machine.release if cell.machine else ""
    try:
        return not cell.before_mseal and parse_version(told) >= MSEAL_SINCE
    except ValueError:
        return not cell.before_mseal


def write_run(folder: Path, run: RunRecord) -> None:
    """Write ``run.json``."""
    write_text(folder / "run.json", run.model_dump_json(indent=1) + "\n")


def read_run(folder: Path) -> RunRecord:
    """Read ``run.json``. Raises ``UsageError`` with one line for a folder that is no run, or another schema's."""
    path = folder / "run.json"
    try:
        data = parse_json(read_stored(path).decode())
    except FileNotFoundError as problem:
        raise UsageError(f"{folder} is not a run: it has no run.json") from problem
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA:
        raise UsageError(f"{path}: has schema version {version}; this sealmatrix reads version {SCHEMA}")
    try:
        return RunRecord.model_validate(data)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{path}: {printable('.'.join(map(str, first['loc'])))}: {first['msg']}") from problem
