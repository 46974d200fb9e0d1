"""When a kernel that is watched counts as built anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cli.watch import SETTLED_LOOKS, show_change, state_of, wait_for_change, watched_files
from harness.errors import UsageError
from harness.matrix.model import STANDARD_PROFILE, CellSpec, KernelSpec
from harness.matrix.sources.file import FileSource
from harness.reports.style import screen
from tests.builders import cell, result, rule, run


class Clock:
    """Looks at the files, at each of which something happens."""

    def __init__(self, *acts: object) -> None:
        self.acts = list(acts)
        self.looks = 0

    def __call__(self, seconds: float) -> None:
        self.looks += 1
        assert self.looks < 50
        if self.acts and (act := self.acts.pop(0)) is not None:
            act()  # type: ignore[operator]


def test_a_new_image_counts_once_it_is_no_longer_written(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    image.write_bytes(b"old")
    before = state_of([image])

    def write(data: bytes) -> None:
        with image.open("ab") as file:
            file.write(data)

    clock = Clock(None, lambda: write(b"half"), None, lambda: write(b"whole"))
    wait_for_change([image], before, clock)
    assert clock.looks == 4 + SETTLED_LOOKS


def test_an_image_that_is_gone_for_a_while_is_waited_for(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    image.write_bytes(b"old")
    before = state_of([image])
    clock = Clock(image.unlink, None, None, None, None, lambda: image.write_bytes(b"old"))
    wait_for_change([image], before, clock)
    assert clock.looks == 6 + SETTLED_LOOKS


def test_a_touched_image_is_another(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    image.write_bytes(b"old")
    before = state_of([image])
    os.utime(image, ns=(1, 1))
    assert state_of([image]) != before


def test_what_is_watched(tmp_path: Path) -> None:
    spec = KernelSpec("mine", FileSource(tmp_path / "bzImage"), ("x86_64",), listed=False)
    stock = KernelSpec("stock", FileSource(tmp_path / "other"), ("x86_64",))
    cells = [CellSpec(kernel, "x86_64", STANDARD_PROFILE) for kernel in (spec, stock)]
    assert watched_files(cells) == (tmp_path / "bzImage",)
    with pytest.raises(UsageError, match="--watch needs an image"):
        watched_files(cells[1:])


def test_what_changed_since_the_last_build_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    one = rule("mprotect-blocked")
    before = run(Path("r1"), [(cell("linux"), [result(one)])])
    after = run(Path("r2"), [(cell("linux"), [result(one, "fail", "succeeded", "bypass")])])
    show_change(screen(), before, after)
    assert "1 introduced" in capsys.readouterr().out
