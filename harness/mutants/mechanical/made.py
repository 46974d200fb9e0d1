"""From a tree to its mechanical mutants."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tree_sitter import Node

from harness.errors import UsageError
from harness.kernels.tree import check_tree
from harness.model.architectures import ARCHITECTURES, Arch
from harness.mutants.mechanical.change import SourceChange
from harness.mutants.mechanical.find import MENTIONS, FoundFunction, called_from, find, predicates
from harness.mutants.mechanical.model import PARTS, About, CodePart, MechanicalMutant
from harness.mutants.mechanical.operators import OPERATORS, changes
from harness.mutants.mechanical.reviewed import Review, Reviewed
from harness.mutants.mechanical.source import Function, functions, walk
from harness.mutants.model import Edit

_WORD = re.compile(r"[A-Za-z_]\w*")
_WITHIN = frozenset(
    {"constant", "other-name", "swap-arguments", "early-return"}
)  # what is beside a flag is not about it
_FOLDERS = ("mm", "kernel", "ipc", "fs", "lib", "include/linux")


def mechanical_mutants(tree: Path, arch: Arch, reviewed: Reviewed) -> tuple[MechanicalMutant, ...]:
    """Every mechanical mutant of ``tree``: of what is there for sealing first, then beside it, then what calls it.

    Raises ``UsageError`` when ``tree`` is none, or nothing in it speaks of sealing.
    """
    series = check_tree(tree)
    sources = relevant(read_sources(tree, arch))
    found = find(sources)
    if not found:
        raise UsageError(f"{tree}: nothing in it mentions sealing; mseal came with 6.10")
    mutants = [m for one in found for m in mutants_of(one, sources[one.function.file], series, reviewed)]
    return tuple(sorted(mutants, key=lambda m: PARTS.index(m.about.part)))


def read_sources(tree: Path, arch: Arch) -> dict[str, bytes]:
    """The C files in which sealing may be, by their names in the tree."""
    folders = (*_FOLDERS, _arch_folder(arch))
    paths = [path for folder in folders for path in sorted((tree / folder).rglob("*.[ch]"))]
    return {str(path.relative_to(tree)): path.read_bytes() for path in paths}


def _arch_folder(arch: Arch) -> str:
    """Where a tree has what only one architecture needs: above what is built there."""
    return next("/".join(name.split("/")[:2]) for name in ARCHITECTURES[arch].built if name.startswith("arch/"))


def relevant(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those that mention sealing, ask whether something is sealed, or call a function that does either. Pure."""
    mention = {file for file, source in sources.items() if MENTIONS.search(source)}
    known = [function for file in mention for function in functions(file, sources[file])]
    while True:
        asked = predicates(known)
        more = called_from(sources, asked) - mention if asked else frozenset[str]()
        if not more:
            break
        mention |= more
        known += [function for file in more for function in functions(file, sources[file])]
    called = {one.function.name for one in find({f: sources[f] for f in mention}) if not one.function.static}
    chosen = mention | (called_from(sources, called) if called else frozenset())
    return {file: sources[file] for file in sources if file in chosen}


def mutants_of(
    found: FoundFunction, source: bytes, series: tuple[int, int], reviewed: Reviewed
) -> Iterator[MechanicalMutant]:
    """The mutants of one function. Pure."""
    function = found.function
    if source.count(source[function.start : function.end]) != 1:
        return  # which of two equal definitions is meant, no pattern can say
    counted: Counter[tuple[str, str, str]] = Counter()
    for change in changes(function):
        key = (change.operator, change.was, change.becomes)
        counted[key] += 1
        yield _mutant(found, change, source, series, reviewed, counted[key])


def _mutant(
    found: FoundFunction, change: SourceChange, source: bytes, series: tuple[int, int], reviewed: Reviewed, nth: int
) -> MechanicalMutant:
    function = found.function
    head, tail = source[function.start : change.start], source[change.end : function.end]
    after = head.decode("utf-8", "surrogateescape") + change.put + tail.decode("utf-8", "surrogateescape")
    name = _name(function, change, nth)
    about = About(
        function.file, function.name, _part(found, change), change.operator, change.was, change.becomes, change.line,
        nth, _diff(function, after),
    )  # fmt: skip
    why = reviewed.why(Review(function.name, change.operator, change.was, change.becomes, nth))
    return MechanicalMutant(
        id=name,
        kind="mechanical",
        what=f"{OPERATORS[change.operator]}: {change.was} → {change.becomes or 'nothing'}",
        breaks=(),
        edits={series: (Edit(function.file, "", function.text, "put", after),)},
        equivalent={series: why} if why else {},
        about=about,
    )


def _name(function: Function, change: SourceChange, nth: int) -> str:
    """Of function, operator and text, so that it stays when lines move."""
    words = (function.file, function.name, change.operator, change.was, change.becomes, str(nth))
    digest = hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{function.name}.{change.operator}.{digest}"


def _part(found: FoundFunction, change: SourceChange) -> CodePart:
    """Beside the whole functions, only a statement that mentions sealing is there for it: with what depends on it.
    Of several flags, only the one that seals; of constants and names in such a statement, those that are asked about
    sealing."""
    if found.whole or found.part == "callers":
        return found.part
    if change.operator == "flag":
        lost = set(_WORD.findall(change.was)) - set(_WORD.findall(change.becomes))
        return "beside" if lost.isdisjoint(found.words) else "sealing"
    for node in walk(found.function.node):  # an entry's comma goes with it
        if node.type == "if_statement":
            condition = node.child_by_field_name("condition")
            told = condition if condition is not None and _says(condition, found.words) else None
            consequence = node.child_by_field_name("consequence")
            spans = [told, consequence] if told is not None else []
        elif node.type == "call_expression":
            called = node.child_by_field_name("function")
            spans = [node] if called is not None and _says(called, found.words) else []
        elif change.operator in _WITHIN:
            continue
        elif node.type in ("expression_statement", "return_statement", "init_declarator", "initializer_pair"):
            if any(child.type == "initializer_list" for child in node.children):
                continue  # each entry of a table speaks for itself
            spans = [node] if _says(node, found.words) else []
        else:
            continue
        if any(
            span is not None and span.start_byte <= change.start and change.end <= span.end_byte + 1 for span in spans
        ):
            return "sealing"
    return "beside"


def _says(node: Node, words: frozenset[str]) -> bool:
    return any(child.type == "identifier" and (child.text or b"").decode() in words for child in walk(node))


def _diff(function: Function, after: str) -> str:
    """The change as a unified diff of the function, with the lines as they are in the file."""
    was, now = function.text.splitlines(), after.splitlines()
    lines = list(difflib.unified_diff(was, now, function.file, function.file, lineterm="", n=2))

    def in_file(match: re.Match[str]) -> str:
        spans = re.findall(r"([-+])(\d+)(,\d+)?", match[0])
        moved = (f"{sign}{int(first) + function.line - 1}{count}" for sign, first, count in spans)
        return f"@@ {' '.join(moved)} @@"

    return "\n".join(re.sub(r"@@ .* @@", in_file, line) if line.startswith("@@") else line for line in lines)
