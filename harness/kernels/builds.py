"""Builds: what the store knows of one kernel, as a record; and the ``Kernel`` made from it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

from harness.kernels.config import parse_config
from harness.kernels.images import bootable
from harness.kernels.model import Kernel, ModuleLoader, Origin
from harness.kernels.store import Store
from harness.model.architectures import Arch


@dataclass(frozen=True)
class Build:
    """One kernel in the store. ``image`` is the sha256 of the published image, ``boot`` of the one QEMU gets
    (``format`` says what that is), ``config`` of the ``.config`` or empty. ``packages`` holds (name, version, sha256)
    of the packages used, ``modules_package`` of the one the modules lie in, empty for kernels without one."""

    kind: str
    where: str
    suite: str
    arch: Arch
    flavour: str
    release: str
    version: str
    package_version: str
    image: str
    boot: str
    format: str
    config: str
    packages: tuple[tuple[str, str, str], ...] = ()
    modules_package: tuple[str, str, str] | None = None

    @property
    def id(self) -> str:
        """Its name among the store's records."""
        words = f"{self.kind}-{self.release}_{self.package_version or self.image[:16]}_{self.arch}"
        return re.sub(r"[^A-Za-z0-9.+~_:-]", "_", words)[:150] + f"-{self._digest()}"

    def _digest(self) -> str:
        return hashlib.sha256(
            "\n".join((self.image, self.config, self.kind, *map(str, self.packages))).encode()
        ).hexdigest()[:8]


def make_build(store: Store, image: bytes, config: bytes, arch: Arch, **facts: Any) -> Build:
    """Store an image, its bootable form and its configuration, and record the build. Raises ``ImageError``.

    ``facts`` are the remaining fields of ``Build``; ``release`` and ``version`` default to what the image says.
    """
    ready = bootable(image, arch, parse_config(config) if config else None)
    facts.setdefault("release", ready.release)
    facts.setdefault("version", re.split(r"[+-](?!rc\d)", facts["release"])[0])
    published = hashlib.sha256(image).hexdigest()
    boot = store.put(ready.data)
    options = config or ready.config
    kept = store.put(options) if options else ""
    build = Build(arch=arch, image=published, boot=boot, format=ready.format, config=kept, **facts)
    store.write_record(f"builds/{build.id}", asdict(build))
    return build


def stored_builds(store: Store) -> list[Build]:
    """Return the builds on record, complete or not; records of another shape are passed over."""
    return [build for record in store.records("builds") if (build := _build_of(record)) is not None]


def is_complete(store: Store, build: Build) -> bool:
    """Say whether image and configuration are really there. The image is long, and its digest is looked at by whoever
    boots it; a guest that was saved is not booted."""
    return store.holds(build.boot) and (not build.config or store.find(build.config) is not None)


def kernel_of(store: Store, build: Build, name: str, modules: ModuleLoader, note: str = "") -> Kernel | None:
    """Return the kernel a build is, called ``name`` in the matrix; None when its bytes are gone."""
    image = store.locate(build.boot)
    config = store.find(build.config) if build.config else None
    if image is None or (build.config and config is None):
        return None
    unknown = "" if build.config else "its configuration is unknown"
    return Kernel(
        name=name,
        release=build.release,
        arch=build.arch,
        flavour=build.flavour,
        image=image,
        image_format=build.format,
        sha256=build.image,
        origin=Origin(build.kind, build.where, build.packages, "; ".join(filter(None, (note, unknown)))),
        config=parse_config(config.read_bytes() if config else b""),
        config_sha256=build.config,
        version=build.version,
        image_sha256=build.boot,
        modules=modules,
    )


def _build_of(record: Mapping[str, Any]) -> Build | None:
    if set(record) != {field.name for field in fields(Build)} or record["arch"] not in get_args(Arch):
        return None
    modules = record["modules_package"]
    try:
        packages = tuple(_triple(item) for item in record["packages"])
        return Build(**{**record, "packages": packages, "modules_package": _triple(modules) if modules else None})
    except (TypeError, ValueError):
        return None


def _triple(item: Any) -> tuple[str, str, str]:
    name, version, digest = item
    return str(name), str(version), str(digest)


def describe_file(path: Path) -> str:
    """Return the place of a file kernel for reports: its name and not its folder, which is this machine's affair."""
    return f"file {path.name}"
