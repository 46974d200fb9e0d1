"""The instrumented code of a vmlinux: blocks, lines and branches, by its symbols, line tables and instructions.

pyelftools reads the file, capstone the instructions. What cannot be told is left out rather than guessed: jumps whose
two sides begin with a common block, jumps through tables, and lines of headers that were inlined.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.coverage.model import FILES, Branch, Code, CodePlace, Way
from harness.errors import ImageError, ToolMissing

CALLED = "__sanitizer_cov_trace_pc"
_LOWER = 0xFFFFFFFF
_SPLIT = re.compile(r"\.(cold|part|isra|constprop)\b.*$")
_CONDITIONAL_ARM = re.compile(r"b\.\w+|cbn?z|tbn?z")
_ARCH = re.compile(r"(?:^|/)arch/\w+/\Z")
_DEPTH = 8  # jumps that are followed to the first block of a side


@dataclass(frozen=True)
class _Row:
    """Code from ``address`` on belongs to ``place``; None where it belongs to no line of ours."""

    address: int
    place: CodePlace | None


@dataclass(frozen=True)
class _Instruction:
    address: int
    size: int
    jump: str = ""  # "always", "perhaps", "end"; "" for what goes on with the next
    target: int = 0
    block: int = 0  # that it begins, by calling KCOV's function
    calls: bool = False  # anything else


@dataclass
class _ElfPiece:
    """Instructions without a jump into or out of their middle."""

    instructions: list[_Instruction]

    @property
    def start(self) -> int:
        return self.instructions[0].address

    @property
    def last(self) -> _Instruction:
        return self.instructions[-1]

    @property
    def blocks(self) -> list[int]:
        return [i.block for i in self.instructions if i.block]


def read_code(vmlinux: Path) -> Code:
    """Read the code of ``FILES``. Raises ``ImageError`` for a file that has none with KCOV and line numbers,
    ``ToolMissing`` where capstone is not installed."""
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    with vmlinux.open("rb") as stream:
        elf = ELFFile(stream)
        if not elf.has_dwarf_info():
            raise ImageError(f"{vmlinux}: has no debugging information; build it with the fragment kcov")
        dwarf = elf.get_dwarf_info()
        rows, functions, ranges = _lines_of(dwarf)
        called, symbols = _symbols(elf, ranges)
        if not called or not symbols:
            raise ImageError(f"{vmlinux}: is not built with KCOV in {FILES[0]}; build it with the fragment kcov")
        text = [
            (s["sh_addr"], s.data())
            for s in elf.iter_sections()
            if s["sh_flags"] & 4 and s["sh_type"] == "SHT_PROGBITS"
        ]
        decode = _decoder(elf.get_machine_arch(), called)
        owners: dict[int, str] = {}
        lines: dict[CodePlace, set[int | Way]] = {}
        branches: list[Branch] = []
        starts = [row.address for row in rows]

        def place_of(address: int) -> CodePlace | None:
            at = bisect_right(starts, address) - 1
            return rows[at].place if at >= 0 else None

        for name, start, size in symbols:
            content = next((data[start - at :][:size] for at, data in text if at <= start < at + len(data)), b"")
            function = _Function(list(decode(content, start)))
            owners |= dict.fromkeys(function.blocks, name)
            for address, parts in function.owned():
                if (place := place_of(address)) is not None:
                    lines.setdefault(place, set()).update(parts)
            for address, sides in function.branches():
                if (place := place_of(address)) is not None:
                    branches.append(Branch(place, sides))
    return Code(owners, {place: frozenset(parts) for place, parts in lines.items()}, tuple(branches), functions)


class _Function:
    """A function's instructions as pieces, and what follows from them."""

    def __init__(self, instructions: Sequence[_Instruction]) -> None:
        targets = {i.target for i in instructions if i.jump in ("always", "perhaps")}
        self.pieces: list[_ElfPiece] = []
        fresh = True
        for instruction in instructions:
            if fresh or instruction.address in targets:
                self.pieces.append(_ElfPiece([]))
            self.pieces[-1].instructions.append(instruction)
            fresh = bool(instruction.jump)
        self._at = {piece.start: place for place, piece in enumerate(self.pieces)}

        self._ends = list(self._run())

    @property
    def blocks(self) -> Iterator[int]:
        for piece in self.pieces:
            yield from piece.blocks

    def _run(self) -> Iterator[tuple[int, bool]]:
        """For each piece the block that its end belongs to, and whether that has called anything by then. A piece
        without a block belongs to those that go to it, the one before it if there are several."""
        ends: list[tuple[int, bool]] = []
        came: dict[int, int] = {}
        for place, piece in enumerate(self.pieces):
            falls = place > 0 and self.pieces[place - 1].last.jump in ("", "perhaps")
            before = place - 1 if falls else came.get(piece.start, -1)
            block, calls = ends[before] if before >= 0 else (0, False)
            for instruction in piece.instructions:
                block, calls = (instruction.block, False) if instruction.block else (block, calls or instruction.calls)
            ends.append((block, calls))
            if piece.last.jump in ("always", "perhaps"):
                came.setdefault(piece.last.target, place)
            yield block, calls

    def owned(self) -> Iterator[tuple[int, frozenset[int | Way]]]:
        """Every instruction with what it is a part of. What stands before a block's call was moved there from it."""
        comers: dict[int, list[int]] = {}
        for place, piece in enumerate(self.pieces):
            if piece.last.jump in ("always", "perhaps"):
                comers.setdefault(piece.last.target, []).append(place)
            if piece.last.jump in ("", "perhaps") and place + 1 < len(self.pieces):
                comers.setdefault(self.pieces[place + 1].start, []).append(place)
        for place, piece in enumerate(self.pieces):
            parts: frozenset[int | Way] = frozenset(piece.blocks[:1])
            if not parts:
                to = self._first(place)
                ways = {Way(self._ends[c][0], t, self._ends[c][1]) for c in comers.get(piece.start, ()) for t in to}
                parts = frozenset(ways) if ways else frozenset({self._ends[place][0]} - {0})
            for instruction in piece.instructions:
                if instruction.block:
                    parts = frozenset({instruction.block})
                yield instruction.address, parts

    def branches(self) -> Iterator[tuple[int, tuple[frozenset[Way], frozenset[Way]]]]:
        """Every conditional jump whose sides can be told apart: its address, and the ways to its sides."""
        for place, piece in enumerate(self.pieces):
            block, calls = self._ends[place]
            if piece.last.jump != "perhaps" or not block:
                continue
            sides = self._first(place + 1), self._first(self._at.get(piece.last.target))
            if all(sides) and not sides[0] & sides[1]:
                here, there = (frozenset(Way(block, to, calls) for to in side) for side in sides)
                yield piece.last.address, (here, there)

    def _first(self, place: int | None, depth: int = 0) -> frozenset[int]:
        """The blocks that may be the first from a piece on."""
        if place is None or place >= len(self.pieces) or depth > _DEPTH:
            return frozenset()
        piece = self.pieces[place]
        if piece.blocks:
            return frozenset(piece.blocks[:1])
        match piece.last.jump:
            case "always":
                return self._first(self._at.get(piece.last.target), depth + 1)
            case "perhaps":
                return self._first(self._at.get(piece.last.target), depth + 1) | self._first(place + 1, depth + 1)
            case "end":
                return frozenset()
        return self._first(place + 1, depth + 1)


