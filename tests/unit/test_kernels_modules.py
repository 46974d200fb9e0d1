from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ImageError, KernelUnavailable
from harness.kernels.modules import ModuleSet, depends, folder_files, folder_key, kept, pack
from harness.kernels.packages import package_files
from harness.kernels.store import Store
from tests.unit.kernel_fakes import make_deb, module

FILES = {
    "lib/modules/1/kernel/a.ko": module(),
    "lib/modules/1/kernel/b-x.ko.xz": lzma.compress(module("a")),
    "lib/modules/1/kernel/c.ko.zst": zstandard.compress(module("b_x,inside")),
    "lib/modules/1/kernel/d.ko.gz": gzip.compress(module("c,a")),
    "lib/modules/1/kernel/loop1.ko": module("loop2"),
    "lib/modules/1/kernel/loop2.ko": module("loop1"),
    "lib/modules/1/kernel/orphan.ko": module("missing"),
    "lib/modules/1/kernel/damaged.ko.xz": lzma.compress(module())[:-9],
    "lib/modules/1/modules.builtin": b"kernel/lib/inside.ko\nkernel/lib/in-too.ko\n",
    "lib/modules/1/modules.order": b"junk",
}


def module_set(root: Path, options: dict[str, str] | None = None) -> ModuleSet:
    store = Store(root)
    return ModuleSet("1", options or {}, lambda: pack(store, "test", lambda: iter(FILES.items())))


def test_dependencies_come_first(tmp_path: Path) -> None:
    loaded = module_set(tmp_path)(("d", "a"))
    assert [name for name, _ in loaded] == ["a.ko", "b_x.ko", "c.ko", "d.ko"]
    assert all(data.startswith(b"\x7fELF") for _, data in loaded)


def test_a_set_is_read_once(tmp_path: Path) -> None:
    store, asked = Store(tmp_path), []

    def load(names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
        asked.append(names)
        return (("a.ko", b"one"), ("b.ko", b"two"))

    loader = kept(store, "key", load)
    first = loader(("b",))
    assert kept(store, "key", load)(("b",)) == first == (("a.ko", b"one"), ("b.ko", b"two"))
    assert asked == [("b",)]
    loader(("c",))
    kept(store, "other", load)(("b",))
    assert asked == [("b",), ("c",), ("b",)]
    for blob in (tmp_path / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    assert kept(Store(tmp_path), "key", load)(("b",)) == first  # read again where its bytes are gone
    assert len(asked) == 4


def test_what_is_built_in_yields_nothing(tmp_path: Path) -> None:
    assert module_set(tmp_path)(("inside", "in_too", "in-too.ko")) == ()
    assert module_set(tmp_path / "untouched", {"VIRTIO_CONSOLE": "y"})(("virtio_console",)) == ()
    assert not (tmp_path / "untouched").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "kernel 1 has no module nothing, built in or loadable"),
        ("orphan", "kernel 1 has no module missing"),
        ("loop1", "depend on each other: loop1 > loop2 > loop1"),
    ],
)
def test_what_cannot_be_loaded(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(KernelUnavailable, match=said):
        module_set(tmp_path)((name,))


def test_a_damaged_module(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"the module damaged\.ko\.xz is damaged"):
        module_set(tmp_path)(("damaged",))
    with pytest.raises(ImageError, match=r"no \.modinfo section"):
        depends(module(section=b".other"))


def test_packed_once(tmp_path: Path) -> None:
    store, reads = Store(tmp_path), 0

    def files() -> Iterator[tuple[str, bytes]]:
        nonlocal reads
        reads += 1
        return iter(FILES.items())

    assert pack(store, "k", files) == pack(store, "k", files)
    assert reads == 1
    assert pack(store, "other", files).exists()
    assert reads == 2


@given(st.integers(0, 300), st.binary(max_size=40))
def test_depends_of_anything(at: int, junk: bytes) -> None:
    data = module("a,b")
    try:
        assert isinstance(depends(data[:at] + junk + data[at + len(junk) :]), tuple)
    except ImageError as error:
        assert "\n" not in str(error)


def test_folder(tmp_path: Path) -> None:
    for name in ("kernel/a.ko", "kernel/b.ko.xz", "modules.builtin", "modules.dep", "vmlinux"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    assert [name for name, _ in folder_files(tmp_path)] == ["kernel/a.ko", "kernel/b.ko.xz", "modules.builtin"]
    before = folder_key(tmp_path)
    (tmp_path / "kernel/a.ko").write_bytes(b"longer")
    assert folder_key(tmp_path) != before


# --- the packages they come out of ---


@pytest.mark.parametrize("ending", ["", ".xz", ".gz", ".zst"])
def test_files_of_a_deb(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(make_deb({"boot/vmlinuz": b"kernel", "usr/x": b""}, ending))
    assert list(package_files(path)) == [("boot/vmlinuz", b"kernel"), ("usr/x", b"")]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither a .deb, an .rpm nor"),
        (b"!<arch>\n", "neither a .deb, an .rpm nor"),
        (b"!<arch>\ndebian-binary   short", "damaged package"),
        (make_deb({"a": b"b"})[:-90], "damaged package"),
    ],
)
def test_damaged_deb(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(data)
    with pytest.raises(KernelUnavailable, match=said) as caught:
        list(package_files(path))
    assert "\n" not in str(caught.value)


@given(st.sampled_from(["", ".xz", ".gz", ".zst"]), st.integers(0, 900), st.binary(max_size=30))
def test_any_deb(tmp_path_factory: pytest.TempPathFactory, ending: str, at: int, junk: bytes) -> None:
    data = make_deb({"boot/vmlinuz": b"kernel" * 20}, ending)
    path = tmp_path_factory.mktemp("deb") / "x.deb"
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    try:
        list(package_files(path))
    except KernelUnavailable as error:
        assert "\n" not in str(error)
