"""Kernels out of a source tree: our own fragments, plain make, out of tree, incremental, the same bytes every time.

Everything a fragment does not name is off (``make allnoconfig``, Documentation/kbuild/kconfig.rst). An option that
the tree silently dropped would make rules skip without a reason, so each line of a fragment must survive into the
final ``.config``; a line ``# optional`` excuses the option after it, which then becomes a note. A line
``# make NAME=VALUE`` is a variable for make.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import BuildError, ToolMissing, UsageError
from harness.kernels.config import parse_config
from harness.kernels.images import BZIMAGE, VMLINUX, survives_pvh
from harness.kernels.model import Kernel, Origin
from harness.kernels.store import file_sha256, telling
from harness.model.architectures import ARCHITECTURES, Arch, host_arch
from harness.model.atomic_files import write_atomically
from harness.processes.children import run

OWN = Path(__file__).resolve().parent / "own"
SYSTEM_MAPPINGS = OWN / "mseal-system-mappings.config"
# The kernel can seal system mappings from this series on (5796d3967c09).
_SYSTEM_MAPPINGS_SINCE = (6, 16)

_TOOLS = (("make", "make"), ("flex", "flex"), ("bison", "bison"), ("bc", "bc"))
_WITHOUT_PVH = ("bzImage", "arch/x86/boot/bzImage", BZIMAGE)
# Fixed, so that an unchanged tree gives an identical image (Documentation/kbuild/reproducible-builds.rst).
_STAMPS = {
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
    "KBUILD_BUILD_USER": "sealmatrix",
    "KBUILD_BUILD_HOST": "sealmatrix",
    "KBUILD_BUILD_VERSION": "1",
    "LC_ALL": "C",
}
# What a user's own kernel work may have left in the environment, and would change the build.
_UNWANTED = re.compile(
    r"(MAKE(FLAGS|LEVEL|FILES)|MFLAGS|ARCH|CROSS_COMPILE|LLVM.*|[KH]?C?FLAGS|CC|O|V|W|K(BUILD|CONFIG)_\w+)\Z"
)
# A comment that is nothing but variables: sentences that begin with "make" are none.
_MAKE = re.compile(r"# make( [A-Za-z_][\w.]*=\S+)+\s*\Z")
_COMPILED = re.compile(rb"^  (?:CC|AS)\s", re.MULTILINE)
_WATCH_SECONDS = 30.0
_SET = re.compile(r'CONFIG_(\w+)=(?:"(.*)"|(.*?))\s*\Z')
_UNSET = re.compile(r"# CONFIG_(\w+) is not set\s*\Z")
_DECISIVE = re.compile(r"\berror\b|\*\*\*|undefined reference|No rule to make|fatal:", re.IGNORECASE)


@dataclass(frozen=True)
class Option:
    """A line of a fragment; ``value`` is "n" for one that must be off."""

    name: str
    value: str
    optional: bool = False


@dataclass(frozen=True)
class BuiltTree:
    """A kernel just built. ``image`` lies in the build folder and is overwritten by the next build there.

    ``notes`` name the optional options the tree does not have; ``seconds`` is the wall time make took.
    """

    image: Path
    image_format: str
    sha256: str
    arch: Arch
    release: str
    config: Mapping[str, str] = field(repr=False)
    config_sha256: str
    log: Path
    notes: tuple[str, ...]
    seconds: float

    def kernel(self, name: str, where: str, image: Path | None = None) -> Kernel:
        """Return it as a ``Kernel`` called ``name``; ``image`` is a copy that will outlast the next build."""
        version = re.match(r"\d+\.\d+(\.\d+)?", self.release)
        return Kernel(
            name=name,
            release=self.release,
            arch=self.arch,
            flavour="own",
            image=image or self.image,
            image_format=self.image_format,
            sha256=self.sha256,
            origin=Origin("tree", where, note="; ".join(self.notes)),
            config=self.config,
            config_sha256=self.config_sha256,
            version=version[0] if version else "",
            image_sha256=self.sha256,
        )


@dataclass(frozen=True)
class ConfiguredTree:
    """A tree that has its configuration: how make is called there, and what the fragments give it beside that."""

    make: tuple[str, ...]
    variables: tuple[str, ...]
    config: Mapping[str, str] = field(repr=False)
    log: Path
    notes: tuple[str, ...]


def own_fragments(arch: Arch, series: tuple[int, int] = (0, 0)) -> tuple[Path, ...]:
    """The fragments of our minimal kernel for ``arch``, with what a tree of ``series`` (``check_tree``) can have."""
    fragments = OWN / "base.config", OWN / f"{arch}.config"
    return (*fragments, SYSTEM_MAPPINGS) if series >= _SYSTEM_MAPPINGS_SINCE else fragments


def build_tree(
    tree: Path,
    arch: Arch,
    out: Path,
    fragments: Sequence[Path] = (),
    *,
    jobs: int | None = None,
    reconfigure: bool = True,
    commands: bool = False,
) -> BuiltTree:
    """Build the kernel of ``tree`` in ``out``, which keeps what an incremental build needs; ``tree`` is only read.

    ``fragments`` default to ``own_fragments``. ``reconfigure=False`` keeps a configuration made from the same
    fragments: two seconds less where only C files changed. ``commands`` links anew and has all commands in the log,
    which is ``out/build.log``. Raises ``UsageError`` for
    a folder that is no clean kernel tree, ``ToolMissing``, ``BuildError`` with the decisive lines, ``StoreError``.
    """
    begun = time.monotonic()
    configured = configured_tree(tree, arch, out, fragments, reconfigure=reconfigure)
    config, log = configured.config, configured.log
    target, place, image_format = _target(arch, config)
    argv = [*configured.make, *configured.variables]
    if commands:
        argv.append("V=1")
        with telling(out):
            for linked in ("vmlinux", "vmlinux.unstripped"):
                (out / linked).unlink(missing_ok=True)
    _run([*argv, f"-j{jobs or os.cpu_count() or 1}", target], log, f"the kernel of {tree}")
    image = out / place
    if not image.is_file():
        raise BuildError(f"{tree}: make {target} succeeded but left no {place}")
    return BuiltTree(
        image=image,
        image_format=image_format,
        sha256=file_sha256(image),
        arch=arch,
        release=_bytes(out / "include/config/kernel.release").decode("ascii", "replace").strip(),
        config=config,
        config_sha256=hashlib.sha256(_bytes(out / ".config")).hexdigest(),
        log=log,
        notes=configured.notes,
        seconds=round(time.monotonic() - begun, 3),
    )


def configured_tree(
    tree: Path, arch: Arch, out: Path, fragments: Sequence[Path] = (), *, reconfigure: bool = True
) -> ConfiguredTree:
    """Configure the kernel of ``tree`` in ``out`` and compile nothing; arguments and errors as in ``build_tree``."""
    check_tree(tree)
    make = (*_make(arch), "-C", str(tree.resolve()), f"O={out.resolve()}", f"ARCH={arch}")
    text = "".join(_read(path) for path in fragments or own_fragments(arch))
    log = out / "build.log"
    with telling(out):
        out.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
    _configure(make, out, text, log, reconfigure=reconfigure)
    config = parse_config(_bytes(out / ".config"))
    notes = check_options(parse_fragment(text), config)
    return ConfiguredTree(make=make, variables=make_variables(text), config=config, log=log, notes=notes)


def series_of(makefile: str) -> tuple[int, int] | None:
    """Return (major, minor) as a kernel's top Makefile has them; None when it is no kernel's."""
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)$", makefile, re.MULTILINE))
    return (int(found["VERSION"]), int(found["PATCHLEVEL"])) if len(found) == 2 else None


def check_tree(tree: Path) -> tuple[int, int]:
    """Return (major, minor) of a kernel tree. Raises ``UsageError`` when it is none or was built in place."""
    try:
        series = series_of((tree / "Makefile").read_text("utf-8", "replace"))
    except OSError:
        series = None
    if series is None or not (tree / "Kbuild").is_file():
        raise UsageError(f"{tree}: not a kernel source tree; give the folder that has its top Makefile")
    if (tree / ".config").exists() or (tree / "include/config").exists():
        raise UsageError(f"{tree}: was built in place; give a clean checkout, or clean it: make mrproper")
    return series


def parse_fragment(text: str) -> tuple[Option, ...]:
    """Return the options of a fragment, a later line winning over an earlier one. Raises ``UsageError``."""
    options: dict[str, Option] = {}
    optional = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() == "# optional":
            optional = True
            continue
        if (match := _SET.match(line)) is not None:
            options[match[1]] = Option(match[1], match[2] if match[2] is not None else match[3], optional)
        elif (match := _UNSET.match(line)) is not None:
            options[match[1]] = Option(match[1], "n", optional)
        elif line.strip() and not line.startswith("#"):
            raise UsageError(f"configuration fragment, line {number}: neither an option nor a comment: {line[:60]!r}")
        optional = False
    return tuple(options.values())


def make_variables(text: str) -> tuple[str, ...]:
    """What the lines ``# make NAME=VALUE …`` of a fragment give make beside the configuration."""
    return tuple(word for line in text.splitlines() if _MAKE.match(line) for word in line.split()[2:])


