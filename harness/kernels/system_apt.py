"""Where this system's own apt fetches Debian from. Asking apt takes half a second, so its answer is kept."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from harness.errors import KernelUnavailable, ToolMissing
from harness.kernels.apt import MIRROR_SETTING, run_apt
from harness.kernels.store import Store, telling
from harness.secret_urls import masked

_RECORD = "system-mirror"
_READ = ("Dir::Etc::sourcelist/f", "Dir::Etc::sourceparts/d", "Dir::State::lists/d")
"""What apt's answer is made of, as its configuration names it."""


def system_mirror() -> str:
    """Return the address this system's own apt fetches Debian from. Raises ``KernelUnavailable``."""
    tool = shutil.which("apt-get")
    if tool is None:
        raise ToolMissing("apt-get", "apt")
    arguments = [tool, "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)", "Created-By: Packages"]
    # apt lists only what it has downloaded, which in a slim image is nothing, unless it is told not to look.
    lines = (
        run_apt(arguments, Path("/"), "the system's sources").splitlines()
        or run_apt([*arguments, "--no-release-info"], Path("/"), "the system's sources").splitlines()
    )
    pairs = [line.partition("|")[::2] for line in lines]
    # Without lists the origin is unknown; the path of a Debian mirror ends in /debian all the same.
    ranked = sorted((uri.rstrip("/").endswith("/debian"), origin == "Debian", uri) for origin, uri in pairs)
    if ranked and any(ranked[-1][:2]) and "security" not in ranked[-1][2]:
        return ranked[-1][2]
    raise KernelUnavailable(f"this system's apt has no Debian mirror configured; set {MIRROR_SETTING} to one")


def kept_mirror(store: Store) -> str:
    """Return ``system_mirror``'s answer, kept until what it is made of changes. An address with a password is not kept.

    Raises ``KernelUnavailable``.
    """
    state = _state()
    kept = store.read_record(_RECORD) or {}
    if kept.get("state") == state and isinstance(kept.get("mirror"), str):
        return str(kept["mirror"])
    mirror = system_mirror()
    if masked(mirror) == mirror:
        store.write_record(_RECORD, {"state": state, "mirror": mirror})
    return mirror


def _state() -> list[list[str]]:
    """Name, size and time of change of the system's sources, and of the folder of its lists. The time is the inode's:
    images may have set the other."""
    tool = shutil.which("apt-config")
    if tool is None:
        raise ToolMissing("apt-config", "apt")
    asked = [word for number, name in enumerate(_READ) for word in (f"PLACE{number}", name)]
    told = run_apt([tool, "shell", *asked], Path("/"), "the system's sources")
    places = [Path(word.partition("=")[2]) for word in shlex.split(told)]
    return [state for place in places for state in _states(place, files=place != places[-1])]


def _states(place: Path, *, files: bool) -> list[list[str]]:
    """Of a file, or of a folder and, with ``files``, of those in it; nothing for what is not there."""
    with telling(place):
        paths = [place, *(sorted(place.iterdir()) if files and place.is_dir() else ())]
        found = [(path, path.stat()) for path in paths if path.exists()]
    return [[str(path), str(state.st_size), str(state.st_ctime_ns)] for path, state in found]
