"""A secret in a URL is in nothing that is printed or kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SealmatrixError, UsageError
from harness.history.database import database_url, shown, writing
from harness.kernels.apt import explain
from harness.kernels.archive import AptArchive
from harness.kernels.store import Store
from harness.secret_urls import masked, masked_text, masked_words

ROOT = Path(__file__).parents[2]
PASSWORD = "hunter2-Tr0ub4dor"

# Databases, well-formed and not; none is there, or none can be meant.
DATABASES = [
    "postgresql://u:{}@127.0.0.1:1/d",
    "postgresql://:{}@127.0.0.1:1/d",
    "postgresql+psycopg://u:{}@127.0.0.1:1/d",
    "postgresql://u@127.0.0.1:1/d?password={}",
    "postgresql://127.0.0.1:1/d?user=u&password={}",
    "postgresql://127.0.0.1:1/d?connect_timeout=1&password={}&sslmode=disable",
    "postgresql://127.0.0.1:1/d?sslpassword={}",
    "postgresql://127.0.0.1:1/d?pass%77ord={}",
    "postgresql://u:{}@127.0.0.1:port/d",
    "postgresql://u:{}@127.0.0.1:99999/d",
    "postgresql://u:p@{}@127.0.0.1:1/d",
    "postgresql://u:{}@x@127.0.0.1:1/d",
    "postgresql://u:p/{}@127.0.0.1:1/d",
    "postgresql://u:p#{}@127.0.0.1:1/d",
    "postgresql://u:p?{}@127.0.0.1:1/d",
    "postgresql://u:p:{}@127.0.0.1:1/d",
    "postgresql://u:{}@[::1:1/d",
    "postgresql:/u:{}@127.0.0.1/d",
    "postgresql:u:{}@127.0.0.1/d",
    "postgres//u:{}@127.0.0.1/d",
    "u:{}@127.0.0.1/d",
    "mysql://u:{}@127.0.0.1/d",
    "://u:{}@127.0.0.1/d",
    "nonsense+driver://u:{}@127.0.0.1/d",
    "postgresql+absent://u:{}@127.0.0.1/d",
    "postgresql://u:{}@127.0.0.1:1/d?no_such_option=1",
    "host=127.0.0.1 password={} dbname=d",
]


@pytest.mark.parametrize("text", DATABASES)
def test_no_message_about_a_database_tells_its_password(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = text.format(PASSWORD)
    with pytest.raises(SealmatrixError) as caught, writing(database_url(tmp_path, url)):
        pass
    told = [str(caught.value), repr(caught.value)]
    assert [text for text in told if PASSWORD in text] == []
    assert caught.value.__cause__ is None  # a traceback would show it
    assert list(tmp_path.iterdir()) == []  # a malformed URL is not the name of a file


@pytest.mark.parametrize("text", DATABASES[:6])
def test_a_password_reaches_the_server_all_the_same(text: str, tmp_path: Path) -> None:
    url = database_url(tmp_path, text.format(PASSWORD))
    assert url.password == PASSWORD
    assert PASSWORD not in shown(url)
    assert "127.0.0.1" in shown(url)


@pytest.mark.parametrize("name", ["x.sqlite", "./u:p@h", "/a:b@c/x", "results/history.sqlite"])
def test_a_file_is_a_file(name: str, tmp_path: Path) -> None:
    assert database_url(tmp_path, name).database == name


@given(st.text(min_size=4), st.sampled_from(DATABASES))
def test_whatever_the_password_is_it_is_hidden(secret: str, text: str) -> None:
    secret = f"<{secret}>"  # so that it is in no other part of the URL
    url = text.format(secret)
    assert secret not in masked(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://user@host/db", "postgresql://user@host/db"),
        ("postgresql://user:x@host/db", "postgresql://user:***@host/db"),
        ("https://token@host/vmlinuz", "https://***@host/vmlinuz"),
        ("https://user:x@host/vmlinuz", "https://***@host/vmlinuz"),
        ("https://host:8080/vmlinuz?version=3", "https://host:8080/vmlinuz?version=3"),
        ("https://host/vmlinuz?X-Signature=abc&more=1", "https://host/vmlinuz?X-Signature=***"),
        ("tcp://host:8786", "tcp://host:8786"),
        ("results/history.sqlite", "results/history.sqlite"),
    ],
)
def test_what_is_no_secret_is_shown(url: str, told: str) -> None:
    assert masked(url) == told
    assert masked_words(["run", url])[1] == told


# --- all that is printed, and all that is kept ------------------------------------------------------------------------


def sealmatrix(place: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *argv], cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def telling(done: subprocess.CompletedProcess[str], place: Path) -> list[str]:
    """Where the password can be read after a command."""
    found = [name for name in ("stdout", "stderr") if PASSWORD in getattr(done, name)]
    names = [str(path) for path in place.rglob("*") if PASSWORD in str(path)]
    files = [path for path in place.rglob("*") if path.is_file()]
    return [*found, *names, *(str(path) for path in files if PASSWORD.encode() in path.read_bytes())]


def test_a_whole_run_tells_and_keeps_no_password(tmp_path: Path) -> None:
    """Its output, run.json, and every report; its history cannot be reached."""
    url = DATABASES[3].format(PASSWORD)
    words = ["run", "--host", "-r", "munmap/*", "-r", f"!https://u:{PASSWORD}@h/x"]
    done = sealmatrix(tmp_path, *words, SEALMATRIX_HISTORY=url)
    assert "is not in the history" in done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    assert (folder / "report.html").is_file()
    assert "https://***@h/x" in (folder / "run.json").read_text()
    # The globs are what was asked, and are kept as they are; nobody writes a secret there but this test.
    kept = (folder / "run.json").read_text().replace(f'"!https://u:{PASSWORD}@h/x"', "")
    (folder / "run.json").write_text(kept)
    assert telling(done, tmp_path) == []


@pytest.mark.parametrize(
    "argv",
    [
        ["history", "runs", "--database", DATABASES[3]],
        ["history", "rebuild", "--database", DATABASES[8]],
        ["history", "import", ".", "--database", DATABASES[10]],
        ["history", "runs", "postgresql://u:{}@h/d"],
        ["history", "runs", "--databse", "postgresql://u:{}@h/d"],
        ["site", "build", "-o", "site", "--database=postgresql://u:{}@127.0.0.1:port/d"],
        ["run", "--ssh", "root:{}@board"],
        ["run", "--ssh", "root:{}@[::1"],
        ["run", "https:/u:{}@host/vmlinuz"],
        ["run", "https://u:{}@127.0.0.1:1/vmlinuz"],
        ["run", "https://127.0.0.1:1/vmlinuz?token={}"],
        ["worker", "tcp://u:{}@127.0.0.1:1"],
        ["run", "--cluster", "u:{}@127.0.0.1:1"],
    ],
)
def test_no_command_line_is_told_with_its_secrets(argv: list[str], tmp_path: Path) -> None:
    done = sealmatrix(tmp_path, *(word.format(PASSWORD) for word in argv), SEALMATRIX_CACHE=str(tmp_path / "cache"))
    assert done.returncode in (2, 3), done.stderr
    assert done.stderr
    assert telling(done, tmp_path) == []


@pytest.mark.parametrize("text", ["http://u:{}@127.0.0.1:1/debian", "gopher://u:{}@h/debian", "http://u:{}@[h/debian"])
def test_a_mirror_with_a_password(text: str, tmp_path: Path) -> None:
    archive = AptArchive(Store(tmp_path), text.format(PASSWORD))
    if text.startswith("http://u:{}@127"):
        assert PASSWORD not in archive._record("sid", "amd64")
        assert archive.mirror == text.format(PASSWORD)  # apt is told all of it
        return
    with pytest.raises(UsageError) as caught:
        _ = archive.mirror
    assert PASSWORD not in str(caught.value)


def test_apts_own_words(tmp_path: Path) -> None:
    said = masked_text(f"E: Failed to fetch http://u:{PASSWORD}@h/debian/dists/sid/InRelease  Unable to connect\n")
    assert "http://***@h/debian" in str(explain("the index", said, tmp_path))


def test_a_defect_tells_no_secret_either() -> None:
    program = """
import importlib, sys
main = importlib.import_module("harness.cli.main")
def broken(**_): raise AssertionError("cannot connect to postgresql://u:" + sys.argv[1] + "@h/d")
main.cli.main = broken
main.main()
"""
    done = subprocess.run([sys.executable, "-c", program, PASSWORD], capture_output=True, text=True, check=False)
    assert "cannot connect to postgresql://u:***@h/d" in done.stderr
    assert PASSWORD not in done.stderr
