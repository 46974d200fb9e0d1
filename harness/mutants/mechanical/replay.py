"""Compiling one file and linking, by the commands that make itself used last: a second or two, where make takes five.

The table of symbols stays that of the unchanged kernel, so it is linked once and not three times. Whether that is the
same kernel is tried before it is believed: the unchanged objects must give the unchanged image, byte for byte.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import Section, SymbolTableSection

from harness.errors import BuildError
from harness.kernels.store import telling
from harness.kernels.tree import BuiltTree, decisive
from harness.model.atomic_files import write_atomically
from harness.processes.children import run

_ALLOCATED = 2  # SHF_ALLOC
_LINKED = re.compile(r"^\+ (\S*ld\S* (?:.* )?-o (?P<out>vmlinux(?:\.unstripped)?) .*)$", re.MULTILINE)
_SORTED = re.compile(r"^\+ (\S*scripts/sorttable .*)$", re.MULTILINE)
_SYMBOLS = ".tmp_vmlinux.nm-sort"


_REFUSED = re.compile(r"\.[chS]:\d+:(?:\d+:)? error: |undefined reference to ")


class CompilerRefused(BuildError):
    """The compiler, or the linker, says that the source is at fault. A full disk, or a compiler that was killed, says
    nothing of the source."""


def refused(output: str) -> bool:
    """Whether that is what a failed build printed. Pure."""
    return _REFUSED.search(output) is not None


class NoReplay(Exception):
    """These commands cannot be repeated by us; make has to do it."""


@dataclass(frozen=True)
class Compiled:
    """What became of a file: its object, and whether it does the same as the unchanged one."""

    sha256: str
    same: bool


@dataclass(frozen=True)
class Replay:
    """The commands of the build in ``out``. ``image`` is where make leaves the kernel, below ``out``."""

    out: Path
    link: tuple[str, ...]
    linked: str
    after: tuple[tuple[str, ...], ...]
    image: str
    sort: tuple[str, ...] = ()
    unchanged: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Objects as our commands make them of unchanged files: make's may name their source otherwise, by ccache."""

    def has(self, file: str) -> bool:
        """Whether a C file is part of this kernel, as one object."""
        return (self.out / f"{file.removesuffix('.c')}.o").is_file()

    def learn(self, file: str) -> None:
        """Compile a file of the unchanged tree, once; what its mutants are compared with. Raises ``BuildError``,
        which is never the fault of a mutant."""
        if file not in self.unchanged:
            try:
                with self._made(file) as content:
                    self.unchanged[file] = content
            except CompilerRefused as problem:
                raise BuildError(f"unchanged, it cannot be compiled by itself: {problem}") from problem

    @contextmanager
    def compiled(self, file: str) -> Iterator[Compiled]:
        """The object of ``file`` as the tree has it now; inside the block it is what a link finds, after it no more.

        The unchanged file has been learnt. Raises ``CompilerRefused`` when the compiler says that it is at fault, and
        ``BuildError`` when it fails otherwise, or its command cannot be repeated.
        """
        with self._made(file) as content:
            yield Compiled(hashlib.sha256(content).hexdigest(), same_code(self.unchanged[file], content))

    @contextmanager
    def _made(self, file: str) -> Iterator[bytes]:
        name = f"{file.removesuffix('.c')}.o"
        place = self.out / name
        try:
            commands = saved_commands(self.out / _command_file(name))
        except NoReplay as why:
            raise BuildError(f"{file}: {why}") from why
        with telling(place):
            before = place.read_bytes()
        try:
            with telling(place):
                place.unlink()  # a compiler that dies must not leave the unchanged object
            for argv in commands:
                self._do([word for word in argv if word != "ccache"], f"compiling {file}")
            with telling(place):
                content = place.read_bytes()
            yield content
        finally:
            with telling(place):
                write_atomically(place, before)

    def link_into(self, image: Path) -> None:
        """Link what the objects are now into ``image``. Raises ``BuildError``."""
        with telling(image):
            image.parent.mkdir(parents=True, exist_ok=True)
        steps = {name: f"{image}.{number}" for number, name in enumerate((self.linked, "vmlinux", _SYMBOLS))}
        names = {**steps, self.image: str(image)}
        try:
            self._do(_renamed(self.link, names), "linking")
            if self.sort:
                listed = run(["nm", "-S", names[self.linked]], what="listing symbols")
                with telling(image):
                    Path(names[_SYMBOLS]).write_bytes(listed.out)
                self._do(_renamed(self.sort, names), "sorting tables")
            for argv in self.after:
                self._do(_renamed(argv, names), "making the image")
        finally:
            for step in steps.values():
                Path(step).unlink(missing_ok=True)

    def _do(self, argv: Sequence[str], what: str) -> None:
        environment = {**os.environ, "LC_ALL": "C"}
        done = run(argv, what=what, folder=self.out, environment=environment)
        if done.status:
            output = (done.out + done.err).decode("utf-8", "replace")
            raise (CompilerRefused if refused(output) else BuildError)(f"{what}: {decisive(output)}")


