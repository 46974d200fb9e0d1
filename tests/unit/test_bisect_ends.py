"""Ends of a bisection that are kernels of a person's own: an image, a built tree, packages, a URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bisect import prepare
from harness.bisect.candidates import BisectBuild, BisectBuilds
from harness.bisect.ends import own_ends
from harness.bisect.outcome import BisectResult, repeat_script
from harness.bisect.prepare import Prepared, over_builds, with_tree
from harness.bisect.session import BisectOptions
from harness.errors import UsageError
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import STANDARD_PROFILE
from tests.bisect_fakes import kernel, question
from tests.kernel_history import git
from tests.support.file_server import FileServer, serving
from tests.unit.kernel_fakes import CONFIG, arm64_image, make_deb

MATRIX = load_matrix(shipped_path())
STOCK = tuple(
    BisectBuild(f"{v}-1", v, f"{v}-cloud", "trixie", lambda v=v: kernel(f"{v}-1"))  # type: ignore[misc]
    for v in ("6.12.43", "6.12.90", "6.12.117", "6.16.3", "7.0.4")
)


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prepare, "list_builds", lambda task, matrix: BisectBuilds(STOCK))
    monkeypatch.setattr(prepare, "check_tools", lambda arch: None)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as shelf:
        yield shelf


def image(folder: Path, release: str, name: str = "") -> str:
    path = folder / (name or f"Image-{release}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(arm64_image(release))
    return str(path)


def prepared(good: str | tuple[str, ...], bad: str | tuple[str, ...], **more: object) -> Prepared:
    ends = [(end,) if isinstance(end, str) else end for end in (good, bad)]
    asked = BisectOptions(
        "builds", "munmap-blocked", "x86_64", " ".join(ends[0]), " ".join(ends[1]),
        good_words=ends[0], bad_words=ends[1], any_arch=True,
    )  # fmt: skip
    task, own = own_ends(replace(asked, **more), MATRIX)  # type: ignore[arg-type]
    made = Prepared(task, question(), MATRIX, STANDARD_PROFILE, own=own)
    return with_tree(made) if task.tree else over_builds(made)


def names(made: Prepared) -> list[str]:
    return [build.name for build in made.builds]


def test_two_images_of_one_series_search_the_builds_between_them(tmp_path: Path) -> None:
    made = prepared(image(tmp_path, "6.12.60-own"), image(tmp_path, "6.12.200-own"))
    assert names(made) == ["Image-6.12.60-own", "6.12.90-1", "6.12.117-1", "Image-6.12.200-own"]
    assert made.task.arch == "arm64"  # as the image says
    said = "the builds between Image-6.12.60-own and Image-6.12.200-own are searched: 6.12.90, 6.12.117"
    assert said in made.remarks


def test_an_own_kernel_and_a_stock_one(tmp_path: Path) -> None:
    own = image(tmp_path, "6.16.3-own")
    assert names(prepared("6.12", own)) == ["6.12.117-1", "6.16.3-1", "Image-6.16.3-own"]
    assert names(prepared("oldest", own))[0] == "6.12.43-1"
    assert names(prepared(own, "newest")) == ["Image-6.16.3-own", "6.16.3-1", "7.0.4-1"]
    fixed = prepared("7.0.4", own, fixed=True)
    assert names(fixed) == ["Image-6.16.3-own", "6.16.3-1", "7.0.4-1"]


def test_a_built_tree_a_package_and_a_url(tmp_path: Path, server: FileServer) -> None:
    image(tmp_path, "6.12.50", "linux/arch/arm64/boot/Image")
    files = {"boot/vmlinuz-6.16.9-x": arm64_image("6.16.9-x"), "boot/config-6.16.9-x": CONFIG}
    (tmp_path / "linux.deb").write_bytes(make_deb(files))
    made = prepared(str(tmp_path / "linux"), str(tmp_path / "linux.deb"))
    assert names(made) == ["linux", "6.12.90-1", "6.12.117-1", "6.16.3-1", "6.16.9-x"]
    server.files["/Image-6.16.9"] = arm64_image("6.16.9")
    made = prepared("6.12", server.url("/Image-6.16.9"))
    assert names(made) == ["6.12.117-1", "6.16.3-1", "Image-6.16.9"]


def test_a_search_that_is_resumed_or_repeated_means_the_same_files(tmp_path: Path) -> None:
    first = prepared("6.12", image(tmp_path, "6.16.9"))
    again, own = own_ends(first.task, MATRIX)
    assert again == first.task
    assert [one.name for one in own] == ["Image-6.16.9"]
    found = BisectResult("builds", "found", "6.16.3-1", "Image-6.16.9", 3)
    assert f"--good 6.16.3-1 --bad {tmp_path}/Image-6.16.9 --rule" in repeat_script(first.task, found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("6.12.117", "6.12.117", "lies between .* give --tree TREE and two revisions"),
        ("6.12.44", "6.12.45", "lies between one .6.12.44. and two .6.12.45.; add --tree TREE"),
        ("6.16.9", "6.12.9", "the good kernel one is newer than the bad one two"),
    ],
)
def test_what_has_no_builds_between_it_is_one_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        prepared(image(tmp_path, old, "one"), image(tmp_path, new, "two"))
    assert "\n" not in str(refused.value)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with two tags of a kernel, and a commit behind each."""
    folder = tmp_path / "tree"
    git(tmp_path, "init", "-q", "tree")
    (folder / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\n")
    for name in ("v6.12.44", "", "v6.12.45", ""):
        (folder / "Kbuild").write_text(f"# {name} {len(list(folder.iterdir()))} {git(folder, 'rev-list', '--all')}")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name or "more")
        if name:
            git(folder, "tag", name)
    return folder