@contextmanager
def watched(out: Path, what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Say now and then how far a build in ``out`` has come: what is built takes minutes."""
    ended = threading.Event()
    begun = time.monotonic()

    def watch() -> None:
        while not ended.wait(_WATCH_SECONDS):
            with suppress(OSError):
                compiled = len(_COMPILED.findall((out / "build.log").read_bytes()))
                say(f"{what}: {compiled} files compiled in {time.monotonic() - begun:.0f} s")

    watcher = threading.Thread(target=watch, name="build watcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def check_options(options: Sequence[Option], config: Mapping[str, str]) -> tuple[str, ...]:
    """Return notes on optional options that are missing. Raises ``BuildError`` naming every other one."""
    wrong = [option for option in options if config.get(option.name, "n") != option.value]
    needed = [f"{o.name}={o.value} (is {config.get(o.name, 'off')})" for o in wrong if not o.optional]
    if needed:
        raise BuildError(f"the tree's configuration did not take {', '.join(needed)}; their dependencies have changed")
    return tuple(f"{o.name}={o.value} is not available in this tree" for o in wrong)


def _configure(argv: Sequence[str], out: Path, text: str, log: Path, *, reconfigure: bool) -> None:
    """Make ``.config`` from the fragments, unless that was done from the same ones and may be kept."""
    kept = out / "fragments.config"
    same = kept.is_file() and kept.read_text("utf-8", "replace") == text
    if same and not reconfigure and (out / ".config").is_file():
        return
    with telling(kept):
        kept.unlink(missing_ok=True)
        write_atomically(out / "wanted.config", text.encode())
        _run([*argv, f"KCONFIG_ALLCONFIG={(out / 'wanted.config').resolve()}", "allnoconfig"], log, "the configuration")
        (out / "wanted.config").replace(kept)


def _target(arch: Arch, config: Mapping[str, str]) -> tuple[str, str, str]:
    """What make is asked for, where it leaves that, and its format."""
    facts = ARCHITECTURES[arch]
    if facts.image == VMLINUX and not survives_pvh(config):
        return _WITHOUT_PVH
    return facts.make_target, facts.make_image, facts.image


def check_tools(arch: Arch) -> None:
    """Raise ``ToolMissing`` for what a build for ``arch`` would stop at."""
    facts = ARCHITECTURES[arch]
    cross = () if arch == host_arch() else ((f"{facts.prefix}gcc", facts.compiler_package),)
    tools = (*_TOOLS, ("gcc", "gcc"), *cross)
    for program, owner in tools:
        if shutil.which(program) is None:
            raise ToolMissing(program, owner)
    for header, (what, package) in facts.headers.items():
        if not has_header(header):
            raise ToolMissing(what, package)


def _make(arch: Arch) -> list[str]:
    """make with the compiler for ``arch``, through ccache where there is one. Raises ``ToolMissing``."""
    check_tools(arch)
    prefix = "" if arch == host_arch() else ARCHITECTURES[arch].prefix
    argv = ["make", f"CROSS_COMPILE={prefix}"] if prefix else ["make"]
    return [*argv, f"CC=ccache {prefix}gcc"] if shutil.which("ccache") else argv


def has_header(name: str) -> bool:
    """Whether the system's compiler finds a header; False where there is no compiler."""
    if shutil.which("gcc") is None:
        return False
    return run(["gcc", "-E", "-x", "c", "-"], given=f"#include <{name}>\n".encode()).status == 0


def _run(argv: Sequence[str], log: Path, what: str) -> None:
    """Run make, its words appended to the log."""
    environment = {name: value for name, value in os.environ.items() if not _UNWANTED.match(name)} | _STAMPS
    # Of the path of the tree objects hold no more than the way to it from the build folder ("../tree" under ccache,
    # nothing without it: -fmacro-prefix-map, no debug information), so that ccache may give those of one tree to
    # another at the same place beside its build folder.
    environment |= {"CCACHE_BASEDIR": str(log.resolve().parent.parent), "CCACHE_NOHASHDIR": "1"}
    with log.open("ab") as stream:
        start = stream.tell()
        done = run(argv, what=f"building {what}", environment=environment, output=stream)
    if done.status:
        raise BuildError(f"{what} does not build: {decisive(_bytes(log)[start:].decode('utf-8', 'replace'))} ({log})")


def decisive(output: str) -> str:
    """The first line of make's output that says what is wrong, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling_lines = [line for line in lines if _DECISIVE.search(line)]
    return (telling_lines or lines[-1:] or ["make said nothing"])[0][:300]


def _read(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BuildError(f"{path}: cannot be read: {error.strerror}") from error