def _decoder(machine: str, called: int) -> Any:
    """A function from bytes and their address to instructions."""
    try:
        import capstone  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ToolMissing("the Python package capstone", "pip: 'sealmatrix[coverage]'") from None
    arm = machine == "AArch64"
    if machine not in ("x64", "AArch64"):
        raise ImageError(f"coverage is read of x86_64 and arm64 kernels, not of {machine}")
    kind = (capstone.CS_ARCH_ARM64, 0) if arm else (capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    disassembler = capstone.Cs(*kind)
    disassembler.skipdata = True
    read = _read_arm if arm else _read_x86

    def decode(content: bytes, start: int) -> Iterator[_Instruction]:
        for address, size, word, operands in disassembler.disasm_lite(content, start):
            yield read(address, size, word, operands, called)

    return decode


def _call(address: int, size: int, ours: bool) -> _Instruction:
    return _Instruction(address, size, block=(address + size) & _LOWER if ours else 0, calls=not ours)


def _read_x86(address: int, size: int, word: str, operands: str, called: int) -> _Instruction:
    target = _number(operands)
    if word == "call":
        return _call(address, size, target == called)
    if word == "jmp":
        return _Instruction(address, size, "always" if target else "end", target)
    if word.startswith("j"):
        return _Instruction(address, size, "perhaps", target)
    return _Instruction(address, size, "end" if word in ("ret", "ud2", "int3", "iretq") else "")


def _read_arm(address: int, size: int, word: str, operands: str, called: int) -> _Instruction:
    target = _number(operands.rpartition("#")[2]) if "#" in operands else 0
    if word in ("bl", "blr"):
        return _call(address, size, target == called)
    if word == "b":
        return _Instruction(address, size, "always" if target else "end", target)
    if _CONDITIONAL_ARM.fullmatch(word):
        return _Instruction(address, size, "perhaps", target)
    return _Instruction(address, size, "end" if word in ("ret", "br", "retaa", "brk", "eret") else "")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return 0


def _symbols(elf: Any, ranges: Sequence[tuple[int, int]]) -> tuple[int, list[tuple[str, int, int]]]:
    """KCOV's function, and those within ``ranges`` as (name, address, size); a part that was split off has the name
    of its function."""
    table = elf.get_section_by_name(".symtab")
    called, found = 0, {}
    for symbol in table.iter_symbols() if table is not None else ():
        start, size = symbol["st_value"], symbol["st_size"]
        if symbol.name == CALLED:
            called = start
        if symbol["st_info"]["type"] == "STT_FUNC" and size and any(low <= start < high for low, high in ranges):
            found[start] = (_SPLIT.sub("", symbol.name), start, size)
    return called, sorted(found.values(), key=lambda one: one[1])


def _lines_of(dwarf: Any) -> tuple[list[_Row], Mapping[str, tuple[tuple[int, str], ...]], list[tuple[int, int]]]:
    """The rows of ``FILES``' line tables by address, where functions begin in each file, and the code's ranges."""
    rows: list[_Row] = []
    functions: dict[str, set[tuple[int, str]]] = {}
    ranges: list[tuple[int, int]] = []
    for unit in dwarf.iter_CUs():
        top = unit.get_top_DIE()
        own = _ours(_text(top, "DW_AT_name"))
        if not own:
            continue
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        names = _names(program, unit)
        begun = None
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            file = names.get(state.file, "")
            rows.append(_Row(state.address, None if state.end_sequence or not file else (file, state.line)))
            if begun is None:
                begun = state.address
            if state.end_sequence:
                ranges.append((begun, state.address))
                begun = None
        for die in unit.iter_DIEs():
            if die.tag == "DW_TAG_subprogram" and "DW_AT_decl_line" in die.attributes and _text(die, "DW_AT_name"):
                declared = die.attributes.get("DW_AT_decl_file")
                defined = {"DW_AT_inline", "DW_AT_low_pc", "DW_AT_ranges"} & set(die.attributes)
                file = names.get(declared.value, "") if declared else ""
                if file and defined:
                    functions.setdefault(file, set()).add(
                        (die.attributes["DW_AT_decl_line"].value, _text(die, "DW_AT_name"))
                    )
    rows.sort(key=lambda row: (row.address, row.place is not None))
    return rows, {file: tuple(sorted(found)) for file, found in functions.items()}, ranges


def _text(die: Any, name: str) -> str:
    value = die.attributes.get(name)
    return value.value.decode("utf-8", "replace") if value is not None and isinstance(value.value, bytes) else ""


def _names(program: Any, unit: Any) -> Mapping[int, str]:
    """Those of ``FILES`` by their number in a line table."""
    folders, files = program["include_directory"], program["file_entry"]
    newer = unit.header.version >= 5
    found = {}
    for place, entry in enumerate(files, 0 if newer else 1):
        folder = ""
        if newer or entry.dir_index:
            folder = folders[entry.dir_index - (0 if newer else 1)]
            folder = _decoded(folder.DW_LNCT_path if newer and not isinstance(folder, bytes) else folder)
        name = _decoded(entry.name)
        if own := _ours(name if "/" in name and not folder else f"{folder}/{name}"):
            found[place] = own
    return found


def _decoded(text: bytes | str) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _ours(path: str) -> str:
    """Which of ``FILES`` a path means, "" for none; arch/x86/mm/mmap.c is none."""
    for name in FILES:
        if path == name or (path.endswith(f"/{name}") and not _ARCH.search(path.removesuffix(name))):
            return name
    return ""
