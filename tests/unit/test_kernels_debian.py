from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import KernelUnavailable, StoreError
from harness.kernels.apt import explain
from harness.kernels.archive import Package, Saying, parse_index
from harness.kernels.debian import candidates, candidates_in, matches, select
from harness.matrix.sources.debian import DebianSource

DATA = Path(__file__).parents[1] / "data" / "kernels"


class Shelf:
    """An archive of recorded indexes."""

    def packages(self, suite: str, architecture: str, *, refresh: bool = False) -> tuple[Package, ...]:
        path = DATA / f"{suite}-{architecture}.packages"
        if not path.exists():
            raise KernelUnavailable(f"cannot fetch the index of {suite}")
        return tuple(parse_index(path.read_text(), suite))

    def download(self, architecture: str, packages: Sequence[Package], folder: Path, say: Saying) -> list[Path]:
        raise AssertionError("nothing is fetched here")


BACKPORTS = DebianSource(("trixie-backports",), release="newest")


def test_parts_are_found_by_depends() -> None:
    found = {c.version: c for c in candidates(Shelf(), BACKPORTS, "x86_64")}
    assert list(found) == ["6.17.13", "6.18.15", "6.19.14", "7.2.12", "7.3.4"]
    shapes = {
        version: tuple(part.name.split("-")[1] if part else "" for part in (c.image, c.config, c.modules))
        for version, c in found.items()
    }
    assert shapes == {
        "6.17.13": ("image", "image", "image"),
        # Their unsigned parts have left the suite.
        "6.18.15": ("image", "", "image"),
        "6.19.14": ("binary", "", ""),
        "7.2.12": ("binary", "base", "modules"),
        "7.3.4": ("binary", "base", "modules"),
    }
    assert found["7.3.4"].release == "7.3.4+deb13-cloud-amd64"
    assert [part.name for part in found["6.17.13"].needed] == ["linux-image-6.17.13+deb13-cloud-amd64"]


def test_abi_numbered_releases_keep_both_names() -> None:
    found = candidates(Shelf(), DebianSource(("bookworm",), release="6.1"), "arm64")
    assert [(c.release, c.version) for c in found] == [
        ("6.1.0-47-cloud-arm64", "6.1.170"),
        ("6.1.0-50-cloud-arm64", "6.1.176"),
    ]


@pytest.mark.parametrize("flavour", ["cloud", "full"])
def test_unsigned_debug_and_realtime_builds_are_no_candidates(flavour: str) -> None:
    source = DebianSource(("trixie-backports",), flavour, release="newest")
    suffix = {"cloud": "-cloud-amd64", "full": "+deb13-amd64"}[flavour]
    assert all(c.release.endswith(suffix) for c in candidates(Shelf(), source, "x86_64"))


def test_an_unfinished_suite_offers_no_shell_without_its_parts() -> None:
    gone = "linux-binary-7.3.4+deb13-cloud-amd64"
    packages = [p for p in Shelf().packages("trixie-backports", "amd64") if p.name != gone]
    assert candidates_in(packages, "x86_64", "cloud")[-1].version == "7.2.12"


@pytest.mark.parametrize(
    ("wish", "version"),
    [
        ({"release": "newest"}, "7.3.4"),
        ({"release": "6.18"}, "6.18.15"),
        ({"release": "7.2.12"}, "7.2.12"),
        ({"version": "6.19.14-1~bpo13+1"}, "6.19.14"),
        ({"package": "linux-image-cloud-{arch}"}, "7.3.4"),
    ],
)
def test_select(wish: dict[str, str], version: str) -> None:
    assert select(Shelf(), DebianSource(("trixie-backports",), **wish), "x86_64").version == version


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"release": "6.99"}, "no kernel 6.99 in trixie-backports (amd64, cloud); newest there: 6.17.13, 6.18.15"),
        ({"version": "1-1"}, "no package version 1-1 in"),
        ({"package": "linux-image-rt-{arch}"}, "no target of linux-image-rt-{arch} in"),
    ],
)
def test_select_nothing(wish: dict[str, str], said: str) -> None:
    with pytest.raises(KernelUnavailable) as caught:
        select(Shelf(), DebianSource(("trixie-backports",), **wish), "x86_64")
    assert said in str(caught.value)


def test_matches() -> None:
    assert matches(DebianSource(("sid",), release="6.12"), "6.12.4", "6.12.4-1")
    assert not matches(DebianSource(("sid",), version="6.12.4-2"), "6.12.4", "6.12.4-1")


HOSTILE = """\
Package: linux-image-../../etc
Version: 1-1
SHA256: {good}

Package: linux-image-1-amd64
Version: 1-1
SHA256: short

Package: linux-image-2-amd64
SHA256: {good}

Package: linux-image-3-amd64
Version: 1 -o evil
SHA256: {good}

Package: linux-image-4-amd64
Version: 4-1
Size: lots
Depends: , linux-base-4 (= 4-1 | , ((
SHA256: {good}
""".format(good="a" * 64)


def test_hostile_stanzas_are_left_out() -> None:
    (package,) = parse_index(HOSTILE, "sid")
    assert (package.name, package.size) == ("linux-image-4-amd64", 0)


@given(st.text(alphabet="Package: linux-SHA256Vrsio\n()=,|~.1a\0", max_size=400))
def test_any_index(text: str) -> None:
    packages = parse_index("Package: linux-" + text, "sid")
    assert isinstance(candidates_in(packages, "x86_64", "cloud"), tuple)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "Err:1 http://mirror/debian sid InRelease\nE: Failed to fetch http://mirror/debian  Could not connect\n"
            "E: Some index files failed to download. They have been ignored, or old ones used instead.",
            "cannot fetch it: Failed to fetch http://mirror/debian Could not connect",
        ),
        (
            "E: Failed to fetch x  Hash Sum mismatch\n   Hashes of expected file:\nE: Unable to fetch",
            "Hash Sum mismatch",
        ),
        (
            "W: GPG error: x: signatures were invalid\nE: The repository 'x' is not signed.\nW: Updating is unsafe",
            "cannot fetch it: The repository 'x' is not signed. (GPG error: x: signatures were invalid)",
        ),
        # apt 3
        ("E: Failed to fetch y  Unable to connect to 127.0.0.1:1:\nE: Some index files", "Unable to connect to"),
        ("W: only this", "cannot fetch it: only this"),
        ("E: none of the words known today\nE: Unable to fetch", "cannot fetch it: none of the words known today"),
        ("", "apt failed with no error message"),
    ],
)
def test_apts_words_become_one_line(output: str, said: str) -> None:
    error = explain("it", output, Path("/cache"))
    assert isinstance(error, KernelUnavailable)
    assert said in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    "output",
    [
        "E: Write error - write (28: No space left on device)",
        "E: Write error - write (28: Kein Platz)",
        "E: Write error - write (122: Disk quota exceeded)",
        # apt 3 does not repeat the reason in the error itself.
        "Err:2 http://m sid/main\n  Error writing to file - write (28: No room) [IP: ::1 80]\nE: Failed to fetch x",
    ],
)
def test_a_full_disk_is_the_stores_fault(output: str) -> None:
    error = explain("it", output, Path("/cache"))
    assert isinstance(error, StoreError)
    assert "SEALMATRIX_CACHE" in str(error)
