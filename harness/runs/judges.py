"""Who judges: a digest of all that decides what observations are worth. Where it is the same, so are verdicts."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from harness.bugs.record import BUGS
from harness.rules.load import CATALOGUE

_HARNESS = Path(__file__).parents[1]
_DECIDES = (
    "names.py",
    "bugs/record.py",
    "model/*.py",
    "guests/console*.py",
    "guests/lost_memory.py",
    "rules/*.py",
    "observations/*.py",
    "verdicts/*.py",
    "explore/known.*",
    "explore/record.py",
    "explore/verdicts.py",
    "runs/cell_states.py",
    "runs/judging.py",
)


def catalogue_digest() -> str:
    """sha256 over the catalogue's files and the bugs that they name: which contract a run was judged by."""
    return _digest([*sorted(CATALOGUE.glob("*.yaml")), BUGS])


@cache
def judged_by() -> str:
    """sha256 over the catalogue and the code that judges."""
    return _digest(
        [BUGS, *sorted(CATALOGUE.parent.glob("**/*.yaml")), *(p for g in _DECIDES for p in sorted(_HARNESS.glob(g)))]
    )


def _digest(paths: list[Path]) -> str:
    digest = sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
