"""``kernels.lock``: which bytes each entry of the matrix was resolved to, so that a later run uses the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pydantic
from pydantic import Field

from harness.errors import ConfigError, StoreError
from harness.kernels.builds import Build
from harness.kernels.store import Store
from harness.matrix.model import KernelSpec
from harness.matrix.words import Sha256
from harness.model.architectures import Arch
from harness.model.atomic_files import write_atomically
from harness.model.json_text import parse_json
from harness.model.run_record import Part

LockKey = tuple[str, Arch]
_REMEDY = "restore it, or delete it to choose every build again"
_HEADER = "Written by sealmatrix; keep it with kernels.yaml. Renew with: sealmatrix kernels lock --update"


class LockedPackage(Part):
    """A package and the sha256 of its .deb."""

    name: str
    version: str
    sha256: Sha256


class Locked(Part):
    """What one entry on one architecture was resolved to. ``asked`` is the entry's source at that time, as text;
    ``commit`` is what its branch had, where it follows one."""

    kernel: str
    arch: Arch
    asked: str
    release: str
    version: str
    package_version: str = ""
    suite: str = ""
    packages: tuple[LockedPackage, ...] = ()
    image: Sha256
    config: Sha256 | Literal[""] = ""
    commit: str = Field(default="", pattern=r"^([0-9a-f]{40}([0-9a-f]{24})?)?$")

    def triples(self) -> tuple[tuple[str, str, str], ...]:
        """Return the packages as (name, version, sha256)."""
        return tuple((package.name, package.version, package.sha256) for package in self.packages)


class _LockFile(Part):
    version: Literal[1]
    about: str = ""
    kernels: tuple[Locked, ...]


@dataclass(frozen=True)
class Lock:
    """A lock file's entries by (kernel name, architecture)."""

    path: Path
    entries: Mapping[LockKey, Locked] = field(default_factory=dict)


def read_lock(path: Path) -> Lock:
    """Read a lock file; an absent one is empty. Raises ``ConfigError`` for a damaged one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Lock(path)
    except OSError as error:
        raise ConfigError(path, 0, f"cannot read the lock file: {error.strerror or error}") from None
    try:
        file = _LockFile.model_validate(parse_json(data))
    except json.JSONDecodeError as error:
        raise ConfigError(path, error.lineno, f"not a lock file ({error.msg}); {_REMEDY}") from None
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the file"
        raise ConfigError(path, 0, f"not a lock file ({place}: {fault['msg']}); {_REMEDY}") from None
    except ValueError:
        raise ConfigError(path, 0, f"not a lock file; {_REMEDY}") from None
    return Lock(path, MappingProxyType({(entry.kernel, entry.arch): entry for entry in file.kernels}))


def update_lock(store: Store, path: Path, found: Iterable[Locked], valid: Iterable[LockKey]) -> bool:
    """Put entries into the lock file and drop those the matrix no longer has; says whether the file changed.

    Read, merged and renamed into place under a lock of the store: two runs at once lose nothing of each other.
    Raises ``StoreError`` when it cannot be written.
    """
    with store.lock(f"lock file {path.absolute()}"):
        before = read_lock(path).entries
        merged = {**before, **{(entry.kernel, entry.arch): entry for entry in found}}
        keys = set(valid)
        kept = {key: entry for key, entry in sorted(merged.items()) if key in keys}
        if kept == dict(before):
            return False
        content = {
            "version": 1,
            "about": _HEADER,
            "kernels": [entry.model_dump(exclude_defaults=True) for entry in kept.values()],
        }
        try:
            write_atomically(path, json.dumps(content, indent=1).encode() + b"\n")
        except OSError as error:
            raise StoreError(f"{path}: cannot write the lock file: {error.strerror or error}") from None
        return True


def locked(spec: KernelSpec, build: Build, commit: str = "") -> Locked:
    """Return the lock entry for a build an entry of the matrix was resolved to, from a commit of its branch if so."""
    packages = tuple(
        LockedPackage(name=name, version=version, sha256=digest) for name, version, digest in build.packages
    )
    return Locked(
        kernel=spec.name,
        arch=build.arch,
        asked=spec.source.asked,
        release=build.release,
        version=build.version,
        package_version=build.package_version,
        suite=build.suite,
        packages=packages,
        image=build.image,
        config=build.config,
        commit=commit,
    )
