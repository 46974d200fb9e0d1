from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.kernels.resolve import provide
from harness.kernels.store import (
    Store,
    default_root,
    demand,
    file_sha256,
    keep_made,
    made,
    telling,
)
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells


def test_put_and_find(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digest = store.put(b"kernel")
    assert digest == hashlib.sha256(b"kernel").hexdigest()
    path = store.find(digest)
    assert path is not None
    assert path.read_bytes() == b"kernel"
    assert not path.stat().st_mode & 0o222
    assert store.put(b"kernel") == digest
    assert store.find("0" * 64) is None


def test_a_damaged_file_counts_as_absent(tmp_path: Path) -> None:
    digest = Store(tmp_path).put(b"kernel")
    path = tmp_path / "blobs" / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(b"k3rnel")
    store = Store(tmp_path)  # another process: what this one verified is not forgotten
    assert store.find(digest) is None
    assert not path.exists()
    assert store.find(store.put(b"kernel")) is not None


def test_a_digest_is_of_the_file_as_it_lies_there_now(tmp_path: Path) -> None:
    """Changed in place, replaced, or with its size and time as they were: it is read again."""
    store = Store(tmp_path)
    digest = store.put(b"kernel")
    path = store.find(digest)
    assert path is not None
    before = path.stat()
    time.sleep(0.06)  # until then a file counts as too young to be remembered
    assert store.find(digest) == path
    path.chmod(0o644)
    path.write_bytes(b"k3rnel")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.find(digest) is None


def test_a_file_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"kernel")
    time.sleep(0.06)
    digest = file_sha256(path)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert file_sha256(path) == digest
    (tmp_path / "other name").hardlink_to(path)
    with pytest.raises(TypeError):  # its time is another: whoever can do that could have written, too
        file_sha256(path)


def test_what_is_demanded(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"kernel")
    demand(path, hashlib.sha256(b"kernel").hexdigest(), "the image of k")
    with pytest.raises(StoreError, match=r"the image of k has the sha256 .* and should have 0000"):
        demand(path, "0" * 64, "the image of k")
    assert not path.exists()


@pytest.mark.parametrize("damage", ["one", "one.sha256"])
def test_what_was_made_is_known_again_unless_it_was_changed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "one"
    assert made(path) == ""
    keep_made(path, b"program", 0o755)
    assert made(path) == hashlib.sha256(b"program").hexdigest()
    (tmp_path / damage).write_bytes(b"pr0gram")
    assert made(path) == ""
    (tmp_path / damage).unlink()
    assert made(path) == ""


def test_records(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_record("builds/one", {"a": [1, "x"]})
    assert store.read_record("builds/one") == {"a": [1, "x"]}
    assert store.read_record("builds/two") is None
    for name, junk in (("junk", b"{"), ("list", b"[]"), ("deep", b"[" * 100_000), ("bytes", b"\xff")):
        (tmp_path / "records" / "builds" / f"{name}.json").write_bytes(junk)
        assert store.read_record(f"builds/{name}") is None
    assert list(store.records("builds")) == [{"a": [1, "x"]}]
    assert list(store.records("nothing")) == []


def _count(root: Path, rounds: int) -> None:
    store = Store(root)
    for _ in range(rounds):
        with store.lock("counter"):
            number = int((root / "counter").read_text())
            (root / "counter").write_text(str(number + 1))


def test_locks_hold_between_processes(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count, args=(tmp_path, 100)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "counter").read_text() == "300"


def test_scratch_goes_away_and_old_scratch_is_swept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left = tmp_path / "work" / "killed"
    left.mkdir(parents=True)
    long_ago = time.time() - 10 * 24 * 3600
    os.utime(left, (long_ago, long_ago))
    with store.scratch() as folder:
        (folder / "file").write_bytes(b"x")
        assert not left.exists()
    assert not folder.exists()


def test_take_moves(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.scratch() as folder:
        (folder / "deb").write_bytes(b"x")
        digest = hashlib.sha256(b"x").hexdigest()
        assert store.take(folder / "deb", digest) == store.find(digest)


@pytest.mark.parametrize(
    "code",
    [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT],
)
def test_faults_of_the_disk_are_one_line_with_the_remedy(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", "/cache")
    with pytest.raises(StoreError, match=r"^/cache/x: .*SEALMATRIX_CACHE") as caught, telling(Path("/cache/x")):
        raise OSError(code, os.strerror(code))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS])
def test_of_a_results_folder_the_setting_of_the_store_is_not_named(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", "/cache")
    with pytest.raises(StoreError, match=r"^/results/r: .*; .*name a directory") as caught, telling(Path("/results/r")):
        raise OSError(code, os.strerror(code))
    assert "SEALMATRIX_CACHE" not in str(caught.value)


def test_where_there_can_be_no_store_is_said_once_and_before_any_kernel_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "file"))
    matrix = load_matrix(default_path())
    asked: list[str] = []
    with pytest.raises(
        StoreError, match=r"/file: a file is there.*; set SEALMATRIX_CACHE to a directory you may write$"
    ):
        provide(matrix, plan_cells(matrix), progress=lambda *words: asked.append(" ".join(words)))
    assert asked == []


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(StoreError, match="file size limit exceeded"):
            Store(tmp_path).put(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StoreError, match=r"a file is there|not a directory"):
        Store(tmp_path / "cache").put(b"x")


def test_the_setting_names_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.delenv("SEALMATRIX_CACHE")
    assert default_root().name == "sealmatrix"
