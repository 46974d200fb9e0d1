"""The history on a real PostgreSQL server, started for the test and gone after it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import inspect, make_url
from sqlalchemy.engine import URL

from harness.errors import StoreError
from harness.history.database import database_url, reading, shown, writing
from harness.history.queries import flaky, rule_history, runs, slowest
from harness.history.read import read_folder
from harness.history.record import import_folders, record, remember
from harness.history.tables import Base
from tests.builders import cell, default_matrix, result, rule, run
from tests.support.histories import on_disk


def program(name: str) -> str | None:
    """A program of PostgreSQL; Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def unprivileged() -> pwd.struct_passwd | None:
    """Whom to run the server as: it refuses to run as root. None for ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


INITDB, PG_CTL = program("initdb"), program("pg_ctl")
pytestmark = pytest.mark.skipif(not (INITDB and PG_CTL), reason="no PostgreSQL server: apt-get install postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[URL]:
    """A server on a socket of its own; its folder's path is short, because a socket's must be."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sm-pg-")))
        user = unprivileged()
        who: dict[str, object] = {}
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
            who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

        def call(*argv: str) -> None:
            done = subprocess.run(argv, cwd=folder, env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, check=False,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, **who)  # type: ignore[call-overload]  # fmt: skip
            assert done.returncode == 0, done.stdout

        data = str(folder / "data")
        call(INITDB or "", "-D", data, "-U", "sealmatrix", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        stack.callback(call, PG_CTL or "", "-D", data, "-m", "immediate", "stop")
        call(PG_CTL or "", "-D", data, "-l", str(folder / "log"), "-w", "-t", "60", "-o", options, "start")
        yield make_url(f"postgresql://sealmatrix@/postgres?host={folder}")


@pytest.fixture
def url(server: URL, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> URL:
    """The server by the setting, its history empty."""
    monkeypatch.setenv("SEALMATRIX_HISTORY", server.render_as_string(hide_password=False))
    found = database_url(tmp_path)
    import_folders(found, [], afresh=True)
    return found


def test_the_steps_make_the_tables_the_models_describe(url: URL) -> None:
    with reading(url) as connection:
        inspected = inspect(connection)
        made = {t: {c["name"]: c["nullable"] for c in inspected.get_columns(t)} for t in inspected.get_table_names()}
    del made["alembic_version"]
    assert made == {t.name: {c.name: c.nullable for c in t.columns} for t in Base.metadata.sorted_tables}


def test_a_run_is_recorded_and_every_question_is_answered(url: URL, tmp_path: Path) -> None:
    done = on_disk(default_matrix(tmp_path / "r-00"), "r-00")
    assert remember(done.folder) == ""
    assert remember(done.folder) == ""
    assert not (tmp_path / "history.sqlite").exists()
    with reading(url) as connection:
        assert [line.cells for line in runs(connection)] == [7]
        assert sum(p.status == "fail" for p in rule_history(connection, "munmap-across").points) == 2
        assert flaky(connection) == ()
        assert len(slowest(connection, 5)) == 5


def test_runs_that_end_together_are_all_recorded(url: URL, tmp_path: Path) -> None:
    done = [
        on_disk(run(tmp_path / f"r-0{i}", [(cell("debian-7.3"), [result(rule("munmap-a"))])]), f"r-0{i}")
        for i in range(5)
    ]
    remarks: list[str] = []
    threads = [threading.Thread(target=lambda f=d.folder: remarks.append(remember(f))) for d in done]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert remarks == [""] * 5
    with reading(url) as connection:
        assert len(runs(connection)) == 5


def test_what_failed_half_way_leaves_nothing(url: URL, tmp_path: Path) -> None:
    done = on_disk(default_matrix(tmp_path / "r-00"), "r-00")
    with pytest.raises(RuntimeError), writing(url) as connection:
        record(connection, read_folder(done.folder, {}))
        raise RuntimeError("power cut")
    with reading(url) as connection:
        assert runs(connection) == ()


def test_a_server_that_is_gone_is_one_line_without_the_password() -> None:
    url = make_url("postgresql+psycopg://u:secret@127.0.0.1:1/d")
    with pytest.raises(StoreError, match="does not answer") as told, reading(url):
        pass
    assert "secret" not in str(told.value) + shown(url)
    assert "\n" not in str(told.value)
