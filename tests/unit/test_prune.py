"""What is removed is what no rule keeps; what is removed in part is no run, and no kernel, any more."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.main import cli
from harness.cli.results import size_of
from harness.errors import UsageError
from harness.kernels.builds import stored_builds
from harness.kernels.prune import remove_builds, unused_builds
from harness.kernels.store import Store
from harness.nightly.marks import NightRecord, write_mark
from harness.nightly.prune import Keep, NightOnDisk, nights_on_disk, remove, to_remove
from harness.runs.run_store import run_folders
from tests.stored_runs import copy_of


def year(size: int = 10) -> list[NightOnDisk]:
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    return [NightOnDisk(Path(f"n-{day:%m%d}"), f"{day}T03:00:00+00:00", size) for day in days]


def kept(nights: list[NightOnDisk], keep: Keep, opened: tuple[str, ...] = ()) -> list[str]:
    gone = to_remove(nights, keep, opened)
    return [night.folder.name for night in nights if night not in gone]


def test_the_last_ones_one_a_week_and_what_opened_a_regression_stay() -> None:
    names = kept(year(), Keep(last=14, weeks=52), ("n-0214", "n-0703"))
    assert names[-14:] == [night.folder.name for night in year()[-14:]]
    assert {"n-0214", "n-0703"} <= set(names)
    assert 52 + 14 - 3 <= len(names) <= 52 + 14 + 2
    assert kept(year(), Keep(last=3, weeks=0)) == ["n-1229", "n-1230", "n-1231"]
    assert len(kept(year(), Keep(last=400))) == 365


def test_over_the_budget_the_oldest_weekly_ones_go_and_the_others_never() -> None:
    names = kept(year(10), Keep(last=2, weeks=52, most=100), ("n-0214",))
    assert names[0] == "n-0214"
    assert len(names) == 10
    assert kept(year(10), Keep(last=5, weeks=52, most=1), ("n-0214",)) == [
        "n-0214", "n-1227", "n-1228", "n-1229", "n-1230", "n-1231"
    ]  # fmt: skip


def test_only_nights_that_ended_are_removed(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    by_hand, ended, going = (copy_of(name, results) for name in ("matrix", "repeats", "faults"))
    write_mark(ended, NightRecord(state="done", selection="nightly"))
    write_mark(going, NightRecord(state="running", selection="nightly"))
    (found,) = nights_on_disk(results)
    assert found.folder == ended
    remove([found])
    assert run_folders(results) == sorted([by_hand, going])
    assert not list(results.glob(".removed-*"))


@pytest.mark.parametrize("dry", [True, False])
def test_the_command_says_what_it_does(tmp_path: Path, dry: bool) -> None:
    for name in ("matrix", "repeats"):
        write_mark(copy_of(name, tmp_path), NightRecord(state="done", selection="nightly"))
    words = ["results", "prune", "--results", str(tmp_path), "--keep-last", "1", "--keep-weeks", "0"]
    assert CliRunner().invoke(cli, ["history", "rebuild", "--results", str(tmp_path)]).exit_code == 0
    told = CliRunner().invoke(cli, [*words, *(["--dry-run"] if dry else [])])
    assert told.exit_code == 0, told.output
    assert ("would remove" if dry else "removed") in told.output
    assert len(run_folders(tmp_path)) == (2 if dry else 1)
    assert bool(list(tmp_path.rglob("*.zst"))) is not dry


def test_sizes_are_read() -> None:
    assert [size_of(text) for text in ("0", "500M", "1.5G", "4gb")] == [0, 500 << 20, 3 << 29, 4 << 30]
    with pytest.raises(UsageError, match="is not a size"):
        size_of("much")


def test_a_kernel_that_nothing_names_goes_with_what_only_it_needs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    common, own, other = (store.put(text) for text in (b"common", b"own", b"other"))
    facts = {
        "kind": "debian", "where": "x", "suite": "sid", "arch": "x86_64", "flavour": "cloud", "version": "6.12",
        "package_version": "1", "format": "vmlinux", "modules_package": None,
    }  # fmt: skip
    for number, (image, config) in enumerate(((own, common), (other, common))):
        build = facts | {"release": f"r{number}", "image": image, "boot": image, "config": config, "packages": []}
        store.write_record(f"builds/{number}", build)
    (unused,) = unused_builds(store, {other})
    assert (unused.build.release, unused.blobs, unused.size) == ("r0", (own,), 3)
    (tmp_path / "records/builds/0.json").rename(tmp_path / "records/builds" / f"{unused.build.id}.json")
    remove_builds(store, [unused])
    assert [build.release for build in stored_builds(store)] == ["r1"]
    assert (store.holds(own), store.holds(common), store.holds(other)) == (False, True, True)


def test_a_folder_that_is_not_there_has_no_nights_to_keep(tmp_path: Path) -> None:
    said = CliRunner().invoke(cli, ["results", "prune", "--results", str(tmp_path / "reslts")])
    assert isinstance(said.exception, UsageError)
    assert "reslts: no such folder of results" in str(said.exception)
