"""Where the system's own apt fetches from: asked once, and again when what the answer is made of has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.kernels import system_apt
from harness.kernels.store import Store


class FakeApt:
    """Answers as apt's programs do, from ``address``; counts how often the slow one is asked."""

    def __init__(self, folder: Path) -> None:
        self.sources, self.parts, self.lists = folder / "sources list", folder / "parts", folder / "lists"
        self.sources.write_text("deb one\n")
        self.parts.mkdir()
        self.lists.mkdir()
        self.address = "http://one.example/debian"
        self.asked = 0

    def __call__(self, argv: Sequence[str], _folder: Path, _what: str) -> str:
        if "shell" in argv:
            places = (self.sources, f"{self.parts}/", f"{self.lists}/")
            return "".join(f"PLACE{number}='{place}'\n" for number, place in enumerate(places))
        self.asked += 1
        return f"Debian|{self.address}\n"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApt:
    fake = FakeApt(tmp_path)
    monkeypatch.setattr(system_apt, "run_apt", fake)
    monkeypatch.setattr(system_apt.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    return fake


def test_apt_is_asked_once(apt: FakeApt, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert [system_apt.kept_mirror(store) for _ in range(3)] == [apt.address] * 3
    assert apt.asked == 1


@pytest.mark.parametrize("change", ["sources", "part", "lists"])
def test_apt_is_asked_again_when_its_sources_have_changed(apt: FakeApt, tmp_path: Path, change: str) -> None:
    store = Store(tmp_path / "store")
    system_apt.kept_mirror(store)
    apt.address = "http://other.example/debian"
    if change == "sources":
        apt.sources.write_text("deb another\n")
    else:
        ((apt.parts if change == "part" else apt.lists) / "new").write_text("")
    assert system_apt.kept_mirror(store) == apt.address
    assert apt.asked == 2


def test_an_address_with_a_password_is_not_kept(apt: FakeApt, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    apt.address = "http://me:secret@one.example/debian"
    assert [system_apt.kept_mirror(store) for _ in range(2)] == [apt.address] * 2
    assert apt.asked == 2
    assert not any(b"secret" in path.read_bytes() for path in store.root.rglob("*") if path.is_file())
