"""A Debian archive seen through an apt of our own: any suite and architecture, no root, the system left alone.

Each (suite, architecture) has a private apt root in the store with its own lists, so that refreshing one never
disturbs another. Signatures are checked by apt against the installed archive keyring; the system's proxies and other
acquisition settings keep applying, because its configuration is read first.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

from harness.errors import KernelUnavailable, ToolMissing, UsageError
from harness.kernels.apt import MIRROR_SETTING, configuration, keyring, run_apt
from harness.kernels.store import Store, file_sha256, telling
from harness.kernels.system_apt import kept_mirror
from harness.secret_urls import masked

MAX_AGE_SECONDS = 6 * 3600

Saying = Callable[[str], None]
_Lists = list[list[str]]
"""Name, size and time of change of each of an index's lists."""


def is_kernel(name: str) -> bool:
    """Say whether a package of this name may belong to a kernel."""
    return name.startswith("linux-")


@dataclass(frozen=True)
class Package:
    """One package of one suite's index; ``depends`` are the names in its Depends field, ``size`` is in bytes."""

    name: str
    version: str
    sha256: str
    size: int
    suite: str
    depends: tuple[tuple[str, str], ...] = ()


class Archive(Protocol):
    """Where packages come from; the seam at which tests put a fake."""

    def packages(self, suite: str, architecture: str, *, refresh: bool = False) -> tuple[Package, ...]:
        """Return the kernel packages of a suite. Raises ``KernelUnavailable`` when it cannot be reached."""
        ...

    def download(self, architecture: str, packages: Sequence[Package], folder: Path, say: Saying) -> list[Path]:
        """Fetch packages of one suite into ``folder``, verified; returns the files in the same order."""
        ...


