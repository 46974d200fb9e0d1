"""Which functions of a tree are about sealing: those that mention it, what they alone rest on, and what calls them.

Nothing is known of any one kernel. The words are the flag (``VM_SEALED…``, ``VMA_SEALED…``), the system call
(``mseal`` in a name), and every function that answers yes or no and is itself about sealing (``vma_is_sealed``,
``can_modify_vma`` …), wherever it is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.mutants.mechanical.model import CodePart
from harness.mutants.mechanical.source import Function, functions

_FLAG = re.compile(r"VMA?_SEALED\w*\Z")
_CALL = re.compile(r"\w*mseal\w*\Z")
# What a file must hold to be worth parsing: a flag, the call, or a name that may be a predicate's.
MENTIONS = re.compile(rb"\b(?:VMA?_SEALED\w*|\w*mseal\w*)\b")


@dataclass(frozen=True)
class FoundFunction:
    """A function to be mutated. ``whole``: all of it is there for sealing; else only what mentions ``words`` is."""

    function: Function
    part: CodePart
    whole: bool
    words: frozenset[str]


def is_sealing_word(word: str) -> bool:
    """Whether an identifier speaks of sealing by itself."""
    return bool(_FLAG.match(word) or _CALL.match(word))


def predicates(known: Iterable[Function]) -> frozenset[str]:
    """The names of functions that answer yes or no and are about sealing, also by asking another of them."""
    asking = [function for function in known if function.result == "bool"]
    found: set[str] = set()
    while True:
        more = {f.name for f in asking if f.name not in found and _mentions(f, found)}
        if not more:
            return frozenset(found)
        found |= more


def find(sources: Mapping[str, bytes]) -> tuple[FoundFunction, ...]:
    """The functions of ``sources`` (file → text) to be mutated: sealing first, then what calls it."""
    known = [function for file, source in sources.items() for function in functions(file, source)]
    asked = predicates(known)
    words = frozenset(word for f in known for word in (*f.words, f.name) if is_sealing_word(word)) | asked
    mention = [function for function in known if is_sealing_word(function.name) or _mentions(function, asked)]
    homes = {function.file for function in known if function.name == "sys_mseal"}
    whole = [f for f in mention if f.file in homes or f.name in words]
    whole += [f for f in known if f.file in homes and f not in whole]
    whole += _helpers(known, whole, asked)
    beside = [function for function in mention if function not in whole]
    callers = _callers(known, [*whole, *beside], {*whole, *beside})
    return (
        *(FoundFunction(function, "sealing", True, words) for function in whole),
        *(FoundFunction(function, "beside", False, words) for function in beside),
        *(FoundFunction(function, "callers", False, frozenset()) for function in callers),
    )


def called_from(sources: Mapping[str, bytes], names: Iterable[str]) -> frozenset[str]:
    """The files of ``sources`` in which one of ``names`` stands as a word; to be parsed as well."""
    pattern = re.compile(rb"\b(?:" + b"|".join(re.escape(name.encode()) for name in sorted(names)) + rb")\b")
    return frozenset(file for file, source in sources.items() if pattern.search(source))


def _mentions(function: Function, asked: Iterable[str]) -> bool:
    words = function.words
    return any(is_sealing_word(word) for word in words) or not words.isdisjoint(asked)


def _helpers(known: Sequence[Function], whole: Sequence[Function], asked: frozenset[str]) -> list[Function]:
    """Static functions that only the predicates of their own file call: the list of advice that discards."""
    made: list[Function] = []
    deciding = {(f.file, f.name) for f in whole if f.name in asked}
    for function in known:
        if not function.static or function.result != "bool" or function in whole:
            continue
        callers = {(f.file, f.name) for f in known if f.file == function.file and function.name in f.calls}
        if callers and callers <= deciding:
            made.append(function)
    return made


def _callers(known: Sequence[Function], called: Sequence[Function], taken: set[Function]) -> list[Function]:
    """One step up: what calls one of ``called``; a static function is called in its own file only."""
    near = {(f.file, f.name) for f in called if f.static}
    far = {f.name for f in called if not f.static}
    return [f for f in known if f not in taken and any(name in far or (f.file, name) in near for name in f.calls)]
