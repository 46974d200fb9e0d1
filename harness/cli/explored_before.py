"""How far an earlier exploration came: what ``explore --resume`` goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.errors import UsageError, nearest
from harness.reports.explore_text import KEPT

_Count = Annotated[int, Field(ge=0)]


class Reached(BaseModel):
    """How far an earlier run came with one cell."""

    model_config = ConfigDict(frozen=True, strict=True)

    cell: str
    seed: _Count
    batches: _Count = 0
    exhaustive: _Count = 0
    exhaustive_at: str = ""
    resumed: str = ""


_REACHED = TypeAdapter(list[Reached])


def reached_before(results: Path, name: str) -> Mapping[str, Reached]:
    """What ``explore.json`` of an earlier run says, by cell; of cells that it did not come to, what the run says that
    it resumed, if that is still there. Raises ``UsageError``."""
    found: dict[str, Reached] = {}
    read: set[str] = set()
    while not read or (name and name not in read and (results / name / KEPT).is_file()):
        read.add(name)
        told = _told(results, name)
        found = {one.cell: one for one in told} | found
        name = next((one.resumed for one in told), "")
    return found


def _told(results: Path, name: str) -> list[Reached]:
    path = results / name / KEPT
    try:
        return _REACHED.validate_json(path.read_bytes())
    except FileNotFoundError:
        there = sorted(folder.parent.name for folder in results.glob(f"*/{KEPT}"))
        raise UsageError(f"--resume {name}: {results} has no such run{nearest(name, there)}") from None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from problem
    except ValidationError as problem:
        fault = problem.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise UsageError(f"{path}: this is no exploration: {where + ': ' if where else ''}{fault['msg']}") from problem
