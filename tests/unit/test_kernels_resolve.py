from __future__ import annotations

import gzip
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError, ImageError, KernelUnavailable, StoreError
from harness.kernels.lock import read_lock
from harness.kernels.model import Kernel
from harness.kernels.resolve import Resolution, Resolved, available, provide, provide_candidate
from harness.kernels.store import Store
from harness.matrix.load import load_matrix, parse_matrix
from harness.matrix.plan import plan_cells
from tests.unit.kernel_fakes import FakeArchive, arm64_image, module

MATRIX = """\
version: 1
kernels:
  stable: {source: debian, suites: [trixie], release: 6.12, architectures: [arm64]}
  newest: {source: debian, suites: [trixie, sid], release: newest, architectures: [arm64]}
  absent: {source: debian, suites: [trixie], release: 9.9, architectures: [arm64]}
  mine: {source: file, image: Image, config: config, modules: modules, architectures: [arm64]}
"""


class Bench:
    """A matrix on disk, a store, and an archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "kernels.yaml"
        self.path.write_text(MATRIX)
        self.archive = FakeArchive()
        self.archive.add("6.12.107-1")
        self.archive.add("6.12.117-1", files={"virtio.ko.xz": lzma.compress(module())})
        self.archive.add("7.3.4-1", suite="sid")
        self.progress: list[str] = []

    @property
    def store(self) -> Store:
        return Store(self.folder / "cache")

    def provide(self, *names: str, offline: bool = False, update: bool = False) -> Resolution:
        matrix = load_matrix(self.path)
        return provide(
            matrix,
            plan_cells(matrix, kernels=names),
            store=self.store,
            archive=self.archive,
            offline=offline,
            update=update,
            progress=lambda name, arch, text: self.progress.append(f"{name} {arch} {text}"),
        )

    def one(self, name: str, *, offline: bool = False, update: bool = False) -> Resolved:
        return self.provide(name, offline=offline, update=update).kernels[name, "arm64"]

    def locked(self) -> dict[str, str]:
        return {name: entry.release for (name, _), entry in read_lock(self.folder / "kernels.lock").entries.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def kernel(found: Resolved) -> Kernel:
    assert isinstance(found, Kernel), found
    return found


def unavailable(found: Resolved) -> str:
    assert isinstance(found, KernelUnavailable), found
    assert "\n" not in str(found)
    return str(found)


def test_first_time(bench: Bench) -> None:
    found = kernel(bench.one("stable"))
    assert (found.release, found.version, found.image_format) == ("6.12.117-cloud-arm64", "6.12.117", "Image")
    assert found.image.read_bytes() == arm64_image("6.12.117-cloud-arm64")
    assert found.config["VIRTIO_CONSOLE"] == "m"
    assert found.origin.where == "Debian trixie (arm64)"
    assert found.origin.packages[0][:2] == ("linux-image-6.12.117-cloud-arm64", "6.12.117-1")
    assert bench.locked() == {"stable": "6.12.117-cloud-arm64"}
    assert bench.progress[-1] == "stable arm64 ready: 6.12.117-cloud-arm64"


def test_one_that_cannot_be_had_does_not_stop_the_others(bench: Bench) -> None:
    (bench.folder / "Image").write_bytes(b"#!/bin/sh\n")
    (bench.folder / "config").write_bytes(b"")
    (bench.folder / "modules").mkdir()
    found = bench.provide("*").kernels
    assert kernel(found["newest", "arm64"]).version == "7.3.4"
    assert "no kernel 9.9 in trixie" in unavailable(found["absent", "arm64"])
    assert isinstance(found["mine", "arm64"], ImageError)


def test_a_file_that_is_not_there_is_bad_input_and_nothing_is_fetched(bench: Bench) -> None:
    with pytest.raises(ConfigError, match=r"kernels\.mine\.image: .*Image: no such file"):
        bench.provide("*")
    assert bench.progress == []


def test_a_lock_holds_until_it_is_updated(bench: Bench) -> None:
    bench.one("stable")
    bench.archive.add("6.12.120-1")
    assert kernel(bench.one("stable")).version == "6.12.117"
    assert kernel(bench.one("stable", update=True)).version == "6.12.120"
    assert bench.locked() == {"stable": "6.12.120-cloud-arm64"}


def test_what_is_locked_and_stored_needs_no_archive(bench: Bench) -> None:
    bench.one("stable")
    bench.archive.reachable = False
    assert kernel(bench.one("stable")).origin.note == ""
    assert kernel(bench.one("stable", offline=True)).version == "6.12.117"


def test_what_is_locked_and_not_stored_is_fetched_again(bench: Bench) -> None:
    first = kernel(bench.one("stable"))
    first.image.unlink()
    bench.archive.add("6.12.120-1")
    assert kernel(bench.one("stable")).sha256 == first.sha256


def test_what_is_locked_and_left_the_archive(bench: Bench) -> None:
    kernel(bench.one("stable")).image.unlink()
    for blob in bench.folder.glob("cache/blobs/*/*"):
        blob.unlink()
    said = unavailable(bench.one("stable", offline=True))
    assert "kernels.lock names 6.12.117-cloud-arm64 (6.12.117-1), which is not stored" in said
    assert "forbids fetching" in said
    bench.archive.suites["trixie"].pop()
    said = unavailable(bench.one("stable"))
    assert "no package version 6.12.117-1 in trixie" in said
    assert "to take the current build: sealmatrix kernels lock --update stable" in said


def test_other_bytes_under_a_locked_version_are_refused(bench: Bench) -> None:
    bench.one("stable")
    for blob in bench.folder.glob("cache/blobs/*/*"):
        blob.unlink()
    bench.archive.suites["trixie"].pop()
    bench.archive.add("6.12.117-1", files={"more.ko": module()})
    assert "different content under that version" in unavailable(bench.one("stable"))


def test_a_changed_entry_is_resolved_anew_and_said(bench: Bench) -> None:
    bench.one("stable")
    bench.path.write_text(MATRIX.replace("release: 6.12,", "release: 6.12.107,"))
    done = bench.provide("stable")
    assert kernel(done.kernels["stable", "arm64"]).version == "6.12.107"
    assert "its entry has changed since it was locked" in done.remarks[0]


def test_entries_that_left_the_matrix_leave_the_lock(bench: Bench) -> None:
    bench.provide("stable", "newest")
    bench.path.write_text(MATRIX.replace("  newest:", "  other:"))
    bench.one("other")
    assert set(bench.locked()) == {"stable", "other"}


def test_unreachable_archive_falls_back_on_the_newest_stored(bench: Bench) -> None:
    bench.one("stable")
    (bench.folder / "kernels.lock").unlink()
    bench.archive.reachable = False
    done = bench.provide("stable")
    found = kernel(done.kernels["stable", "arm64"])
    assert found.version == "6.12.117"
    assert "Could not connect; the newest stored build is used" in found.origin.note
    assert "Could not connect" in done.remarks[0]
    assert bench.locked() == {}  # a makeshift is not what the entry means from now on


def test_unreachable_archive_and_nothing_stored(bench: Bench) -> None:
    bench.archive.reachable = False
    said = unavailable(bench.one("stable"))
    assert said.startswith("stable (arm64): cannot fetch the index of trixie")
    assert said.endswith("and no kernel 6.12 is stored")


def test_offline_uses_only_what_fits(bench: Bench) -> None:
    bench.one("newest")
    assert "no kernel 6.12 is stored" in unavailable(bench.one("stable", offline=True))
    assert bench.archive.downloads == ["linux-image-7.3.4-cloud-arm64"]


def test_a_kept_index_that_is_behind_is_read_anew(bench: Bench) -> None:
    class Behind(FakeArchive):
        def packages(self, suite, architecture, *, refresh=False):  # type: ignore[no-untyped-def]
            found = super().packages(suite, architecture, refresh=refresh)
            return found if refresh else tuple(replace(p, version="6.12.1-1") for p in found)

        def download(self, architecture, packages, folder, say):  # type: ignore[no-untyped-def]
            if any(p.version == "6.12.1-1" for p in packages):
                raise KernelUnavailable("404 Not Found")
            return super().download(architecture, packages, folder, say)

    bench.archive = Behind()
    bench.archive.add("6.12.117-1")
    assert kernel(bench.one("stable")).version == "6.12.117"


def test_a_package_without_a_kernel(bench: Bench) -> None:
    bench.archive.publish("linux-image-6.12.200-cloud-arm64", "6.12.200-1", {"usr/share/doc/x": b""})
    assert "no kernel image in it" in unavailable(bench.one("stable"))


def test_a_package_with_a_kernel_for_another_machine(bench: Bench) -> None:
    files = {"boot/vmlinuz-6.12.200": b"\x7fELF junk"}
    bench.archive.publish("linux-image-6.12.200-cloud-arm64", "6.12.200-1", files)
    assert isinstance(bench.one("stable"), ImageError)


def test_unusable_store(bench: Bench) -> None:
    (bench.folder / "cache").write_text("a file where the cache should be")
    with pytest.raises(StoreError, match=r"^[^\n]*a file is there, not a directory[^\n]*$"):
        bench.one("stable")


def test_file_kernel(bench: Bench) -> None:
    folder = bench.folder
    (folder / "Image").write_bytes(gzip.compress(arm64_image("6.12.0-mine")))
    (folder / "config").write_bytes(b"CONFIG_ARM64=y\n")
    (folder / "modules" / "kernel").mkdir(parents=True)
    (folder / "modules" / "kernel" / "virtio_blk.ko").write_bytes(module())
    first = kernel(bench.one("mine"))
    assert (first.release, first.version, first.origin.where) == ("6.12.0-mine", "6.12.0", "file Image")
    assert first.modules(("virtio-blk",)) == (("virtio_blk.ko", module()),)
    (folder / "Image").write_bytes(arm64_image("6.12.0-mine2"))
    done = bench.provide("mine")
    assert kernel(done.kernels["mine", "arm64"]).release == "6.12.0-mine2"
    assert "not the build in the lock file" in done.remarks[0]
    (folder / "Image").write_bytes(b"#!/bin/sh\n")
    assert "this looks like text" in str(bench.one("mine"))


def test_a_lock_that_cannot_be_written_is_remarked(bench: Bench) -> None:
    matrix = parse_matrix(MATRIX.encode(), Path("/proc/kernels.yaml"))  # not even root makes files there
    cells = plan_cells(matrix, kernels=["stable"])
    done = provide(matrix, cells, store=bench.store, archive=bench.archive)
    assert kernel(done.kernels["stable", "arm64"]).version == "6.12.117"
    assert done.unlocked is not None
    assert done.remarks[0].startswith("/proc/kernels.lock: cannot write the lock file: ")


def test_candidates_and_one_of_them(bench: Bench) -> None:
    source = load_matrix(bench.path).kernels["newest"].source
    found = available(source, "arm64", store=bench.store, archive=bench.archive)  # type: ignore[arg-type]
    assert [c.version for c in found] == ["6.12.107", "6.12.117", "7.3.4"]
    one = provide_candidate(found[0], name="step", store=bench.store, archive=bench.archive)
    assert (one.name, one.version) == ("step", "6.12.107")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"kernels\.lock:1: not a lock file"),
        ("\n\n}", r"kernels\.lock:3: not a lock file"),
        ("[]", "not a lock file"),
        ('{"version": 2, "kernels": []}', "version"),
        ('{"version": 1, "kernels": [{}]}', r"kernels\.0\.kernel"),
        ("[" * 50_000, "not a lock file"),
    ],
)
def test_damaged_lock(bench: Bench, text: str, said: str) -> None:
    (bench.folder / "kernels.lock").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        bench.provide("stable")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=100))
def test_any_lock(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("lock") / "kernels.lock"
    path.write_bytes(data)
    with pytest.raises(ConfigError):
        read_lock(path)


def test_the_lock_is_for_people_too(bench: Bench) -> None:
    bench.one("stable")
    text = (bench.folder / "kernels.lock").read_text()
    assert json.loads(text)["version"] == 1
    assert "sealmatrix kernels lock --update" in text
