"""Finished cells, kept so that a kernel that has answered is not asked the same again.

A cell is known by everything its answers depend on: the bytes of kernel, configuration, init and payloads, the
machine as asked for, the emulator, and what was planned. What is kept is what the guest said (the journals and the
console). It is judged anew, like any stored run, unless the same code and catalogue have judged it before: then its
verdicts are kept, too. Only clean cells are kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from pydantic import ValidationError

from harness.errors import StoreError, UsageError
from harness.explore.record import EXPLORATION, read_exploration
from harness.guests.identity import identify
from harness.guests.meant import demand_image
from harness.guests.pid1 import build_init
from harness.kernels.model import Kernel
from harness.kernels.store import Store, file_sha256, telling
from harness.matrix.model import InQemu
from harness.model.architectures import ARCHITECTURES
from harness.model.json_text import parse_json
from harness.model.run_record import CellRecord
from harness.model.stored_files import is_stored, packed, read_stored
from harness.model.unzstd import unpacked
from harness.runs.judges import judged_by
from harness.runs.model import JOURNAL, SECOND_JOURNAL, Cell, Workload

FORMAT = 1
MAX_BYTES = 1 << 30
"""What all kept cells may take; the ones used longest ago go first."""

_CONSOLE = "console.log"
_VERDICTS = "verdicts.json"
_FILES = (JOURNAL, SECOND_JOURNAL, _CONSOLE, EXPLORATION, _VERDICTS)
_MAX_FILE = 256 << 20


@dataclass(frozen=True)
class Taken:
    """A finished cell to be put into a run: the folder it is kept in, and its record with the run it is from.

    ``judged`` says that its verdicts are among its files, and that judging it again would give the same.
    """

    record: CellRecord
    folder: Path
    files: Mapping[str, str]
    judged: bool = False

    def place(self, folder: Path) -> None:
        """Put its files into a cell's folder. Raises ``StoreError``."""
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in self.files:
                if name != _VERDICTS or self.judged:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    _linked(_packed(self.folder, name), packed(folder / name))


def cell_key(cell: Cell, record: CellRecord, workload: Workload) -> str:
    """Return what tells this question to this kernel from every other; "" where answers are not kept.

    Kept are those of guests in QEMU that run the C payload. The image's digest is part of it, since two kernels may
    have one release and one banner; ``undamaged`` says whether the image has it. Raises what building init raises.
    """
    program = shutil.which(ARCHITECTURES[cell.arch].emulator)
    if (
        not isinstance(cell.kernel, Kernel)
        or not isinstance(cell.profile.guest, InQemu)
        or workload.name != "c"
        or workload.suites
    ):
        return ""
    if program is None or record.machine is None:
        return ""
    if not cell.kernel.image_sha256:
        return ""
    emulator = identify(Path(program))
    parts: dict[str, Any] = {
        "format": FORMAT,
        "arch": cell.arch,
        "kernel": [
            cell.kernel.sha256,
            cell.kernel.image_sha256,
            cell.kernel.config_sha256,
            cell.kernel.image.name,
            cell.kernel.release,
        ],
        "machine": record.machine.model_dump(mode="json"),
        "cpu": dict(cell.profile.cpu),
        "board": dict(cell.profile.board),
        "emulator": [emulator.version, emulator.sha256],
        "init": file_sha256(build_init(cell.arch)),
        "payloads": [_payload(workload), _payload(workload.second) if workload.second else None],
    }
    if cell.explore is not None:
        parts["explore"] = cell.explore.seconds
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def undamaged(cell: Cell) -> bool:
    """Whether a cell's image has the bytes that its record says. Who takes an answer asks: nothing boots, and nobody
    else looks."""
    try:
        if isinstance(cell.kernel, Kernel):
            demand_image(cell.kernel)
    except StoreError:
        return False
    return True


def _payload(workload: Workload) -> list[str]:
    planned = "\n".join(probe.id for probe in workload.planned)
    return [workload.name, workload.sha256, hashlib.sha256(planned.encode()).hexdigest()]


