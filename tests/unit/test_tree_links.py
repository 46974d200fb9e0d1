"""A tree linked a second time: an interrupt says what it was, ends threads, too, and the next time goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import Interrupted
from harness.kernels.tree_links import link_tree
from harness.processes import children
from harness.processes.children import doing


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    for name in ("mm/mseal.c", "mm/mmap.c", "kernel/fork.c"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(name)
    return tmp_path / "tree"


def test_an_interrupt_while_a_tree_is_linked_says_so(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_LIVING", children._Living())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt(*children.stop_all())

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt) as asked:
        patched.setattr(Path, "symlink_to", interrupted)
        link_tree(origin, tmp_path / "copy")
    assert doing(asked.value) == f" while linking the files of {origin}"
    with ThreadPoolExecutor(1) as pool, pytest.raises(Interrupted):
        pool.submit(link_tree, origin, tmp_path / "copy").result()
    link_tree(origin, tmp_path / "copy")
    assert (tmp_path / "copy/mm/mseal.c").read_text() == "mm/mseal.c"
