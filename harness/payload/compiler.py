"""One static ELF out of C sources, for any of our architectures, with the one pinned compiler.

Results live in the user's cache under a key that covers everything the bytes depend on, so a second
call costs a few digests, and two processes that build at once can only publish the same file twice.
A wheel brings ours along under the same keys (hatch_build.py): whoever installed one compiles nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.errors import BuildError, UsageError
from harness.kernels.store import default_root, keep_made, made, telling
from harness.model.architectures import ARCHITECTURES, Arch
from harness.processes.children import OutOfTime, run

_LOG = logging.getLogger(__name__)

# A program's base leaves room below it for the payload's windows, which are the first mappings the kernel lists then.
# The sanitizer zig adds to C by default would turn a payload's deliberate oddities into traps.
FLAGS: tuple[str, ...] = (
    "-static", "-std=gnu11", "-O2", "-g0", "-s", "-fno-sanitize=all", "-fno-strict-aliasing",
    "-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument", "-Wl,--image-base=0x40000000",
)  # fmt: skip

# A library that a program of this host loads; it has the host's C library.
_SHARED: tuple[str, ...] = (
    "-shared", "-fPIC", "-std=gnu11", "-O2", "-g0", "-s", "-fno-sanitize=all", "-fvisibility=hidden",
    "-Wall", "-Wextra", "-Werror",
)  # fmt: skip

# A program of another instruction set that one of ours has in it: with nothing of a C library, and so small.
_SMALL: tuple[str, ...] = (
    "-static", "-nostdlib", "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-std=gnu11", "-Os", "-g0", "-s",
    "-fno-sanitize=all", "-fomit-frame-pointer", "-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument",
)  # fmt: skip

# As ours, so that the compiler's libc, which took minutes to build, is used again.
_GIVEN: tuple[str, ...] = (*(flag for flag in FLAGS if not flag.startswith("-W")), "-w")

# The first build for a target compiles musl as well: 25 s on a desktop, minutes on a slow board.
_COMPILE_SECONDS = 900


def cache_root() -> Path:
    """Where built programs and the compiler's own caches are kept."""
    return default_root() / "payload"


def shipped_root() -> Path:
    """Where an installed wheel has the programs that were built with it; a checkout has none."""
    return Path(__file__).resolve().parent.parent / "_shipped" / "programs"


def compiler_version() -> str:
    """The exact compiler, for the record of a run. Raises ``BuildError`` when it is not installed."""
    try:
        return f"ziglang {metadata.version('ziglang')}"
    except metadata.PackageNotFoundError:
        raise BuildError(
            "the C compiler is not installed in this Python environment; install sealmatrix with its "
            "dependencies (pip install ziglang)"
        ) from None


