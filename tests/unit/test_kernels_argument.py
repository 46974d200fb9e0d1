"""What may be written where a kernel is asked for, and what is said when it is none."""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from harness.errors import KernelUnavailable, UsageError
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.download import download
from harness.kernels.model import Kernel
from harness.kernels.packages import package_files
from harness.kernels.resolve import provide
from harness.kernels.store import Store
from harness.matrix.load import load_matrix
from harness.matrix.model import KernelSpec, Matrix
from harness.matrix.plan import plan_cells
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.package import PackageSource
from harness.matrix.sources.tree import TreeSource
from harness.matrix.sources.url import UrlSource
from tests.support import packages
from tests.support.file_server import FileServer, serving
from tests.unit.kernel_fakes import CONFIG, arm64_image, make_deb, module

MATRIX = """\
version: 1
kernels:
  stable: {source: debian, suites: [trixie], release: 6.12, architectures: [arm64]}
"""
RELEASE = "6.12.30-own"
FILES = {
    f"boot/vmlinuz-{RELEASE}": arm64_image(RELEASE),
    f"boot/config-{RELEASE}": CONFIG,
    f"lib/modules/{RELEASE}/kernel/virtio.ko": module(),
}


class Desk:
    """A matrix, a store, and a folder in which things lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "kernels.yaml").write_text(MATRIX)
        self.matrix = load_matrix(folder / "kernels.yaml")
        self.store = Store(folder / "cache")

    def read(self, *words: str, **how: object) -> tuple[Matrix, tuple[str, ...]]:
        reading = Reading(store=Store(self.store.root), say=lambda text: None, **how)  # type: ignore[arg-type]
        return read_arguments(self.matrix, words, reading)

    def one(self, *words: str, **how: object) -> KernelSpec:
        matrix, (name,) = self.read(*words, **how)
        return matrix.kernels[name]

    def kernel(self, *words: str, offline: bool = False) -> Kernel:
        matrix, names = self.read(*words, offline=offline)
        cells = plan_cells(matrix, kernels=names)
        (kernel,) = provide(matrix, cells, store=Store(self.store.root), offline=offline).kernels.values()
        assert isinstance(kernel, Kernel), kernel
        return kernel

    def put(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return str(path)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as shelf:
        yield shelf


def test_a_name_of_the_matrix_is_that_entry(desk: Desk) -> None:
    assert desk.read("stable", "st*") == (desk.matrix, ("stable", "st*"))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_an_image_tells_its_architecture(desk: Desk, pack: type[bytes]) -> None:
    kernel = desk.kernel(desk.put("Image", pack(arm64_image(RELEASE))))
    assert (kernel.name, kernel.arch, kernel.release, kernel.image_format) == ("Image", "arm64", RELEASE, "Image")


def test_what_was_read_tells_its_version(desk: Desk, server: FileServer) -> None:
    image = desk.put("vmlinuz-6.12.30", arm64_image("6.12.30"))
    server.files["/k"] = arm64_image("6.13.2")
    named = [desk.one(image), desk.one(server.url("/k")), desk.one("stable")]
    assert [spec.version for spec in named] == ["6.12.30", "6.13.2", ""]


def test_configuration_and_modules_are_found_beside_an_installed_image(desk: Desk) -> None:
    for name, data in FILES.items():
        desk.put(name, data)
    spec = desk.one(str(desk.folder / f"boot/vmlinuz-{RELEASE}"))
    assert spec.source == FileSource(
        desk.folder / f"boot/vmlinuz-{RELEASE}",
        desk.folder / f"boot/config-{RELEASE}",
        desk.folder / f"lib/modules/{RELEASE}",
    )


def test_a_built_tree_is_used_as_it_lies(desk: Desk) -> None:
    desk.put("linux/arch/arm64/boot/Image", arm64_image(RELEASE))
    desk.put("linux/.config", CONFIG)
    desk.put("linux/modules.order", b"kernel/virtio.o\n")
    tree = desk.folder / "linux"
    spec = desk.one(str(tree))
    assert (spec.name, spec.arches, spec.listed) == ("linux", ("arm64",), False)
    assert spec.source == FileSource(tree / "arch/arm64/boot/Image", tree / ".config", tree)
    assert desk.one(str(tree / "arch/arm64/boot/Image")).source == spec.source


def test_of_several_builds_in_a_tree_the_newest_is_meant(desk: Desk) -> None:
    old = desk.put("linux/arch/arm64/boot/Image.gz", gzip.compress(arm64_image("6.1.1")))
    os.utime(old, ns=(1, 1))
    new = desk.put("linux/arch/arm64/boot/Image", arm64_image(RELEASE))
    source = desk.one(str(desk.folder / "linux")).source
    assert isinstance(source, FileSource)
    assert str(source.image) == new


def test_a_tree_to_be_built(desk: Desk) -> None:
    desk.put("linux/Kbuild", b"")
    tree = desk.folder / "linux"
    assert desk.one(str(tree), build="v6.17", arches=("x86_64",)).source == TreeSource(tree, "v6.17")
    with pytest.raises(UsageError, match=r"not built.*--build"):
        desk.one(str(tree))


def tools(*names: str) -> pytest.MarkDecorator:
    absent = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


WHERE = f"lib/modules/{RELEASE}"
CORE = {f"{WHERE}/vmlinuz": arm64_image(RELEASE), f"{WHERE}/config": CONFIG}
MODULES = {f"{WHERE}/kernel/virtio.ko": module()}


@tools("dpkg-deb")
def test_a_kernel_in_two_debian_packages(desk: Desk) -> None:
    image = packages.make_deb(desk.folder, "image", {name: FILES[name] for name in FILES if "vmlinuz" in name})
    modules = packages.make_deb(desk.folder, "modules", {name: FILES[name] for name in FILES if "vmlinuz" not in name})
    kernel = desk.kernel(str(modules), str(image))
    assert (kernel.name, kernel.release, kernel.config.get("VIRTIO_PCI")) == (RELEASE, RELEASE, "y")
    assert [name for name, _ in kernel.modules(("virtio",))] == ["virtio.ko"]


@tools("rpmbuild")
def test_a_kernel_in_two_rpm_packages(desk: Desk) -> None:
    rpms = [
        packages.make_rpm(desk.folder, "kernel-core", CORE),
        packages.make_rpm(desk.folder, "kernel-modules", MODULES),
    ]
    kernel = desk.kernel(*map(str, rpms))
    assert (kernel.name, kernel.release, kernel.config.get("VIRTIO_PCI")) == (RELEASE, RELEASE, "y")
    assert [name for name, _ in kernel.modules(("virtio",))] == ["virtio.ko"]


def test_a_kernel_in_a_package_of_arch(desk: Desk) -> None:
    files = {f"{WHERE}/vmlinuz": arm64_image(RELEASE), f"{WHERE}/kernel/virtio.ko.zst": zstandard.compress(module())}
    package = packages.make_arch(desk.folder, "linux", files)
    assert f"usr/{WHERE}/vmlinuz" in dict(package_files(package))
    kernel = desk.kernel(str(package))
    assert (kernel.name, kernel.release) == (RELEASE, RELEASE)


@pytest.mark.parametrize("release", [RELEASE, "6.12.31-own"])
def test_two_builds_in_packages_are_two_kernels_whatever_they_call_themselves(desk: Desk, release: str) -> None:
    """They were one when their releases were equal, and the second image was never run."""
    names = [f"boot/vmlinuz-{RELEASE}", f"boot/vmlinuz-{release}"]
    builds = [
        desk.put(f"{n}/x.deb", make_deb({name: arm64_image(RELEASE) + bytes([n])})) for n, name in enumerate(names)
    ]
    matrix, found = desk.read(*builds)
    assert [matrix.kernels[name].source for name in found] == [PackageSource((Path(build),)) for build in builds]


def test_packages_of_two_kinds_are_two_kernels(desk: Desk) -> None:
    one = desk.put("x.deb", make_deb(FILES))
    other = str(packages.make_arch(desk.folder, "linux", CORE))
    matrix, found = desk.read(one, other)
    assert [matrix.kernels[name].source for name in found] == [PackageSource((Path(word),)) for word in (one, other)]
    assert found == (RELEASE, f"{RELEASE}-2")


def test_whose_the_modules_are_is_not_guessed(desk: Desk) -> None:
    builds = [desk.put(f"{n}/image.deb", make_deb({f"boot/vmlinuz-{RELEASE}": arm64_image(RELEASE)})) for n in (1, 2)]
    with pytest.raises(
        UsageError, match=r"1/image\.deb and .*2/image\.deb: each has an image of 6\.12\.30-own; name one"
    ):
        desk.read(*builds, desk.put("modules.deb", make_deb(MODULES)))


def test_two_kernels_of_one_name_are_told_apart(desk: Desk) -> None:
    one, two = (desk.put(f"{place}/Image", arm64_image(f"6.12.{place}")) for place in (1, 2))
    assert desk.read(one, two)[1] == ("Image", "Image-2")


# --- URLs ---


def test_a_url_is_fetched_once(desk: Desk, server: FileServer) -> None:
    server.files["/k/Image.gz"] = gzip.compress(arm64_image(RELEASE))
    url = server.url("/k/Image.gz")
    assert desk.one(url).source == UrlSource((url,))
    assert desk.kernel(url).origin.where == url
    assert desk.kernel(url, offline=True).release == RELEASE
    assert [path for path, _ in server.asked] == ["/k/Image.gz"]


def test_packages_behind_urls(desk: Desk, server: FileServer) -> None:
    server.files["/image.deb"] = make_deb({k: v for k, v in FILES.items() if "vmlinuz" in k})
    server.files["/modules.deb"] = make_deb({k: v for k, v in FILES.items() if "vmlinuz" not in k})
    words = [server.url("/image.deb"), server.url("/modules.deb")]
    kernel = desk.kernel(*words)
    assert kernel.release == RELEASE
    assert [name for name, _ in kernel.modules(("virtio",))] == ["virtio.ko"]


def test_a_broken_download_goes_on_where_it_ended(desk: Desk, server: FileServer) -> None:
    image = arm64_image(RELEASE)
    server.files["/Image"] = image
    server.cut["/Image"] = 100
    with pytest.raises(UsageError, match=r"ended after 100 of .* run again"):
        desk.read(server.url("/Image"))
    assert desk.kernel(server.url("/Image")).release == RELEASE
    assert server.asked == [("/Image", ""), ("/Image", "bytes=100-")]


def test_other_bytes_than_meant(desk: Desk, server: FileServer) -> None:
    server.files["/Image"] = arm64_image(RELEASE)
    with pytest.raises(KernelUnavailable, match="unexpected content"):
        download(desk.store, server.url("/Image"), lambda text: None, sha256="0" * 64)
    assert not any((desk.store.root / "downloads").rglob("Image*"))


def test_a_server_that_sends_nothing_is_given_up(desk: Desk, server: FileServer) -> None:
    server.stalls.add("/Image")
    with pytest.raises(KernelUnavailable, match="sent nothing for 0 s"):
        download(desk.store, server.url("/Image"), lambda text: None, stall=0.3)


def test_user_and_password_are_never_shown(desk: Desk) -> None:
    with pytest.raises(UsageError) as caught:
        desk.read("http://me:secret@127.0.0.1:1/Image?token=secret")
    assert "secret" not in str(caught.value)


# --- what is no kernel ---


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("Image", arm64_image(RELEASE)[:40], "an EFI program"),
        ("Image.gz", gzip.compress(arm64_image(RELEASE))[:-30], "damaged"),
        ("notes.txt", b"hello", "looks like text"),
        ("empty", b"", "an empty file"),
        ("page", b"<!DOCTYPE html><html>", "a web page"),
        ("x.deb", make_deb({"usr/share/doc/x": b"x"}), "no kernel and no modules"),
        ("x.deb", make_deb({f"boot/config-{RELEASE}": b"x"}), "no kernel image in it"),
        ("x.deb", make_deb(FILES)[:-200], "damaged package"),
        ("x.pkg.tar.zst", b"junk", "damaged package"),
    ],
)
def test_no_kernel_is_one_line(desk: Desk, server: FileServer, name: str, data: bytes, said: str) -> None:
    server.files[f"/{name}"] = data
    for word in (desk.put(name, data), server.url(f"/{name}")):
        with pytest.raises(UsageError, match=said) as caught:
            desk.read(word)
        assert "\n" not in str(caught.value)
    assert not any((desk.store.root / "records" / "builds").glob("*"))
    assert not any(path.is_file() for path in (desk.store.root / "downloads").rglob("*"))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("stabel", "did you mean 'stable'"),
        ("./absent.rpm", "no such file"),
        ("http://127.0.0.1:1/Image", "refused"),
        ("ftp://127.0.0.1/Image", "cannot fetch ftp"),
        ("http://127.0.0.1/", "names no file"),
        ("~nobody-of-this-name/Image", "no such file"),
    ],
)
def test_what_is_not_there_is_one_line(desk: Desk, word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        desk.read(word)


@pytest.mark.parametrize("word", ["./stable", "~/linux/stable", "/absent/stabel.deb"])
def test_a_path_that_is_not_there_is_not_taken_for_the_name_of_a_kernel(desk: Desk, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        desk.read(word)
    assert str(caught.value) == f"{word}: no such file or folder"


@pytest.mark.parametrize("word", ["", " "])
def test_an_empty_word_is_not_the_folder_it_was_written_in(
    desk: Desk, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run "$KERNEL"` in a kernel tree, with a variable that is not set, would test that tree."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^a KERNEL is empty; name one"):
        desk.read(word)


def test_a_url_that_answers_404(desk: Desk, server: FileServer) -> None:
    with pytest.raises(UsageError, match="the server answered 404"):
        desk.read(server.url("/absent/Image"))
    assert not any(path.is_file() for path in (desk.store.root / "downloads").rglob("*"))


def test_another_architecture_than_asked_for(desk: Desk) -> None:
    with pytest.raises(UsageError, match="a kernel for arm64, but the request was for x86_64"):
        desk.read(desk.put("Image", arm64_image(RELEASE)), arches=("x86_64",))


def test_packages_and_urls_in_a_matrix(desk: Desk, server: FileServer) -> None:
    desk.put("image.deb", make_deb(FILES))
    server.files["/Image"] = arm64_image(RELEASE)
    (desk.folder / "kernels.yaml").write_text(
        f"{MATRIX}  mine: {{source: package, packages: [image.deb], architectures: [arm64]}}\n"
        f'  theirs: {{source: url, urls: ["{server.url("/Image")}"], architectures: [arm64]}}\n'
    )
    matrix = load_matrix(desk.folder / "kernels.yaml")
    assert isinstance(matrix.kernels["mine"].source, PackageSource)
    cells = plan_cells(matrix, kernels=["mine", "theirs"])
    first = provide(matrix, cells, store=desk.store)
    assert [kernel.release for kernel in first.kernels.values() if isinstance(kernel, Kernel)] == [RELEASE] * 2
    assert {entry.kernel for entry in first.found} == {"mine", "theirs"}
    # What is behind the URL changes: what was locked is still used, and another machine is told.
    server.files["/Image"] = arm64_image("6.12.31-other")
    again = provide(matrix, cells, store=desk.store)
    assert [kernel.release for kernel in again.kernels.values() if isinstance(kernel, Kernel)] == [RELEASE] * 2
    other = provide(matrix, cells, store=Store(desk.folder / "other"))
    assert "changed since kernels.lock" in str(other.kernels["theirs", "arm64"])
