"""``source: debian-source``: a small package, real tar and make; built once, kept by content. Nothing is compiled."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from harness.errors import KernelUnavailable, UsageError
from harness.kernels.builds import stored_builds
from harness.kernels.debian_tree import symbols_of
from harness.kernels.lock import Lock
from harness.kernels.prune import remove_builds, unused_builds
from harness.kernels.resolve import Resolution, resolve
from harness.kernels.sources import debian_source
from harness.kernels.store import Store
from harness.kernels.tree import OWN, make_variables, parse_fragment, watched
from harness.matrix.load import load_matrix, parse_matrix, shipped_path
from harness.matrix.model import KernelSpec
from harness.matrix.sources.debian_tree import DebianTreeSource
from tests.unit.kernel_fakes import FakeArchive, arm64_image

# Takes whatever options it is given. The image says which version it is and what make was told of mseal.o.
MAKEFILE = """\
VERSION = 7
PATCHLEVEL = 3
.PHONY: allnoconfig Image
allnoconfig:
\tcp $(KCONFIG_ALLCONFIG) $(O)/.config
Image:
\tmkdir -p $(O)/arch/arm64/boot $(O)/include/config
\tcp built $(O)/arch/arm64/boot/Image
\techo 'mseal: $(KCOV_INSTRUMENT_mseal.o) $(CFLAGS_mseal.o)' >> $(O)/arch/arm64/boot/Image
\techo symbols > $(O)/vmlinux
\techo VERSION-sealmatrix > $(O)/include/config/kernel.release
\techo built >> BUILDS
"""


class Desk:
    """A store, an archive with one source package, and what building from it came to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.archive = folder, Store(folder / "cache"), FakeArchive()
        self.builds = folder / "builds"
        self.say: list[str] = []

    def publish(self, version: str, suite: str = "trixie-backports") -> None:
        release = version.partition("-")[0]
        files = {
            "Makefile": MAKEFILE.replace("VERSION-", f"{release}-").replace("BUILDS", str(self.builds)).encode(),
            "Kbuild": b"",
            "built": arm64_image(f"{release}-sealmatrix"),
        }
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w:xz") as tarball:
            for name, data in files.items():
                member = tarfile.TarInfo(f"linux-source-7.3/{name}")
                member.size = len(data)
                tarball.addfile(member, io.BytesIO(data))
        package = {"usr/src/linux-source-7.3.tar.xz": tar.getvalue()}
        self.archive.publish("linux-source-7.3", version, package, suite)

    def resolve(
        self, *fragments: str, name: str = "own", lock: Lock | None = None, offline: bool = False
    ) -> Resolution:
        spec = KernelSpec(name, DebianTreeSource("7.3", tuple(map(Path, fragments))), ("arm64",))
        return resolve(
            [(spec, "arm64")],
            store=self.store,
            lock=lock or Lock(self.folder / "kernels.lock"),
            archive=self.archive,  # type: ignore[arg-type]
            offline=offline,
            progress=lambda _name, _arch, text: self.say.append(text),
        )

    @property
    def built(self) -> int:
        return len(self.builds.read_text().split()) if self.builds.exists() else 0


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("flex", "bison", "bc", "gcc", "aarch64-linux-gnu-gcc"):  # looked for, never run
        (programs / name).touch(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    desk = Desk(tmp_path)
    desk.publish("7.3.4-1")
    return desk


def test_it_is_built_once_and_shared(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = desk.resolve("debug").kernels["own", "arm64"]
    monkeypatch.setenv("PATH", "/nowhere")  # what is kept needs no compiler
    again = desk.resolve("debug", name="other", offline=True).kernels["other", "arm64"]
    assert (first.release, first.version, first.flavour) == ("7.3.4-sealmatrix", "7.3.4", "debug")
    assert first.config["DEBUG_VM"] == "y"
    assert first.origin.where == "linux-source-7.3 7.3.4-1"
    assert (again.sha256, again.config_sha256) == (first.sha256, first.config_sha256)
    assert desk.built == 1
    assert list((desk.store.root / "builds").iterdir()) == []  # make's objects are not kept
    assert any(text.startswith("building linux-source-7.3 7.3.4-1 (debug): many minutes") for text in desk.say)


def test_another_text_of_a_fragment_is_another_kernel(desk: Desk) -> None:
    extra = desk.folder / "extra.config"
    extra.write_text("CONFIG_ONE=y\n")
    one = desk.resolve(str(extra)).kernels["own", "arm64"]
    extra.write_text("CONFIG_TWO=y\n")
    two = desk.resolve(str(extra)).kernels["own", "arm64"]
    assert ("ONE" in one.config, "ONE" in two.config, desk.built) == (True, False, 2)


def test_a_lock_names_the_source_and_update_takes_the_newest(desk: Desk) -> None:
    first = desk.resolve("debug")
    lock = Lock(desk.folder / "kernels.lock", {("own", "arm64"): first.found[0]})
    desk.archive.suites.clear()
    desk.publish("7.3.5-1")
    assert desk.resolve("debug", lock=lock).kernels["own", "arm64"].release == "7.3.4-sealmatrix"
    assert desk.resolve("debug").kernels["own", "arm64"].release == "7.3.5-sealmatrix"
    # A version that is neither unpacked nor offered any more is no reason to build another.
    gone = lock.entries["own", "arm64"].model_copy(update={"package_version": "7.3.1-1"})
    problem = desk.resolve("debug", lock=Lock(lock.path, {("own", "arm64"): gone})).kernels["own", "arm64"]
    assert isinstance(problem, KernelUnavailable)
    assert "no suite of Debian has linux-source-7.3 7.3.1-1" in str(problem)


def test_offline_takes_what_is_unpacked_and_says_what_is_not(desk: Desk) -> None:
    assert "fetching is off" in str(desk.resolve(offline=True).kernels["own", "arm64"])
    debian_source("7.3", lambda _: None, store=desk.store, archive=desk.archive)  # type: ignore[arg-type]
    (desk.store.root / "sources/linux-source-7.3_9.git").mkdir()  # somebody's repository of it is no source
    assert desk.resolve(offline=True).kernels["own", "arm64"].release == "7.3.4-sealmatrix"


def test_a_fragment_that_is_none_is_refused_before_anything_is_fetched(desk: Desk) -> None:
    with pytest.raises(UsageError, match="did you mean 'debug'"):
        desk.resolve("debig")
    assert desk.archive.downloads == []


def test_coverage_keeps_the_symbols_until_the_kernel_goes(desk: Desk) -> None:
    kernel = desk.resolve("kcov").kernels["own", "arm64"]
    plain = desk.resolve("debug").kernels["own", "arm64"]
    symbols = symbols_of(desk.store, kernel.sha256)
    assert symbols is not None
    assert symbols.read_text() == "symbols\n"
    assert symbols_of(desk.store, plain.sha256) is None
    assert kernel.image.read_bytes().endswith(b"mseal: y -g\n")
    remove_builds(desk.store, unused_builds(desk.store, {plain.sha256}))
    assert not symbols.exists()
    assert [build.image for build in stored_builds(desk.store)] == [plain.sha256]


def test_variables_for_make_are_told_from_sentences() -> None:
    text = "# make sure of it\n# make A_b.o=y CFLAGS_b.o=-g\nCONFIG_X=y\n# make C=1 and so on\n# makes D=2\n"
    assert make_variables(text) == ("A_b.o=y", "CFLAGS_b.o=-g")
    assert [option.name for option in parse_fragment(text)] == ["X"]


def test_a_build_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.kernels.tree._WATCH_SECONDS", 0.001)
    (tmp_path / "build.log").write_text("  CC      mm/vma.o\n  AS      a.o\n  LD      x.o\n  CC [M]  b.o\n")
    said: list[str] = []
    with watched(tmp_path, "building x", said.append):
        until = time.monotonic() + 10
        while not said and time.monotonic() < until:
            time.sleep(0.001)
    assert said[0].startswith("building x: 3 files compiled in ")


def test_the_matrix_says_it_in_words() -> None:
    entry = "a: {source: debian-source, series: 6.12, fragments: [kasan], architectures: [arm64]}"
    text = f"version: 1\nextends: none\nkernels:\n  {entry}\n".encode()
    source = parse_matrix(text, Path("/m/kernels.yaml")).kernels["a"].source
    assert source == DebianTreeSource("6.12", (Path("/m/kasan"),))


def test_every_fragment_of_the_shipped_matrix_is_ours() -> None:
    sources = [spec.source for spec in load_matrix(shipped_path()).kernels.values()]
    fragments = {f.name for source in sources if isinstance(source, DebianTreeSource) for f in source.fragments}
    assert {"debug", "kasan", "kcsan", "kmemleak", "kcov"} <= fragments
    assert {name for name in fragments if not (OWN / f"{name}.config").is_file()} == set()


def test_a_sanitizer_changes_the_image_of_x86_alone(desk: Desk) -> None:
    """QEMU cannot enter a vmlinux with KASAN, so make is asked for a bzImage there; other architectures have none."""
    kernel = desk.resolve("kasan").kernels["own", "arm64"]
    assert (kernel.flavour, kernel.image_format, desk.built) == ("kasan", "Image", 1)
