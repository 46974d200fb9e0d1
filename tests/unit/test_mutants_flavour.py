"""Mutants of a kernel with a fragment: configured with it, and built and kept apart from those without."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.kernels.tree import OWN, BuiltTree
from harness.mutants import workshop
from harness.mutants.catalogue import load_mutants
from harness.mutants.runner import build_mutants
from harness.mutants.workshop import MutationOptions, MutationProgress


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...], str]]:
    """Instead of make: where was built, with which fragments, and what one file of the copy was then."""
    seen: list[tuple[str, tuple[str, ...], str]] = []

    def build(tree: Path, _arch: str, out: Path, fragments: tuple[Path, ...], **_: object) -> BuiltTree:
        text = (tree / "mm/mseal.c").read_text()
        seen.append((out.name, tuple(f.stem for f in fragments), text))
        out.mkdir(parents=True, exist_ok=True)
        image = out / "vmlinux"
        image.write_text(f"{out.name} {text}")
        return BuiltTree(image, "vmlinux", image.read_text(), "x86_64", "7.3.0", {}, "", out / "log", (), 0.0)

    monkeypatch.setattr(workshop, "build_tree", build)
    return seen


def options(folder: Path, *fragments: Path) -> MutationOptions:
    tree = folder / "linux"
    if not tree.exists():
        (tree / "mm").mkdir(parents=True)
        (tree / "Makefile").write_text("VERSION = 7\nPATCHLEVEL = 3\n")
        (tree / "Kbuild").touch()
        (tree / "mm/mseal.c").write_text(
            "SYSCALL_DEFINE3(mseal, unsigned long, start)\n{\n\tif (flags)\n\t\treturn -EINVAL;\n}\n"
        )
    mutant = load_mutants()["flags-accepted"]
    return MutationOptions(
        tree, "a tree", "x86_64", (mutant,), folder / "work", folder / "results", fragments=tuple(fragments)
    )


def test_a_fragment_comes_after_our_own_and_has_builds_of_its_own(tmp_path: Path, built: list) -> None:
    def silent(_told: MutationProgress) -> None:
        pass

    build_mutants(options(tmp_path), silent)
    build_mutants(options(tmp_path, OWN / "debug.config"), silent)
    plain = [fragments for name, fragments, _ in built if name == "build-x86_64"]
    debug = [fragments for name, fragments, _ in built if name == "build-x86_64-debug"]
    assert plain
    assert debug
    assert {fragments[-1] for fragments in debug} == {"debug"}
    assert all("debug" not in fragments for fragments in plain)
    # Images kept of one are not dropped when the other is opened: mutants of both are there.
    assert [len(list((tmp_path / "work" / name).glob("*.zst"))) for name in ("kept-x86_64", "kept-x86_64-debug")] == [
        1,
        1,
    ]