def sources_digest(sources: Sequence[Path]) -> str:
    """sha256 (hex) over the names and bytes of the sources and of every header beside them."""
    headers = {header for folder in {s.parent for s in sources} for header in folder.glob("*.h")}
    digest = hashlib.sha256()
    for path in sorted({*sources, *headers}, key=lambda p: (p.name, p)):
        content = _read(path)
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True)
class ElfTarget:
    """A static ELF called ``name``, as it is to be built from ``sources`` for ``arch``.

    ``defines`` become ``-DKEY=VALUE``. The sources may include headers that lie beside them. A ``shared`` one is a
    library for programs of a host of ``arch``. ``foreign`` are the flags of sources that are not ours: their warnings
    are not looked at. A ``small`` one is for the 32-bit programs of ``arch`` and has no C library. Those ``inside`` are
    made first; the sources find the path of each in a macro that has its name in capitals.
    """

    sources: tuple[Path, ...]
    arch: Arch
    name: str
    defines: tuple[tuple[str, str], ...] = ()
    shared: bool = False
    foreign: tuple[str, ...] = ()
    small: bool = False
    inside: tuple[ElfTarget, ...] = ()

    @property
    def _target(self) -> str:
        facts = ARCHITECTURES[self.arch]
        return facts.zig.replace("-musl", "-gnu") if self.shared else facts.zig32 if self.small else facts.zig

    @property
    def _flags(self) -> list[str]:
        flags = _SMALL if self.small else _SHARED if self.shared else _GIVEN if self.foreign else FLAGS
        return [*flags, *self.foreign, *(f"-D{key}={value}" for key, value in sorted(self.defines))]

    @property
    def place(self) -> str:
        """Its path below a folder of programs: another one for each content."""
        recipe = [
            compiler_version(),
            self._target,
            self.name,
            *self._flags,
            sources_digest(self.sources),
            *(program.place for program in self.inside),
        ]
        return f"{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:32]}/{self.name}"

    @property
    def target(self) -> Path:
        """Where it is kept."""
        return cache_root() / self.place

    def is_made(self) -> bool:
        """Whether it is there, and as it was built."""
        return any(made(folder / self.place) for folder in (cache_root(), shipped_root()))

    def make(self, how_far: str = "") -> Path:
        """Return it, built where it is not there; the log says so before.

        Raises ``BuildError`` with the compiler's first decisive line, ``StoreError`` when the cache cannot be written.
        """
        target = self.target
        if made(target):
            return target
        if made(shipped := shipped_root() / self.place):
            with telling(target):
                keep_made(target, shipped.read_bytes(), 0o755)
            return target
        once = f"once, {how_far}" if how_far else "once"
        _LOG.info("compiling %s for %s (%s; the first for an architecture takes a minute)", self.name, self.arch, once)
        with telling(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
                built = Path(scratch) / self.name
                inside = [f'-D{program.name.upper()}="{program.make(how_far)}"' for program in self.inside]
                _compile(self.sources, self.arch, [*self._flags, *inside], built, self._target)
                if self.target != target:  # edited meanwhile: nobody knows what the compiler read
                    return self.make(how_far)
                keep_made(target, built.read_bytes(), 0o755)  # whoever comes second replaces like with like
        return target


def compile_static(sources: Sequence[Path], arch: Arch, name: str, defines: Mapping[str, str] | None = None) -> Path:
    """Make a ``ElfTarget``; see there."""
    return ElfTarget(tuple(sources), arch, name, tuple((defines or {}).items())).make()


def compile_given(source: Path, arch: Arch) -> bytes:
    """A person's own C file as a static program for ``arch``; their warnings are theirs.

    Raises ``UsageError`` with the compiler's first decisive line where it does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
        built = Path(scratch) / source.stem
        try:
            _compile([source], arch, _GIVEN, built)
        except BuildError as problem:
            raise UsageError(str(problem)) from None
        return built.read_bytes()


def _compile(sources: Sequence[Path], arch: Arch, flags: Sequence[str], output: Path, target: str = "") -> None:
    zig_cache = str(cache_root() / "zig")
    argv = [sys.executable, "-P", "-m", "ziglang", "cc", "-target", target or ARCHITECTURES[arch].zig, *flags]
    argv += ["-o", str(output), *(str(s.resolve()) for s in sources if s.suffix == ".c")]
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache}
    try:
        done = run(
            argv, what=f"building {output.name} for {arch}", environment=environment, merged=True,
            seconds=_COMPILE_SECONDS,
        )  # fmt: skip
    except OutOfTime:
        raise BuildError(f"{output.name} for {arch}: the build did not end within {_COMPILE_SECONDS} s") from None
    except OSError as error:
        raise BuildError(f"{output.name} for {arch}: cannot start the compiler: {error.strerror}") from error
    if done.status != 0 or not output.is_file():
        raise BuildError(
            f"{output.name} for {arch} does not compile: {first_error(done.out.decode('utf-8', 'replace'))}"
        )


def first_error(output: str) -> str:
    """The line of a compiler's output that decides: the first that says ``error``, else the first at all."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        if "error" in line.lower():
            return line
    return lines[0] if lines else "the compiler said nothing"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BuildError(f"{path}: cannot read this source: {error.strerror or error}") from error
