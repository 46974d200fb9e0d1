"""The standing red team: whatever is forged, no consumer of runs takes it for green, or is misled by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import junitparser
import pytest

from harness.cli.report import FORMATS
from harness.compare.comparison import compare_picks
from harness.compare.sides import Picked, sides_of
from harness.errors import UsageError
from harness.history.database import database_url, reading
from harness.history.queries import runs
from harness.history.record import import_folders
from harness.qualify.load import parse_policy
from harness.qualify.qualification import judge_picks
from harness.rules.load import load_catalogue
from harness.runs.model import RunDone
from harness.runs.run_store import load_run
from tests.redteam.bases import BASES, make_base
from tests.redteam.forgeries import FORGERIES, Forged, Forgery, edit_json

POLICY = (
    "version: 1\ntitle: T\narchitectures: [x86_64]\nrequire:\n  - {{levels: [required, permitted], families: {}}}\n"
)
HONEST = {
    "healthy": 0,
    "bypass": 1,
    "reported": 1,
    "two": 1,
    "panic": 1,
    "late": 3,
    "boot": 3,
    "noted": 0,
    "noted-bypass": 1,
    "noted-late": 3,
    "noted-boot": 3,
    "wide": 0,
    "crossed": 0,
    "repeats": 0,
}
_Base = Callable[[str], Path]


@dataclass(frozen=True)
class Said:
    """What the consumers make of a run. ``show`` is the exit code; None where the run is refused."""

    show: int | None
    compare: int | None
    junit: int | None
    ktap: bool | None
    qualified: bool
    history: int | None


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> _Base:
    """The folder of a base, made once; it is only read."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = make_base(name, tmp_path_factory.mktemp(f"base-{name}"))
        return made[name]

    return get


def whole(done: RunDone) -> Picked:
    return Picked("it", done, sides_of(done))


def healthy(name: str) -> str:
    """The base that a forged one is held against; of two cells, both."""
    return name if HONEST[name] == 0 or name == "two" else "healthy"


def said_of(folder: Path, against: RunDone, results: Path) -> Said:
    """Ask everybody."""
    with_history = database_url(results)
    taken = import_folders(with_history, [folder])
    history = None
    if taken.runs:
        with reading(with_history) as connection:
            (line,) = runs(connection)
        history = line.exit_code or (3 if line.unclean else 0)
    try:
        done = load_run(folder, load_catalogue())
        text = FORMATS["junit"](done, "x")
        ktap = "not ok" in FORMATS["ktap"](done, "x")
        compare = compare_picks(whole(against), whole(done)).exit_code if done.record.cells else 2
        qualified = is_qualified(whole(done), whole(against))
    except UsageError as problem:
        assert "\n" not in str(problem)
        return Said(None, None, None, None, False, history)
    document = junitparser.JUnitXml.fromstring(text.encode())
    return Said(done.exit_code, compare, document.failures + document.errors, ktap, qualified, history)


def is_qualified(candidate: Picked, baseline: Picked) -> bool:
    """Under a policy that requires what applied to the honest run, and nothing else."""
    rules = {r.rule.id: r for results in baseline.done.results.values() for r in results}
    families = sorted({r.rule.family for r in rules.values() if r.status not in ("skip", "observed")})
    catalogue = {name: r.rule for name, r in rules.items() if r.rule.family in families}
    text = POLICY.format(families).encode()
    record = baseline.done.record.model_copy(update={"id": "baseline"})
    before = whole(RunDone(baseline.done.folder, record, baseline.done.results))
    found = judge_picks(candidate, before, parse_policy(text, Path("p"), catalogue), text, date(2026, 12, 1), catalogue)
    return found.qualification.verdict != "not qualified"


@pytest.mark.parametrize("name", BASES)
def test_the_honest_runs(name: str, base: _Base, tmp_path: Path) -> None:
    """Without a forgery everything is as it is: a red team that is always refused would prove nothing."""
    against = load_run(base(healthy(name)), load_catalogue())
    said = said_of(base(name), against, tmp_path)
    assert (said.show, said.history) == (HONEST[name], HONEST[name])
    green = HONEST[name] == 0
    assert (said.junit == 0, said.ktap, said.qualified) == (green, not green, green)
    assert (said.compare == 0) == (green or name == "two")  # which is held against itself


def test_there_are_forgeries_enough_and_each_is_one_of_its_kind() -> None:
    assert len(FORGERIES) >= 40
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES)
    assert {forgery.base for forgery in FORGERIES} == set(BASES)


def misleads_nobody_as_a_baseline(forged: Path, failing: RunDone) -> None:
    """Held against what was forged, a kernel that fails is neither without a regression nor qualified."""
    try:
        done = load_run(forged, load_catalogue())
    except UsageError:
        return
    if done.record.cells:
        assert not is_qualified(whole(failing), whole(done))


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_forgery(forgery: Forgery, base: _Base, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base(forgery.base), tmp_path / forgery.base))
    forgery.edit(Forged(folder, BASES[forgery.base][2]))
    said = said_of(folder, load_run(base(healthy(forgery.base)), load_catalogue()), tmp_path)
    match forgery.expected:
        case "as before":
            assert (said.show, said.history) == (HONEST[forgery.base],) * 2
            assert said.qualified == (HONEST[forgery.base] == 0)
            return
        case "refused":
            assert said == Said(None, None, None, None, False, None)
            return
        case "failed":
            assert (said.show, said.history, said.compare) == (1, 1, 1)
        case "no answer":
            assert (said.show, said.history) == (3, 3)
        case "not green":
            assert said.show != 0
            assert said.history != 0
    assert not said.qualified
    misleads_nobody_as_a_baseline(folder, load_run(base("bypass"), load_catalogue()))
    if said.show is not None:
        assert said.compare != 0
        assert said.junit
        assert said.ktap or not said.junit


def test_a_run_from_elsewhere_does_not_take_the_place_of_ours(base: _Base, tmp_path: Path) -> None:
    """Our failing run is in the history; a good one that has its id is imported, from another folder."""
    ours = Path(shutil.copytree(base("bypass"), tmp_path / "ours"))
    theirs = Path(shutil.copytree(base("healthy"), tmp_path / "theirs"))
    edit_json(theirs / "run.json", lambda record: record.update(id="bypass"))
    url = database_url(tmp_path)
    assert import_folders(url, [ours]).runs == ("bypass",)
    taken = import_folders(url, [theirs])
    assert taken.runs == ()
    assert "the history has another run bypass" in taken.remarks[0]
    with reading(url) as connection:
        assert [line.exit_code for line in runs(connection)] == [1]
    moved = ours.rename(tmp_path / "moved")
    assert import_folders(url, [moved]).runs == ("bypass",)
