from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli.kernels import kernels
from harness.errors import UsageError
from tests.unit.kernel_fakes import CONFIG, arm64_image

MATRIX = """\
version: 1
extends: none
kernels:
  mine: {source: file, image: Image, config: config, architectures: [arm64], labels: [own]}
  gone: {source: file, image: nowhere, architectures: [x86_64]}
selections:
  default: {kernels: [mine]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kernels.yaml").write_text(MATRIX)
    (tmp_path / "Image").write_bytes(arm64_image("6.12.0-mine"))
    (tmp_path / "config").write_bytes(CONFIG + b"CONFIG_ARM64_16K_PAGES=y\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    return tmp_path


def call(*arguments: str) -> Result:
    """Call the group as main() does: errors come through, and the command's value is the exit status."""
    return CliRunner().invoke(kernels, arguments, standalone_mode=False, catch_exceptions=False)


def test_fetch_then_list_then_show(folder: Path) -> None:
    assert "open" in call("list").stdout
    done = call("fetch")
    assert done.return_value == 0
    assert done.stdout.splitlines()[1].split()[:4] == ["mine", "arm64", "6.12.0-mine", "Image"]
    assert "mine arm64: ready: 6.12.0-mine" in done.stderr
    rows = json.loads(call("list", "--json").stdout)
    assert [(row["kernel"], row["state"]) for row in rows] == [("mine", "stored"), ("gone", "open")]
    shown = call("show", "mine:arm64").stdout
    assert "page size      16384" in shown
    assert "VIRTIO_CONSOLE=m" in shown
    (facts,) = json.loads(call("show", "mine", "--json").stdout)
    assert facts["version"] == "6.12.0"


def test_changed_and_locked_are_told_apart(folder: Path) -> None:
    call("fetch", "-q")
    (folder / "kernels.yaml").write_text(MATRIX.replace("image: Image", "image: other"))
    assert json.loads(call("list", "mine", "--json").stdout)[0]["state"] == "changed"
    (folder / "kernels.yaml").write_text(MATRIX)
    for blob in folder.glob("cache/blobs/*/*"):
        blob.unlink()
    assert json.loads(call("list", "mine", "--json").stdout)[0]["state"] == "locked"


def test_lock_says_what_it_did(folder: Path) -> None:
    assert call("lock", "-q").stdout.endswith("kernels.lock: 1 entries written\n")
    assert call("lock", "-q").stdout.endswith("kernels.lock: nothing changed\n")


def test_one_that_cannot_be_had_is_exit_3_and_the_other_is_fetched(folder: Path) -> None:
    (folder / "broken").write_bytes(b"#!/bin/sh\n")
    (folder / "kernels.yaml").write_text(MATRIX.replace("nowhere", "broken"))
    done = call("fetch", "*", "-q", "--json")
    assert done.return_value == 3
    assert [row["release"] for row in json.loads(done.stdout)] == ["6.12.0-mine", ""]
    assert "broken: not a kernel image: this looks like text" in done.stderr
    assert call("show", "gone").return_value == 3


@pytest.mark.parametrize(
    "arguments",
    [["fetch", "minne"], ["list", "-s", "nothing"], ["show", "minne"], ["show", "mine:x86_64"], ["show", "mine:mips"]],
)
def test_what_does_not_exist(folder: Path, arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        call(*arguments)
