"""Names that somebody else chose never lead out of a folder, and never break a report."""

from __future__ import annotations

import json
import shutil
import zlib
from hashlib import sha256
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.remote import BadAnswer, Returned
from harness.errors import UsageError
from harness.history.database import database_url, reading, writing
from harness.history.record import import_folders
from harness.matrix.model import Profile
from harness.model.run_record import read_run
from harness.names import LONGEST, NotAName, TooLarge, identifier, inflate, named_after, relative
from harness.reports.junit import classnames, suite, to_xml
from harness.reports.site import build_site
from harness.rules.load import load_catalogue
from harness.runs.model import Cell
from harness.runs.planning.compose import Options, compose_host
from tests.builders import cell, result, rule, run

STORED = Path(__file__).parents[1] / "data" / "runs" / "matrix"
EVIL = {
    "up": "../../out",
    "up within": "a/../../../out",
    "absolute": "/tmp/sealmatrix-out",
    "one dot": ".",
    "two dots": "..",
    "hidden": ".ssh",
    "empty": "",
    "a folder": "a/b",
    "another system's": "a\\b",
    "a new line": "a\nb",
    "an escape": "a\x1b[2J",
    "NUL": "a\0b",
    "C1": "a\x85b",
    "turned around": "a\u202eb",
    "no text": "a\udcffb",
    "long": "a" * (LONGEST + 1),
    "long in bytes": "ä" * LONGEST,
}