def test_with_a_tree_the_commits_that_the_kernels_were_built_from(tree: Path, tmp_path: Path) -> None:
    old, new = git(tree, "rev-parse", "v6.12.44"), git(tree, "rev-parse", "HEAD")
    built = image(tmp_path, f"6.12.45-00001-g{new[:12]}", "mine")
    made = prepared(image(tmp_path, "6.12.44-own", "one"), built, tree=str(tree))
    assert (made.task.over, made.task.good_commit, made.task.bad_commit) == ("commits", old, new)
    assert any(f"stands for commit {new[:12]}" in remark for remark in made.remarks)
    made = prepared("v6.12.44", built, tree=str(tree))
    assert (made.task.over, made.task.good_commit, made.task.bad_commit) == ("commits", old, new)
    again, own = own_ends(made.task, MATRIX)
    resumed = with_tree(Prepared(again, question(), MATRIX, STANDARD_PROFILE, own=own))
    assert resumed.task == made.task


def test_with_a_tree_and_builds_between_builds_come_first(tree: Path, tmp_path: Path) -> None:
    made = prepared(image(tmp_path, "6.12.44"), image(tmp_path, "7.0.1"), tree=str(tree))
    assert made.task.over == "joined"
    assert names(made) == ["Image-6.12.44", "6.12.90-1", "6.12.117-1", "6.16.3-1", "Image-7.0.1"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("6.12.45-a", "6.12.45-b", "and both are commit"),
        ("6.12.44", "6.12.50", "two .6.12.50.: .* does not have its commit, nor v6.12.50; give a revision"),
    ],
)
def test_a_tree_that_does_not_help_is_one_line(old: str, new: str, said: str, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        prepared(image(tmp_path, old, "one"), image(tmp_path, new, "two"), tree=str(tree))


def test_bad_ends_are_one_line_and_nothing_is_kept(tmp_path: Path, server: FileServer) -> None:
    good = image(tmp_path, "6.12.60", "good")
    server.files["/page.deb"] = b"<html>not here</html>"
    server.files["/cut.deb"] = make_deb({"boot/vmlinuz-6.12.9": arm64_image("6.12.9")})[:200]
    (tmp_path / "cut").write_bytes(arm64_image("6.12.9")[:40])
    (tmp_path / "empty.deb").write_bytes(make_deb({"usr/share/doc/x": b"x"}))
    for name in ("1", "2"):
        files = {f"boot/vmlinuz-6.12.{name}": arm64_image(f"6.12.{name}")}
        (tmp_path / f"{name}.deb").write_bytes(make_deb(files))
    for bad, said in {
        (str(tmp_path / "nothing"),): "no such file",
        (str(tmp_path),): "a folder without a built kernel",
        (str(tmp_path / "cut"),): "cut",
        (str(tmp_path / "empty.deb"),): "no kernel",
        (server.url("/nothing.deb"),): "the server answered 404",
        (server.url("/page.deb"),): "page.deb",
        (server.url("/cut.deb"),): "cut.deb",
        (str(tmp_path / "1.deb"), str(tmp_path / "2.deb")): "2 kernels, and an end is one: 6.12.1, 6.12.2",
    }.items():
        with pytest.raises(UsageError, match=r"--bad ") as refused:
            prepared(good, bad)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="a kernel for arm64, but the request was for x86_64"):
        prepared(good, "newest", any_arch=False)
    stored = [path for path in (tmp_path / "cache/downloads").rglob("*") if path.is_file()]
    assert stored == []