def prepare(built: BuiltTree, out: Path, scratch: Path) -> Replay:
    """The replay of a build that was just linked with all its commands in its log. Raises ``NoReplay``."""
    with telling(built.log):
        log = built.log.read_text("utf-8", "replace")
    links = list(_LINKED.finditer(log))
    if not links:
        raise NoReplay("the log does not show how the kernel was linked")
    image = str(built.image.relative_to(out))
    linked = links[-1]["out"]
    after: list[tuple[str, ...]] = []
    for name in dict.fromkeys(("vmlinux", image)):
        commands = saved_commands(out / _command_file(name))
        if not any("link-vmlinux.sh" in word for argv in commands for word in argv):
            after += commands
    sorted_by = _SORTED.search(log)
    sort = tuple(shlex.split(sorted_by[1])) if sorted_by else ()
    replay = Replay(out, tuple(shlex.split(links[-1][1])), linked, tuple(after), image, sort)
    begun = time.monotonic()
    try:
        replay.link_into(scratch)
        with telling(scratch):
            same = scratch.read_bytes() == built.image.read_bytes()
    except BuildError as problem:
        raise NoReplay(str(problem)) from problem
    finally:
        scratch.unlink(missing_ok=True)
    if not same:
        raise NoReplay(f"linked by us the unchanged kernel has other bytes ({time.monotonic() - begun:.1f} s)")
    return replay


def saved_commands(path: Path) -> tuple[tuple[str, ...], ...]:
    """The commands that make kept beside what they made. Raises ``NoReplay`` when they need a shell."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise NoReplay(f"{path.name}: {error.strerror}") from error
    return split_commands(text.partition(" := ")[2].partition("\n")[0])


def split_commands(text: str) -> tuple[tuple[str, ...], ...]:
    """The words of each command in a line of make's. Pure; raises ``NoReplay`` when a shell is needed to read it."""
    lexer = shlex.shlex(text.replace("$$", "$").replace("$(pound)", "#"), posix=True, punctuation_chars=";|<>&()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set(";"):
            commands.append([])
        elif word and set(word) <= set("|<>&()"):
            raise NoReplay(f"a command that needs a shell: {text[:80]}")
        else:
            commands[-1].append(word)
    return tuple(tuple(argv) for argv in commands if argv and argv != ["true"])


def same_code(one: bytes, other: bytes) -> bool:
    """Whether two objects put the same into a kernel: all that is loaded, and all that refers to something. Pure."""
    return one == other or _loaded(one) == _loaded(other)


def _loaded(content: bytes) -> Mapping[str, tuple[bytes, tuple[object, ...]]]:
    elf = ELFFile(io.BytesIO(content))
    relocations: dict[int, tuple[object, ...]] = {}
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection):
            symbols = elf.get_section(section["sh_link"])
            assert isinstance(symbols, SymbolTableSection)
            relocations[section["sh_info"]] = tuple(
                (r["r_offset"], r["r_info_type"], r.entry.get("r_addend", 0), _symbol(elf, symbols, r["r_info_sym"]))
                for r in section.iter_relocations()
            )
    return {
        f"{number} {section.name}": (_bytes(section), relocations.get(number, ()))
        for number, section in enumerate(elf.iter_sections())
        if section["sh_flags"] & _ALLOCATED
    }


def _bytes(section: Section) -> bytes:
    return b"\0" * section["sh_size"] if section["sh_type"] == "SHT_NOBITS" else section.data()


def _symbol(elf: ELFFile, symbols: SymbolTableSection, number: int) -> tuple[object, ...]:
    symbol = symbols.get_symbol(number)
    place = symbol["st_shndx"]
    name = elf.get_section(place).name if isinstance(place, int) else str(place)
    return symbol.name, name, symbol["st_value"]


def _command_file(name: str) -> str:
    folder, _, base = name.rpartition("/")
    return f"{folder}/.{base}.cmd" if folder else f".{base}.cmd"


def _renamed(argv: Sequence[str], parts: Mapping[str, str]) -> list[str]:
    return [parts.get(word, word) for word in argv]
