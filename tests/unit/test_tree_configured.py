"""A tree source is configured for the commit that is built: real git and make, nothing compiled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import BuildError
from harness.kernels.store import Store
from harness.kernels.tree_source import built_source
from harness.matrix.sources.tree import TreeSource
from tests.kernel_history import git
from tests.unit.kernel_fakes import arm64_image

# Takes the options it is given but those its commit dropped, and has its image lying there.
MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 12
.PHONY: allnoconfig Image
allnoconfig:
\tgrep -v -x -f dropped $(KCONFIG_ALLCONFIG) > $(O)/.config
Image:
\tmkdir -p $(O)/arch/arm64/boot $(O)/include/config
\tcp built $(O)/arch/arm64/boot/Image
\techo 6.12.0-sealmatrix > $(O)/include/config/kernel.release
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("flex", "bison", "bc", "gcc", "aarch64-linux-gnu-gcc"):  # looked for, never run
        (programs / name).touch(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    folder = tmp_path / "linux"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "Kbuild").touch()
    (folder / "dropped").touch()
    (folder / "built").write_bytes(arm64_image("6.12.0-sealmatrix"))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a kernel")
    return folder


def test_an_option_that_a_later_commit_dropped_is_noticed(tree: Path, tmp_path: Path) -> None:
    """Commits share a build folder: the configuration of the one that was built there before says nothing."""
    (tree / "dropped").write_text("CONFIG_SYSVIPC=y\n")
    git(tree, "commit", "-qam", "drop an option")
    store = Store(tmp_path / "cache")

    def build(commit: str) -> str:
        return built_source(store, TreeSource(tree, commit), "arm64", lambda _: None).release

    assert build("HEAD~1") == "6.12.0-sealmatrix"
    with pytest.raises(BuildError, match="did not take SYSVIPC=y"):
        build("HEAD")
    assert build("HEAD~1") == "6.12.0-sealmatrix"