class FinishedCells:
    """The kept cells, in the store's ``finished/``."""

    def __init__(self, store: Store | None = None, largest: int = MAX_BYTES) -> None:
        self._store, self._largest = store or Store(), largest
        self._root = self._store.root / "finished"

    def find(self, key: str, waiting: CellRecord) -> Taken | None:
        """Return the kept cell for ``key`` as a cell of another run; None when there is none, or it is damaged.

        A damaged one is removed: the cell is asked again, and kept again.
        """
        if not key:
            return None
        folder = self._root / key
        if (taken := self._whole(folder, key, waiting)) is None and folder.exists():
            self.drop(key)
        return taken

    def _whole(self, folder: Path, key: str, waiting: CellRecord) -> Taken | None:
        try:
            told = parse_json((folder / "cell.json").read_bytes())
            record = CellRecord.model_validate(told["record"])
            files = {str(name): str(digest) for name, digest in told["files"].items()}
            whole = all(hashlib.sha256(_unpacked(_packed(folder, n))).hexdigest() == d for n, d in files.items())
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            EOFError,
            ValidationError,
            zstandard.ZstdError,
        ):
            return None
        if not whole or not record.clean or JOURNAL not in files or set(files) - set(_names(record)):
            return None
        (folder / "cell.json").touch()
        kept = {"id": waiting.id, "profile": waiting.profile, "kernel": waiting.kernel, "key": key}
        kept["taken_from"] = str(told["run"])
        same = (told.get("judged_by"), record.id, record.kernel and record.kernel.name)
        judged = _VERDICTS in files and same == (judged_by(), waiting.id, waiting.kernel and waiting.kernel.name)
        return Taken(record.model_copy(update=kept), folder, files, judged)

    def drop(self, key: str) -> None:
        """Forget a cell whose answers are in doubt."""
        with self._store.lock(f"finished {key}"), telling(self._root / key):
            shutil.rmtree(self._root / key, ignore_errors=True)

    def keep(self, key: str, run: str, record: CellRecord, folder: Path) -> None:
        """Keep a finished cell that lies in ``folder``. What is not clean or whole, or taken itself, is passed over."""
        if not key or not record.clean or record.crashes or record.taken_from or record.lost_on:
            return
        if record.explore is not None and not _explored_whole(folder):
            return
        target = self._root / key
        with self._store.lock(f"finished {key}"), telling(target), self._store.scratch() as scratch:
            if (target / "cell.json").is_file():
                return
            made = scratch / "cell"
            made.mkdir()
            files = {name: read_stored(folder / name) for name in _names(record) if is_stored(folder / name)}
            for name, data in files.items():
                _packed(made, name).write_bytes(zstandard.compress(data))
            told = {
                "run": run,
                "judged_by": judged_by(),
                "record": record.model_dump(mode="json"),
                "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            }
            (made / "cell.json").write_text(json.dumps(told), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(parents=True, exist_ok=True)
            made.rename(target)
            self._make_room()

    def _make_room(self) -> None:
        """Remove the cells used longest ago until the rest fits."""
        cells = sorted(self._root.glob("*/cell.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        used = 0
        for path in cells:
            used += sum(file.stat().st_size for file in path.parent.iterdir())
            if used > self._largest:
                shutil.rmtree(path.parent, ignore_errors=True)


def _explored_whole(folder: Path) -> bool:
    """Whether the exploration of a cell came to its end and left nothing unexplained: another guest may do better."""
    try:
        told = read_exploration(folder / EXPLORATION)
    except UsageError:
        return False
    return not told.lost and not told.unconfirmed


def _linked(kept: Path, target: Path) -> None:
    """The same file in another place, stored once where the file system allows it."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(kept)
    except OSError:
        shutil.copyfile(kept, target)


def _names(record: CellRecord) -> tuple[str, ...]:
    """The files of a cell that are kept, those of its further guests too."""
    return (*_FILES, *(f"{helper.folder}/{name}" for helper in record.helpers for name in (JOURNAL, _CONSOLE)))


def _packed(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '@')}.zst"


def _unpacked(path: Path) -> bytes:
    with path.open("rb") as file, unpacked(file) as stream:
        data = stream.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise ValueError(f"{path.name} unpacks to more than {_MAX_FILE} bytes")
    return data
