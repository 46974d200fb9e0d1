"""The Python payload, built: one static file for an architecture, CPython and all its modules.

Debian's static libpython, C library and compiler library are linked with our system-call module by the one pinned
compiler's linker, so no cross compiler is needed; behind the program comes a zip of compiled modules, which it finds at
/proc/self/exe. Everything is kept in the user's cache under keys that cover what it was made of.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath

from harness.errors import BuildError
from harness.kernels.store import Store, keep_made, made, telling
from harness.model.architectures import ARCHITECTURES, Arch, this_arch
from harness.model.json_text import parse_json
from harness.payload.build import ProbeInfo, kept_list, payload_root
from harness.payload.compiler import cache_root, compiler_version, first_error
from harness.payload.packages import NAMES, PYTHON, Packages, Pinned, contents, obtain, pinned, system_packages
from harness.processes.children import OutOfTime, run

_GLIBC = "2.36"  # of libc6-dev in packages.SUITE: the compiler's own headers follow it
_CFLAGS = ("-O2", "-g0", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror")
# Room below the program: what is mapped there is listed first, and nobody need read on (crosscheck/window.py).
_LDFLAGS = ("-static", "--gc-sections", "-s", "--image-base=0x10000000")
# Modules of the standard library that want what a guest has not: a network, a screen, shared libraries, a reader.
_LEFT_OUT = frozenset(
    ("__phello__", "asyncio", "ctypes", "curses", "dbm", "distutils", "email", "ensurepip", "html", "http", "idlelib",
     "lib2to3", "multiprocessing", "pydoc_data", "sqlite3", "test", "tkinter", "turtledemo", "unittest", "venv",
     "wsgiref", "xml", "xmlrpc", "zoneinfo")
)  # fmt: skip
_TOOL_SECONDS = 600
_LOG = logging.getLogger(__name__)
_TOLD = "the Python payload for %s, once: %s"


@dataclass(frozen=True)
class PythonPayload:
    """An interpreter that can be pushed into a guest: a file that runs as ``python3`` does.

    ``id`` is of its sources and the packages asked for (16 hex digits, also in the stream's plan), ``sha256`` of its
    bytes, ``packages`` what it really was made of.
    """

    arch: Arch
    path: Path
    sha256: str
    id: str
    packages: tuple[Pinned, ...]


@dataclass(frozen=True)
class _Sources:
    """What a build is made from, read once. ``library`` maps names in the archive to sources."""

    interpreter: Mapping[str, bytes]
    compiler: bytes
    library: Mapping[str, bytes]


@dataclass
class _PythonBuilder:
    """One build: the store and archive it takes packages from, and what it had to take."""

    store: Store
    archive: Packages
    say: Callable[[str], None]
    had: dict[Arch, tuple[Pinned, ...]] = field(default_factory=dict)

    def packages(self, arch: Arch) -> tuple[Pinned, ...]:
        if arch not in self.had:
            self.had[arch] = obtain(arch, pinned(arch), self.store, self.archive, self.say)
        return self.had[arch]


def python_arches() -> tuple[Arch, ...]:
    """The architectures that have a Python payload: those whose libraries Debian's suite of it has."""
    return tuple(arch for arch, facts in ARCHITECTURES.items() if facts.gnu)


def build_python(
    arch: Arch,
    say: Callable[[str], None] | None = None,
    *,
    store: Store | None = None,
    archive: Packages | None = None,
) -> PythonPayload:
    """Build the Python payload for ``arch``, or take it from the cache.

    The first build fetches about 15 MB of packages; ``say`` (our log, if not given) is told what takes long. Raises
    ``BuildError``, ``KernelUnavailable`` when a package cannot be had, or ``StoreError``.
    """
    if arch not in python_arches():
        raise BuildError(f"there is no Python payload for {arch}: the distribution it is built from has no {arch}")
    sources = _sources()
    ident = _digest(sources, *(asdict(package) for a in sorted(python_arches()) for package in pinned(a)))[:16]
    target = cache_root() / _digest(compiler_version(), _CFLAGS, _LDFLAGS, arch, ident)[:32] / "python"
    with telling(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (made(target) and made(target.with_suffix(".json"))):
            store = store or Store()
            builder = _PythonBuilder(store, archive or system_packages(store), say or partial(_LOG.info, _TOLD, arch))
            _keep(target.with_suffix(".json"), _made_of(builder.packages(arch)))
            _keep(target, _assemble(builder, arch, sources, ident), 0o755)
        made_of = tuple(Pinned(**row) for row in parse_json(target.with_suffix(".json").read_text(encoding="utf-8")))
        return PythonPayload(arch, target, made(target), ident, made_of)


def crosscheck_list() -> tuple[ProbeInfo, ...]:
    """The probes of the second payload, as the build for this machine lists them."""
    return _crosscheck_list(build_python(this_arch()).path)


@cache
def _crosscheck_list(program: Path) -> tuple[ProbeInfo, ...]:
    return kept_list(program, ["-m", "crosscheck", "--list"])


def _sources() -> _Sources:
    root = payload_root() / "python"
    try:
        interpreter = {path.name: path.read_bytes() for path in sorted((root / "interpreter").glob("*.[ch]"))}
        library = {
            str(path.relative_to(root / "library")): path.read_bytes()
            for path in sorted((root / "library").rglob("*.py"))
        }
        compiler = (root / "compile_library.py").read_bytes()
    except OSError as problem:
        raise BuildError(f"{problem.filename}: cannot be read: {problem.strerror}") from problem
    if not interpreter or not library:
        raise BuildError(f"the Python payload's sources are missing in {root}; reinstall sealmatrix")
    return _Sources(interpreter, compiler, library)


def _assemble(builder: _PythonBuilder, arch: Arch, sources: _Sources, ident: str) -> bytes:
    program = _program(builder, arch, sources)
    standard = _standard_library(builder, sources)
    own = {**sources.library, "guest/_identity.py": f'ID = "{ident}"\n'.encode()}
    builder.say("compiling the library")
    return program + _merged(standard, _compiled(builder, own, sources))


def _program(builder: _PythonBuilder, arch: Arch, sources: _Sources) -> bytes:
    """The bare interpreter: an ELF without any module that is not built in."""
    key = _digest(compiler_version(), _CFLAGS, _LDFLAGS, arch, _made_of(builder.packages(arch)), sources.interpreter)
    kept = cache_root() / key[:32] / "interpreter"
    if not made(kept):
        builder.say("linking the interpreter")
        with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
            _keep(kept, _link(builder, arch, sources.interpreter, Path(scratch)))
    return kept.read_bytes()


def _link(builder: _PythonBuilder, arch: Arch, sources: Mapping[str, bytes], folder: Path) -> bytes:
    triple = ARCHITECTURES[arch].gnu
    for name, data in contents(builder.store, builder.packages(arch)):
        if name.startswith(("usr/include/python", f"usr/include/{triple}/python")) or name.endswith((".a", ".o")):
            _write(folder / name, data)
    for name, data in sources.items():
        _write(folder / "own" / name, data)
    objects = []
    for name in (name for name in sources if name.endswith(".c")):
        objects.append(folder / "own" / f"{name}.o")
        includes = [f"-I{folder}/usr/include", f"-I{folder}/usr/include/python{PYTHON}"]
        _zig(["cc", "-target", f"{triple}.{_GLIBC}", *_CFLAGS, *includes, "-c", "-o", str(objects[-1]),
              str(folder / "own" / name)])  # fmt: skip
    libc, gcc = folder / "usr/lib" / triple, folder / "usr/lib/gcc" / triple / "12"
    # x86_64's libm.a is a linker script that names two others by absolute paths.
    mathematics = [libc / f"libm-{_GLIBC}.a", libc / "libmvec.a"]
    if not all(path.is_file() for path in mathematics):
        mathematics = [libc / "libm.a"]
    python = folder / f"usr/lib/python{PYTHON}/config-{PYTHON}-{triple}/libpython{PYTHON}.a"
    output = folder / "python"
    _zig(["ld.lld", *_LDFLAGS, "-o", str(output), *map(str, [libc / "crt1.o", libc / "crti.o", gcc / "crtbeginT.o"]),
          *map(str, objects), *map(str, [python, libc / "libexpat.a", libc / "libz.a"]), "--start-group",
          *map(str, [*mathematics, libc / "libc.a", gcc / "libgcc.a", gcc / "libgcc_eh.a"]), "--end-group",
          str(gcc / "crtend.o"), str(libc / "crtn.o")])  # fmt: skip
    return output.read_bytes()


def _standard_library(builder: _PythonBuilder, sources: _Sources) -> bytes:
    """A zip of the standard library, compiled. It is the same for every architecture; the host's packages have it."""
    made_of = _made_of(builder.packages(this_arch()))
    kept = cache_root() / _digest(made_of, sources.compiler, sorted(_LEFT_OUT))[:32] / "standard.zip"
    if not made(kept):
        builder.say("compiling the standard library")
        _keep(kept, _compiled(builder, dict(_standard_modules(builder)), sources))
    return kept.read_bytes()


def _standard_modules(builder: _PythonBuilder) -> Iterable[tuple[str, bytes]]:
    root = PurePosixPath(f"usr/lib/python{PYTHON}")
    for name, data in contents(builder.store, builder.packages(this_arch())):
        path = PurePosixPath(name)
        if path.suffix == ".py" and path.is_relative_to(root):
            inside = path.relative_to(root)
            if not inside.parts[0].startswith(("config-", "_sysconfigdata")) and inside.parts[0] not in _LEFT_OUT:
                yield str(inside), data


def _compiled(builder: _PythonBuilder, modules: Mapping[str, bytes], sources: _Sources) -> bytes:
    """A zip of modules compiled by the interpreter itself, which for that is given the standard library as sources."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sealmatrix-")))
        _write(folder / "python", _program(builder, this_arch(), sources) + _zipped(_standard_modules(builder)))
        _write(folder / "modules.zip", _zipped(modules.items()))
        _write(folder / "compile_library.py", sources.compiler)
        (folder / "python").chmod(0o755)
        arguments = ["compile_library.py", "modules.zip", "compiled.zip"]
        _run([str(folder / "python"), *arguments], "the library", folder)
        return (folder / "compiled.zip").read_bytes()


def _zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)
    return memory.getvalue()


def _merged(*archives: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as merged:
        for data in archives:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for entry in archive.infolist():
                    merged.writestr(entry, archive.read(entry))
    return memory.getvalue()


def _zig(arguments: Sequence[str]) -> None:
    cache = str(cache_root() / "zig")
    environment = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    _run([sys.executable, "-P", "-m", "ziglang", *arguments], "the interpreter", None, environment)


def _run(argv: Sequence[str], what: str, folder: Path | None, environment: Mapping[str, str] | None = None) -> None:
    try:
        done = run(
            list(argv), what="building the Python payload", folder=folder,
            environment={**os.environ, **(environment or {})}, merged=True, seconds=_TOOL_SECONDS,
        )  # fmt: skip
    except (OSError, OutOfTime) as problem:
        raise BuildError(f"the Python payload: {what}: {problem}") from problem
    if done.status != 0:
        said = first_error(done.out.decode("utf-8", "replace"))
        raise BuildError(f"the Python payload: {what} cannot be built: {said}")


def _made_of(packages: Sequence[Pinned]) -> bytes:
    assert len(packages) == len(NAMES)
    return json.dumps([asdict(package) for package in packages], indent=1).encode() + b"\n"


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _keep(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file of the cache: two that build at once replace like with like."""
    with telling(path.parent):
        keep_made(path, data, mode)
