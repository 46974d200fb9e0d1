"""From what a person names to the files and programs a guest runs: a suite by name, or whatever lies at a path."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harness.errors import UsageError, nearest
from harness.kernels.archive import Saying
from harness.model.architectures import Arch
from harness.payload.compiler import compile_given
from harness.payload.elf import unfit
from harness.suites.build import build_linux
from harness.suites.definition import SuiteAsked, SuiteFile, SuiteProgram, SuiteWork
from harness.suites.libraries import with_libraries
from harness.suites.load import SHIPPED, SuiteSpec, load_suites

LARGEST = 15 << 20
"""Bytes of one file that can be pushed (harness/guests/channel.py: FRAME_LIMIT has a little more)."""
MOST_FILES = 2000
_YAML = (".yaml", ".yml")
_SHELLS = ("/bin/sh", "/usr/bin/env sh", "/bin/busybox sh")
_NO_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class SuiteWords:
    """What was written about suites: names or paths. Arguments, files and environment go to each of them."""

    suites: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


def meant_suites(words: SuiteWords) -> tuple[SuiteSpec, ...]:
    """The suites that words name: ``NAME``, ``PATH``, ``FILE.yaml`` or ``FILE.yaml:NAME``. Raises ``UsageError``."""
    if odd := next((one for one in words.environment if "=" not in one[1:]), None):
        raise UsageError(f"--suite-env {odd}: write NAME=VALUE")
    specs = [spec for word in words.suites for spec in _meant(word)]
    names = [spec.name for spec in specs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two suites are called {twice}; give one of them another name in a suites.yaml")
    return tuple(
        replace(
            spec,
            arguments=(*spec.arguments, *words.arguments),
            files=(*spec.files, *(Path(file).expanduser() for file in words.files)),
            environment=(*spec.environment, *words.environment),
        )
        for spec in specs
    )


def _meant(word: str) -> list[SuiteSpec]:
    shipped = load_suites(SHIPPED)
    if word in shipped:
        return [shipped[word]]
    path = Path(word).expanduser()
    file, _, name = word.rpartition(":")
    if file.endswith(_YAML) and not path.exists():
        theirs = load_suites(Path(file).expanduser())
        if name not in theirs:
            raise UsageError(f"{file} has no suite {name!r}{nearest(name, theirs)}")
        return [theirs[name]]
    if not path.exists():
        raise UsageError(f"--suite {word}: neither a file nor a suite that sealmatrix has{nearest(word, shipped)}")
    if path.name.endswith(_YAML):
        return list(load_suites(path).values())
    return [SuiteSpec(_name_of(path), str(word), str(path))]


def _name_of(path: Path) -> str:
    stem = re.sub(r"\.(c|sh|tar(\.\w+)?|tgz)$", "", path.resolve().name.lower())
    return _NO_NAME.sub("-", stem).strip("-") or "suite"


def gather(spec: SuiteSpec, arch: Arch, say: Saying, *, seconds: float, user_space: bool) -> SuiteWork:
    """A suite's files and programs for an architecture.

    ``seconds`` is the deadline of its programs where it has none of its own, ``user_space`` says that guests have
    libraries and shells.

    Raises ``UsageError`` for what cannot run there, ``BuildError`` and what getting sources raises.
    """
    if spec.linux:
        files = [SuiteFile(name, content) for name, content in build_linux(spec, arch, say)]
        names = [file.path for file in files]
    else:
        files, names = _at(_path_of(spec, arch), arch)
    extra = [SuiteFile(path.name, _read(path), _mode(path)) for path in spec.files]
    files = [file for file in files if file.path not in {one.path for one in extra}] + extra
    for file in files:
        if len(file.content) > LARGEST:
            raise UsageError(f"{spec.name}: {file.path} has {len(file.content)} bytes; a guest takes {LARGEST} at most")
    commands, files, shell = _commands(spec, names, files, arch, user_space=user_space)
    programs = tuple(
        SuiteProgram("" if len(names) == 1 else _NO_NAME.sub("-", name.lower()).strip("-"), (*command, *spec.arguments))
        for name, command in zip(names, commands, strict=True)
    )
    return SuiteWork(spec.name, programs, tuple(files), spec.environment, spec.seconds or seconds, shell)


def _commands(
    spec: SuiteSpec, names: Sequence[str], files: Sequence[SuiteFile], arch: Arch, *, user_space: bool
) -> tuple[list[tuple[str, ...]], list[SuiteFile], bool]:
    """How each program is started, the files with what they need beside them, and whether a shell is needed."""
    contents = {file.path: file.content for file in files}
    found: list[tuple[str, ...]] = []
    shell, all_files = False, list(files)
    for name in names:
        content = contents[name]
        if content.startswith(b"#!"):
            _refuse_interpreter(spec, name, content, user_space=user_space)
            shell = shell or not user_space
            found.append((f"./{name}",))
            continue
        if not content.startswith(b"\x7fELF"):
            raise UsageError(f"{spec.name}: {name} is neither a program nor a script with #!")
        command: tuple[str, ...] = (f"./{name}",)
        problem = unfit(content, arch, user_space=user_space)
        if problem and "dynamically linked" in problem:
            command, libraries = with_libraries(spec.name, name, content, arch)
            all_files += [file for file in libraries if file.path not in {one.path for one in all_files}]
        elif problem:
            raise UsageError(f"{spec.name}: {name} {problem}")
        found.append(command)
    return found, all_files, shell


def _refuse_interpreter(spec: SuiteSpec, name: str, content: bytes, *, user_space: bool) -> None:
    line = content[2:].split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    if not user_space and not " ".join(line.split()).startswith(_SHELLS):
        raise UsageError(
            f"{spec.name}: {name} needs {line}, and a guest has only /bin/sh (busybox); use a profile with "
            "`guest: virtme`, which has a root"
        )


def _path_of(spec: SuiteSpec, arch: Arch) -> Path:
    """Where a suite lies. Raises ``UsageError`` where an environment variable has to say so, and where nothing is."""
    text = spec.path.replace("{arch}", arch)
    if text.startswith("$"):
        variable, _, rest = text[1:].partition("/")
        if not os.environ.get(variable):
            raise UsageError(f"{spec.name} ({spec.title}) is looked for in the folder that {variable} names; set it")
        text = str(Path(os.environ[variable]).expanduser() / rest)
    path = Path(text)
    if not path.exists():
        raise UsageError(f"{spec.name}: {path} does not exist")
    return path


def _at(path: Path, arch: Arch) -> tuple[list[SuiteFile], list[str]]:
    """The files at a path, and which of them are programs."""
    if path.is_dir():
        files = list(_in_folder(path))
    elif path.suffix == ".c":
        return [SuiteFile(path.stem, compile_given(path, arch))], [path.stem]
    elif tarfile.is_tarfile(path):
        files = list(_in_tar(path))
    else:
        return [SuiteFile(path.name, _read(path))], [path.name]
    names = sorted(file.path for file in files if "/" not in file.path and file.mode & 0o111)
    if not names:
        raise UsageError(f"{path}: no program stands at its top: no file there is executable")
    return files, names


def _in_folder(folder: Path) -> Iterator[SuiteFile]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(paths) > MOST_FILES:
        raise UsageError(f"{folder}: {len(paths)} files are too many; a suite may have {MOST_FILES}")
    for path in paths:
        yield SuiteFile(path.relative_to(folder).as_posix(), _read(path), _mode(path))


def _in_tar(path: Path) -> Iterator[SuiteFile]:
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar.getmembers() if member.isfile() or member.islnk() or member.issym()]
            if len(members) > MOST_FILES:
                raise UsageError(f"{path}: {len(members)} files are too many; a suite may have {MOST_FILES}")
            if sum(member.size for member in members) > 16 * LARGEST:
                raise UsageError(f"{path}: unpacks to more than {16 * LARGEST >> 20} MiB")
            for member in members:
                parts = [part for part in PurePosixPath(member.name).parts if part != "."]
                if not parts or ".." in parts or parts[0] == "/":
                    raise UsageError(f"{path}: {member.name!r} leads out of the folder it is unpacked in")
                data = tar.extractfile(member)
                if data is not None:
                    yield SuiteFile("/".join(parts), data.read(), (member.mode & 0o777) or 0o644)
    except (tarfile.TarError, EOFError, OSError, KeyError) as problem:
        raise UsageError(f"{path}: not a whole tar: {problem}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None


def _mode(path: Path) -> int:
    return 0o755 if os.access(path, os.X_OK) else 0o644


def asked(spec: SuiteSpec, works: dict[Arch, SuiteWork]) -> SuiteAsked:
    """What is judged of a suite."""
    first = next(iter(works.values()))
    source = f"Linux {spec.linux}, tools/testing/selftests" if spec.linux else spec.title
    return SuiteAsked(
        name=spec.name,
        title=spec.title,
        programs=tuple(program.name for program in first.programs),
        form=spec.form,
        convention=spec.convention,
        drop=spec.drop,
        known=spec.known,
        source=source,
        digests={str(arch): work.sha256 for arch, work in works.items()},
    )
