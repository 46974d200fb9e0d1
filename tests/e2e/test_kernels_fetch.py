"""Fetching from the real archive: signatures, faults of mirror and disk, two at once, modules of a full flavour."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import KernelUnavailable, StoreError
from harness.kernels.archive import AptArchive
from harness.kernels.lock import read_lock
from harness.kernels.model import Kernel
from harness.kernels.resolve import available
from harness.kernels.store import file_sha256
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.sources.debian import DebianSource
from tests.support.own_archive import Place, mirror

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(600)]

NOWHERE = "http://127.0.0.1:1/debian"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where ``newest`` has been fetched."""
    place = Place(tmp_path_factory.mktemp("fetched"))
    assert isinstance(place.get("newest"), Kernel)
    return place


def test_fetched_kernel(place: Place) -> None:
    found = place.get("newest")
    assert isinstance(found, Kernel)
    assert found.image_format == "vmlinux"
    assert found.image.read_bytes()[:4] == b"\x7fELF"
    assert found.config["X86_64"] == "y"
    entry = read_lock(place.folder / "kernels.lock").entries["newest", "x86_64"]
    assert (entry.image, entry.config) == (found.sha256, found.config_sha256)
    for name, _, digest in entry.triples():
        path = place.store.find(digest)
        assert path is not None, name
        assert file_sha256(path) == digest


@pytest.mark.parametrize(("name", "page"), [("newest", "4"), ("large", "16")])
def test_any_architecture_and_page_size(place: Place, name: str, page: str) -> None:
    found = place.get(name, arch="arm64")
    assert isinstance(found, Kernel)
    assert found.image_format == "Image"
    assert found.config[f"ARM64_{page}K_PAGES"] == "y"


def test_what_is_locked_needs_no_mirror(place: Place) -> None:
    found = place.get("newest", mirror=NOWHERE)
    assert isinstance(found, Kernel)
    assert found.origin.note == ""
    assert isinstance(place.get("newest", offline=True), Kernel)


def test_unreachable_mirror_with_a_stored_kernel(place: Place) -> None:
    place.forget_lock()
    found = place.get("newest", mirror=NOWHERE)
    assert isinstance(found, Kernel)
    assert found.origin.note.startswith("cannot fetch the index of trixie-backports (amd64): ")
    assert found.origin.note.endswith("the newest stored build is used")


def test_unreachable_mirror_and_nothing_stored(tmp_path: Path) -> None:
    found = Place(tmp_path).get("newest", mirror=NOWHERE)
    assert isinstance(found, KernelUnavailable)
    assert "cannot fetch the index of trixie-backports (amd64): " in str(found)
    assert "no newest kernel is stored" in str(found)
    assert "\n" not in str(found)


def test_a_tampered_package_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with mirror(tampered=".deb") as (address, _):
        found = place.get("newest", mirror=address)
    assert isinstance(found, KernelUnavailable)
    assert "cannot fetch linux-b" in str(found)
    assert list(place.store.root.glob("blobs/*/*")) == []


def test_a_tampered_index_is_refused(tmp_path: Path) -> None:
    with mirror(tampered="InRelease") as (address, _):
        found = Place(tmp_path).get("newest", mirror=address)
    assert isinstance(found, KernelUnavailable)
    assert "cannot fetch the index of trixie-backports (amd64): " in str(found)
    assert "\n" not in str(found)


def test_two_at_once_fetch_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    program = (
        "import sys; from pathlib import Path; from tests.support.own_archive import Place\n"
        "print(Place(Path(sys.argv[1])).get('newest', mirror=sys.argv[2]).sha256)"
    )
    with mirror() as (address, seen):
        argv = [sys.executable, "-c", program, str(place.folder), address]
        root = str(Path(__file__).parents[2])
        pair = [subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate()[0] for process in pair]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].strip()) == 64
    debs = [path for path in seen if path.endswith(".deb")]
    assert len(debs) == len(set(debs)) == 2  # linux-binary and linux-base


@contextmanager
def _mounted(path: Path, *options: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode(errors='replace').strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("size", ["1m", "20m", "80m"], ids=["index", "package", "image"])
def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    place = Place(tmp_path)
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    with _mounted(tmp_path / "cache", "-o", f"size={size}"):
        found = place.get("stable")
        assert isinstance(found, StoreError)
        assert "no space left; free some, or set SEALMATRIX_CACHE" in str(found)
        assert "\n" not in str(found)
        assert list((tmp_path / "cache" / "work").glob("*")) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    with _mounted(tmp_path / "cache", "-o", "ro"):
        found = place.get("newest")
    assert isinstance(found, StoreError)
    assert "read-only file system; set SEALMATRIX_CACHE" in str(found)


def test_modules_of_a_full_flavour(place: Place) -> None:
    found = place.get("full")
    assert isinstance(found, Kernel)
    assert found.config["VIRTIO_CONSOLE"] == "m"
    loaded = found.modules(("virtio_console", "virtio_pci"))
    names = [name for name, _ in loaded]
    assert names[:3] == ["virtio.ko", "virtio_ring.ko", "virtio_console.ko"]
    assert names[-1] == "virtio_pci.ko"
    assert all(data.startswith(b"\x7fELF") for _, data in loaded)
    assert found.modules(("ext4", "unix")) != ()
    with pytest.raises(KernelUnavailable, match="has no module no_such"):
        found.modules(("no_such",))


def test_modules_in_a_package_of_their_own(place: Place) -> None:
    found = place.get("newest")
    assert isinstance(found, Kernel)
    assert found.modules(("virtio_console",)) == ()  # built in
    assert [name for name, _ in found.modules(("virtio_blk",))] == ["virtio_blk.ko"]


def test_every_suite_of_the_shipped_matrix_is_signed_and_has_kernels(place: Place) -> None:
    matrix = load_matrix(shipped_path())
    sources = {
        (suite, spec.source.flavour, arch)
        for spec in matrix.kernels.values()
        if isinstance(spec.source, DebianSource)
        for suite in spec.source.suites
        for arch in spec.arches
    }
    archive = AptArchive(place.store)
    for suite, flavour, arch in sorted(sources):
        found = available(DebianSource((suite,), flavour, release="newest"), arch, store=place.store, archive=archive)
        assert found, (suite, flavour, arch)