class AptArchive:
    """The archive behind ``mirror`` (default: the setting, then the system's own)."""

    def __init__(self, store: Store, mirror: str | None = None) -> None:
        self.store = store
        self._mirror = mirror
        self._refreshed: set[tuple[str, str]] = set()
        self._unreachable: dict[tuple[str, str], KernelUnavailable] = {}
        self._releases: dict[str, bytes] = {}

    @property
    def mirror(self) -> str:
        """The archive's address; asked of the system's apt at most once."""
        if self._mirror is None:
            self._mirror = os.environ.get(MIRROR_SETTING) or kept_mirror(self.store)
        told = masked(self._mirror)
        try:
            scheme = urlsplit(self._mirror).scheme
        except ValueError:
            scheme = ""
        if scheme not in ("http", "https", "file", "copy", "mirror+http", "mirror+https", "mirror+file"):
            raise UsageError(f"{MIRROR_SETTING}={told}: not the address of an archive (http://…/debian)")
        if re.search(r"[\s\[\]]", self._mirror):
            raise UsageError(f"{MIRROR_SETTING}={told}: an address has no blanks or brackets")
        return self._mirror.rstrip("/")

    def packages(self, suite: str, architecture: str, *, refresh: bool = False) -> tuple[Package, ...]:
        """Return the kernel packages of a suite, from an index at most six hours old unless ``refresh``."""
        record = self._record(suite, architecture)
        with self.store.lock(record):
            kept = self.store.read_record(record)
            once = (suite, architecture) in self._refreshed
            if kept and (once or not refresh) and 0 <= time.time() - kept.get("fetched", 0) < MAX_AGE_SECONDS:
                return _packages_of(kept)
            lists, found = self._update_once(suite, architecture, kept or {})
            content = {"fetched": time.time(), "lists": lists, "packages": [asdict(package) for package in found]}
            self.store.write_record(record, content)
            return found

    def named(self, suite: str, architecture: str, names: Iterable[str]) -> tuple[Package, ...]:
        """Return a suite's packages of these names; asked seldom, so their index is always fetched."""
        wanted = frozenset(names)
        with self.store.lock(self._record(suite, architecture)):
            return self._update(suite, architecture, wanted.__contains__)[1]

    def download(self, architecture: str, packages: Sequence[Package], folder: Path, say: Saying) -> list[Path]:
        """Fetch packages with apt, which checks them against the signed index; then check their sha256 again."""
        (suite,) = {package.suite for package in packages}
        conf = self._root(suite, architecture)
        wanted = [f"{package.name}={package.version}" for package in packages]
        megabytes = sum(package.size for package in packages) / 1e6
        say(f"downloading {megabytes:.1f} MB")
        self._apt(conf, ["download", *wanted], folder, f"{wanted[0]} from {suite}")
        return [_downloaded(package, folder) for package in packages]

    def _record(self, suite: str, architecture: str) -> str:
        return f"indexes/{re.sub(r'[^A-Za-z0-9.-]+', '_', masked(self.mirror))}/{suite}-{architecture}"

    def _update_once(
        self, suite: str, architecture: str, kept: Mapping[str, Any]
    ) -> tuple[_Lists, tuple[Package, ...]]:
        """Update an index unless that failed a moment ago: time-outs are not suffered for each kernel again."""
        which = (suite, architecture)
        if which in self._unreachable:
            raise KernelUnavailable(str(self._unreachable[which]))
        try:
            found = self._update(suite, architecture, kept=kept)
        except KernelUnavailable as error:
            self._unreachable[which] = error
            raise
        self._refreshed.add(which)
        return found

    def _update(
        self,
        suite: str,
        architecture: str,
        wanted: Callable[[str], bool] = is_kernel,
        kept: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[_Lists, tuple[Package, ...]]:
        """Bring the index up to date and read it, unless its lists are still those that ``kept`` was read from."""
        conf = self._root(suite, architecture)
        if kept.get("lists") and self._same_release(suite, conf):
            return kept["lists"], _packages_of(kept)
        self._apt(conf, ["update"], conf.parent, f"the index of {suite} ({architecture})")
        targets = ["indextargets", "--format", "$(FILENAME)", "Created-By: Packages"]
        names = [*filter(None, self._apt(conf, targets, conf.parent, f"the index of {suite}").split("\n"))]
        lists = [_list_state(name) for name in names]
        if lists and all(len(state) > 1 for state in lists) and lists == kept.get("lists"):
            return lists, _packages_of(kept)
        helper = ["/usr/lib/apt/apt-helper", "-c", str(conf), "cat-file"]
        packages: list[Package] = []
        for name in names:
            text = run_apt([*helper, name], conf.parent, "unpacking an index")
            packages += parse_index(text, suite, wanted)
        return lists, tuple(packages)

    def _same_release(self, suite: str, conf: Path) -> bool:
        """Whether the suite's signed file is, byte for byte, the one apt checked when it last read the lists.

        It costs a hundredth of what apt takes to find that nothing has changed, and serves every architecture.
        """
        with telling(conf.parent):
            known = [path.read_bytes() for path in (conf.parent / "lists").glob("*_InRelease")]
        if not known:
            return False
        with self.store.lock(f"release {suite}"), self.store.scratch() as folder:
            if suite not in self._releases:
                helper = ["/usr/lib/apt/apt-helper", "-q", "-c", str(conf), "download-file"]
                address = f"{self.mirror}/dists/{suite}/InRelease"
                try:
                    run_apt([*helper, address, str(folder / "InRelease")], folder, f"the release of {suite}")
                    self._releases[suite] = (folder / "InRelease").read_bytes()
                except (KernelUnavailable, OSError):
                    self._releases[suite] = b""  # `apt-get update` says in its own words what is wrong
        return known == [self._releases[suite]]

    def _root(self, suite: str, architecture: str) -> Path:
        """Make the private apt root and return its configuration file."""
        root = self.store.root / "apt" / self._record(suite, architecture).removeprefix("indexes/")
        with telling(root):
            for folder in ("lists/partial", "cache/archives/partial", "state"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            sources = f"deb [arch={architecture} signed-by={keyring()}] {self.mirror} {suite} main\n"
            _write_if_changed(root / "sources.list", sources)
            _write_if_changed(root / "apt.conf", configuration(root, architecture))
        return root / "apt.conf"

    def _apt(self, conf: Path, arguments: Sequence[str], folder: Path, what: str) -> str:
        tool = shutil.which("apt-get")
        if tool is None:
            raise ToolMissing("apt-get", "apt")
        return run_apt([tool, "-q", "-c", str(conf), *arguments], folder, what)


def _list_state(name: str) -> list[str]:
    """What tells a list of apt's from the one that was in its place before; apt keeps the mirror's time of change."""
    path = Path(name)
    with telling(path):
        # Where apt unpacks nothing, the file has its compression behind its name.
        found = next((p for p in (path, *sorted(path.parent.glob(f"{path.name}.*"))) if p.is_file()), None)
        return [name, *map(str, (found.stat().st_size, found.stat().st_mtime_ns))] if found else [name]


def parse_index(text: str, suite: str, wanted: Callable[[str], bool] = is_kernel) -> list[Package]:
    """Return the packages of a Packages file that are wanted; stanzas that lack a field are left out."""
    packages = []
    for stanza in re.split(r"\n\n+", text):
        # Most of 60,000 stanzas are not wanted: look at the first line before parsing.
        name = stanza.lstrip("\n").partition("\n")[0].removeprefix("Package: ")
        if wanted(name):
            package = _package(stanza, suite)
            if package is not None:
                packages.append(package)
    return packages


_FIELD = re.compile(r"^(Package|Version|SHA256|Size|Depends): *(.*)$", re.MULTILINE)
_DEPENDENCY = re.compile(r"([a-z0-9][a-z0-9.+-]+)(?::\w+)?(?: \(= ([^)]+)\))?")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+:~-]*\Z")


def _package(stanza: str, suite: str) -> Package | None:
    fields = dict(_FIELD.findall(stanza))
    name, version, digest = (fields.get(key, "") for key in ("Package", "Version", "SHA256"))
    if not (_SAFE.match(name) and _SAFE.match(version) and re.fullmatch(r"[0-9a-f]{64}", digest)):
        return None
    size = fields.get("Size", "0")
    depends = tuple(
        (match.group(1), match.group(2) or "")
        for word in fields.get("Depends", "").split(", ")
        if (match := _DEPENDENCY.match(word)) and match.group(1).startswith("linux-")
    )
    return Package(name, version, digest, int(size) if size.isdecimal() else 0, suite, depends)


def _packages_of(record: Mapping[str, Any]) -> tuple[Package, ...]:
    return tuple(
        Package(**{**item, "depends": tuple((name, version) for name, version in item["depends"])})
        for item in record["packages"]
    )


def _downloaded(package: Package, folder: Path) -> Path:
    # apt writes an epoch's colon as %3a in file names.
    pattern = f"{package.name}_{package.version.replace(':', '%3a')}_*.deb"
    found = list(folder.glob(pattern))
    if not found:
        raise KernelUnavailable(f"apt fetched no {package.name} {package.version}")
    digest = file_sha256(found[0])
    if digest != package.sha256:
        raise KernelUnavailable(f"{found[0].name}: sha256 {digest[:16]}… differs from the signed index; not used")
    return found[0]


def _write_if_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)
