"""The packages the static Python is made of: the locked ones, or what the archive has in their place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import BuildError, KernelUnavailable
from harness.kernels.archive import parse_index
from harness.kernels.store import Store
from harness.payload.packages import NAMES, SUITE, Pinned, contents, obtain, pinned
from harness.payload.python import python_arches
from tests.unit.kernel_fakes import FakeArchive

FILES = {"usr/lib/libz.a": b"!<arch>\n"}


def quiet(_text: str) -> None:
    """Nobody listens."""


@pytest.fixture
def archive() -> FakeArchive:
    return FakeArchive()


def published(archive: FakeArchive, name: str, version: str) -> Pinned:
    package = archive.publish(name, version, FILES, SUITE)
    return Pinned(package.name, package.version, package.sha256)


@pytest.mark.parametrize("arch", python_arches())
def test_the_lock_names_every_package_once(arch):
    locked = pinned(arch)
    assert sorted(package.name for package in locked) == sorted(NAMES)
    assert all(len(package.sha256) == 64 and package.version for package in locked)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"x86_64": [{"name": "zlib1g-dev"}]}', json.dumps({"x86_64": []}), '{"x86_64": 3}']
)
def test_a_damaged_lock_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "python.lock").write_text(text)
    with pytest.raises(BuildError, match=r"python\.lock: .*reinstall") as caught:
        pinned("x86_64", tmp_path / "python.lock")
    assert "\n" not in str(caught.value)


def test_what_is_locked_is_fetched_once(tmp_path: Path, archive: FakeArchive):
    wanted = (published(archive, "zlib1g-dev", "1"), published(archive, "libc6-dev", "2"))
    store = Store(tmp_path)
    assert obtain("arm64", wanted, store, archive, quiet) == wanted
    archive.reachable = False
    assert obtain("arm64", wanted, store, archive, quiet) == wanted
    assert archive.downloads == ["zlib1g-dev", "libc6-dev"]
    assert list(contents(store, wanted)) == [*FILES.items()] * 2


def test_a_version_that_left_the_archive_is_replaced_and_told(tmp_path: Path, archive: FakeArchive):
    kept = published(archive, "libc6-dev", "2")
    present = published(archive, "zlib1g-dev", "1.1")
    gone = Pinned("zlib1g-dev", "1", "0" * 64)
    assert obtain("arm64", (gone, kept), Store(tmp_path), archive, quiet) == (present, kept)


def test_a_package_nobody_has_is_named(tmp_path: Path, archive: FakeArchive):
    with pytest.raises(KernelUnavailable, match=r"bookworm \(arm64\) has no zlib1g-dev"):
        obtain("arm64", (Pinned("zlib1g-dev", "1", "0" * 64),), Store(tmp_path), archive, quiet)


def test_an_index_gives_the_packages_asked_for():
    stanza = "Package: {}\nVersion: 1\nSize: 5\nSHA256: " + "a" * 64
    text = "\n\n".join(stanza.format(name) for name in ("libc6-dev", "linux-image-1", "zlib1g-dev", "libc6-dev-x32"))
    assert [p.name for p in parse_index(text, SUITE)] == ["linux-image-1"]
    assert [p.name for p in parse_index(text, SUITE, {"libc6-dev", "zlib1g-dev"}.__contains__)] == [
        "libc6-dev",
        "zlib1g-dev",
    ]
