"""Images of mutants that are kept for another suite."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from harness.mutants.kept import KeptImages

PRISTINE = "a" * 64
CONTENT = b"\x7fELF, says the kernel " * 1000


def _kept(tmp_path: Path, pristine: str = PRISTINE) -> KeptImages:
    return KeptImages(tmp_path / "kept", pristine)


def test_what_was_kept_comes_back_byte_for_byte(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(CONTENT)
    kept = _kept(tmp_path)
    kept.keep("munmap-unchecked", "0123", image)
    target = tmp_path / "images" / "munmap-unchecked"
    assert kept.has("munmap-unchecked", "0123")
    assert kept.take("munmap-unchecked", "0123", target) == sha256(CONTENT).hexdigest()
    assert target.read_bytes() == CONTENT


def test_other_edits_and_other_kernels_are_not_taken(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(CONTENT)
    _kept(tmp_path).keep("munmap-unchecked", "0123", image)
    assert _kept(tmp_path).take("munmap-unchecked", "4567", tmp_path / "target") is None
    assert _kept(tmp_path).take("munmap", "0123", tmp_path / "target") is None
    assert _kept(tmp_path, "b" * 64).take("munmap-unchecked", "0123", tmp_path / "target") is None
    assert list((tmp_path / "kept").iterdir()) == []  # another kernel's are dropped


def test_a_damaged_image_is_thrown_away(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(CONTENT)
    kept = _kept(tmp_path)
    kept.keep("munmap-unchecked", "0123", image)
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert kept.take("munmap-unchecked", "0123", tmp_path / "target") is None
    assert not kept.has("munmap-unchecked", "0123")
    assert not (tmp_path / "target").exists()