@pytest.mark.parametrize("name", EVIL.values(), ids=EVIL)
def test_what_is_no_identifier(name: str) -> None:
    with pytest.raises(NotAName, match="cannot be a name here") as caught:
        identifier(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert identifier(named_after(name))


@pytest.mark.parametrize(
    "name",
    ["debian-6.12.x86_64", "debian-7.3.x86_64.two-cpus#2", "20261123-214500-3fa2", "my kernel", "kernel-ä", "a..b"],
)
def test_what_is_one(name: str) -> None:
    assert identifier(name) == name == named_after(name)


@given(st.text())
def test_an_identifier_is_one_component_of_a_path(text: str) -> None:
    try:
        path = Path("/folder") / identifier(text)
    except NotAName:
        path = Path("/folder") / identifier(named_after(text))
    assert path.parent == Path("/folder")
    assert path.name not in ("", ".", "..")


@given(st.text(alphabet="a./\\\n"))
def test_a_relative_path_stays_inside(text: str) -> None:
    try:
        parts = relative(text)
    except NotAName:
        return
    assert ".." not in parts
    assert Path("/folder", *parts).is_relative_to("/folder")


# --- stored runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    """A stored run inside three folders, so that what leads out of it is seen."""
    folder = tmp_path / "around" / "results" / "stored"
    shutil.copytree(STORED, folder)
    return folder


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace a string in a JSON file, wherever it stands, as a key, too."""
    path = folder / name
    path.write_text(path.read_text().replace(json.dumps(old), json.dumps(new)))


def inside(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


FORGERIES = ["the run's id", "a cell's id", "a rule's id"]


@pytest.mark.parametrize("name", [EVIL[key] for key in ("up", "absolute", "two dots", "a new line", "long")])
@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_run_is_not_imported_and_writes_nowhere(what: str, name: str, forged: Path, tmp_path: Path) -> None:
    record = read_run(forged)
    old = {"the run's id": record.id, "a cell's id": record.cells[0].id, "a rule's id": "munmap-blocked"}[what]
    for file in ("run.json", "verdicts.json"):
        edit(forged, file, old, name)
    # Whoever forges one file can forge the digest of it in the other.
    told = json.loads((forged / "run.json").read_text())
    told["reports"] = {"verdicts.json": sha256((forged / "verdicts.json").read_bytes()).hexdigest()}
    (forged / "run.json").write_text(json.dumps(told))
    before = inside(tmp_path)
    url = database_url(tmp_path / "db")
    taken = import_folders(url, [forged])
    assert taken.runs == ()
    assert len(taken.remarks) == 1
    reasons = ("cannot be a name here", "should match pattern", "should have at most 200 characters")
    assert any(reason in taken.remarks[0] for reason in reasons)
    assert "\n" not in taken.remarks[0]
    with reading(url) as connection:
        build_site(connection, tmp_path / "site", load_catalogue(), 10)
    new = inside(tmp_path) - before
    assert {path.partition("/")[0] for path in new} == {"db", "site"}
    assert not Path("/tmp/sealmatrix-out").exists()


@pytest.mark.parametrize("table", ["run", "rule"])
def test_names_in_a_database_are_others_too(table: str, forged: Path, tmp_path: Path) -> None:
    url = database_url(tmp_path / "db")
    assert import_folders(url, [forged]).runs
    with writing(url) as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        found = connection.exec_driver_sql(f"SELECT id FROM {table} LIMIT 1").scalar()
        connection.exec_driver_sql(f"UPDATE {table} SET id = '../../../out' WHERE id = ?", (found,))
        if table == "run":
            connection.exec_driver_sql("UPDATE cell SET run_id = '../../../out'")
    before = inside(tmp_path)
    with reading(url) as connection:
        built = build_site(connection, tmp_path / "a" / "site", load_catalogue(), 10)
    assert [remark for remark in built.remarks if "cannot be a name here" in remark]
    assert {path.partition("/")[0] for path in inside(tmp_path) - before} == {"a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"site"}


@pytest.mark.parametrize("what", FORGERIES[:2])
def test_a_forged_run_does_not_qualify_anything(what: str, forged: Path, tmp_path: Path) -> None:
    from harness.cli.main import cli  # noqa: PLC0415

    record = read_run(forged)
    edit(forged, "run.json", record.id if what == "the run's id" else record.cells[0].id, "../../../out")
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\ntitle: T\narchitectures: [x86_64]\nrequire:\n  - levels: [required]\n")
    before = inside(tmp_path)
    words = ["--candidate", f"{forged}:debian-6.12", "--baseline", f"{forged}:debian-6.1", "--policy", str(policy)]
    done = CliRunner().invoke(cli, ["qualify", *words, "-o", str(tmp_path / "q" / "new")])
    assert isinstance(done.exception, UsageError)
    assert "cannot be a name here" in str(done.exception)
    assert inside(tmp_path) == before


def test_a_link_is_no_evidence(forged: Path, tmp_path: Path) -> None:
    from harness.qualify.evidence import copy_run  # noqa: PLC0415

    name = read_run(forged).cells[0].id
    (forged / "cells" / name / "secret").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="is a link"):
        copy_run(forged, [name], tmp_path / "evidence")
    assert not list((tmp_path / "evidence").rglob("secret"))


# --- what a worker sends ----------------------------------------------------------------------------------------------


def returned(files: dict[str, bytes]) -> Returned:
    return Returned("", None, "", False, None, (), {}, files, "tcp://worker:1")


@pytest.mark.parametrize(
    "name", ["../../out", "/tmp/sealmatrix-out", "a/../../out", "..", "a//b", "a\nb", "./a", "a/", "x" * 300]
)
def test_a_workers_files_stay_in_the_cells_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    files = {"console.log": zlib.compress(b"fine"), name: zlib.compress(b"not")}
    with pytest.raises(BadAnswer, match=r"tcp://worker:1 sent a file that was rejected: "):
        returned(files).outcome(Cell("k", "x86_64", Profile("standard"), None), folder)
    assert inside(tmp_path) == {"one", "one/two"}  # not even the good one


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"bomb": zlib.compress(bytes(1 << 20))}, "more than 1000 bytes"),
        ({"a": zlib.compress(bytes(600)), "b": zlib.compress(bytes(600))}, "b: more than 1000 bytes"),
        ({"cut": zlib.compress(b"abc")[:-2]}, "cut: ends too early"),
        ({"other": b"what"}, "other: is not what was packed"),
    ],
)
def test_inflating_is_bounded(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(TooLarge, match=message):
        list(inflate(files.items(), 1000))


def test_what_fits_is_inflated() -> None:
    files = {"a": zlib.compress(bytes(600)), "b": zlib.compress(b"x" * 400)}
    assert list(inflate(files.items(), 1000)) == [("a", bytes(600)), ("b", b"x" * 400)]


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {f"f{n}": b"" for n in range(1001)}])
def test_files_that_no_cell_leaves(files: dict[str, bytes], tmp_path: Path) -> None:
    packed = {name: zlib.compress(data) for name, data in files.items()}
    with pytest.raises(BadAnswer, match="that do not belong to a cell"):
        returned(packed).outcome(Cell("k", "x86_64", Profile("standard"), None), tmp_path)
    assert inside(tmp_path) == set()


# --- what is named after something ------------------------------------------------------------------------------------


def test_a_control_character_in_a_kernels_name_leaves_junit_well_formed(tmp_path: Path) -> None:
    told = cell("debian-6.12")
    assert told.kernel is not None
    for text in ("a\x1b[31mb", "a\0b", "a\ufffeb", "a\x85b", "a\nb"):
        odd = told.model_copy(update={"kernel": told.kernel.model_copy(update={"name": text, "release": text})})
        odd = odd.model_copy(update={"profile": text, "arch": text, "reason": text})
        made = run(tmp_path, [(odd, [result(rule("munmap-a"), "fail", text, "bypass")])])
        names = classnames(made.record.cells)
        parsed = fromstring(to_xml([suite(made, odd, names[odd.id], {})]))
        assert parsed.find(".//testcase/failure") is not None
        assert "munmap-a" in [case.get("name") for case in parsed.iter("testcase")]


def test_a_machine_with_an_odd_name_has_a_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import platform  # noqa: PLC0415

    name = platform.uname()._replace(node="../\x1b[2J")
    monkeypatch.setattr(platform, "uname", lambda: name)
    (made,) = compose_host(Options(tmp_path, ("sealmatrix",), probes=("munmap/*",))).plan.cells
    assert identifier(made.id) == made.id
