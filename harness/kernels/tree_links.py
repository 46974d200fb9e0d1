"""A source tree a second time without its space: folders of our own, symbolic links to the tree's files.

Where such a copy lies beside its build folder, the way from one to the other is the same for every build, and ccache
gives what one of them compiled to the others.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import ToolMissing, UsageError
from harness.processes import git
from harness.processes.children import go_on, working


def link_tree(origin: Path, folder: Path) -> None:
    """Bring the links in ``folder`` up to date: files come and go in a tree somebody works on. Interrupted, it goes on
    the next time. Raises ``OSError``, ``Interrupted``."""
    with working(f"linking the files of {origin}"):
        _link(origin, folder)


def _link(origin: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    wanted = set(_files(origin))
    for name in sorted(_present(folder) - wanted):
        (folder / name).unlink()
    made: set[Path] = set()
    for name in wanted:
        path = folder / name
        if path.parent not in made:
            go_on()
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        if not os.path.lexists(path):
            source = origin / name
            # The tree's own links keep their meaning inside the copy.
            path.symlink_to(source.readlink() if source.is_symlink() else source)


def _files(origin: Path) -> list[str]:
    """Names of the tree's files: what git knows and does not ignore, or everything where there is no git."""
    if (origin / ".git").exists():
        try:
            place = git.Repository.at(origin)
        except ToolMissing:
            return sorted(_present(origin))
        done = place.git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        if done.status:
            raise UsageError(f"{origin}: git does not list its files: {git.words_of(done)}")
        names = (os.fsdecode(name) for name in done.out.split(b"\0") if name)
        return sorted({name for name in names if os.path.lexists(origin / name)})
    return sorted(_present(origin))


def _present(folder: Path) -> set[str]:
    """Names of all files and links below ``folder``, relative to it, without ``.git``."""
    found: set[str] = set()
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if name != ".git":
                        pending.append(f"{name}/")
                else:
                    found.add(name)
    return found
