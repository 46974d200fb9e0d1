"""Operators that put something of the same kind in its place: constants, names, arguments, ways out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from tree_sitter import Node

from harness.mutants.mechanical.change import LOOPS, SourceChange, change_of, declares, lacks_semicolon, told_of
from harness.mutants.mechanical.source import Function, flat, text, walk

_NUMBER = re.compile(r"\d+\Z")
_SIZE = re.compile(r"[A-Z_]+_SIZE\Z")
_PAIRS = (("start", "end"), ("next", "prev"), ("first", "last"), ("old", "new"), ("src", "dst"), ("min", "max"))
_OTHER = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_EARLY = {"void": ("",), "bool": ("false", "true"), "int": ("0",), "long": ("0",), "unsigned long": ("0",)}
_COMMUTES = re.compile(r"(?:min|max|swap)(?:_t|3)?\Z")


@dataclass(frozen=True)
class DeclaredVariable:
    """A parameter or a local variable: its type, and the offset from which on it is declared."""

    name: str
    type: str
    since: int


def constant(node: Node, _function: Function) -> Iterator[SourceChange]:
    """What is returned as it is, is changed as a result; labels of cases and designators are no values."""
    above = node.parent
    if above is None or above.type in ("return_statement", "case_statement", "subscript_designator", "enumerator"):
        return
    said = text(node)
    if said in ("true", "false"):
        yield change_of("constant", node, "false" if said == "true" else "true", what=told_of(node))
    elif _NUMBER.match(said):
        yield change_of("constant", node, str(int(said) + 1), what=told_of(node))
        if said != "0":
            yield change_of("constant", node, str(int(said) - 1), what=told_of(node))
    elif _SIZE.match(said):
        yield change_of("constant", node, f"(2 * {said})", what=told_of(node))


def other_name(node: Node, function: Function) -> Iterator[SourceChange]:
    """The variables of its type that were declared before and after it, where its value is used."""
    if not _is_used(node):
        return
    found = variables(function)
    me = found.get(text(node))
    if me is None:
        return
    known = [v for v in found.values() if v.type == me.type and (v.since < node.start_byte or v == me)]
    place = known.index(me)
    for other in dict.fromkeys((known[place - 1], known[(place + 1) % len(known)])):
        if other != me:
            yield change_of("other-name", node, other.name, what=told_of(node))


def other_field(node: Node, _function: Function) -> Iterator[SourceChange]:
    """``vm_start`` and ``vm_end``, ``prev`` and ``next``, where the value is used."""
    field = node.child_by_field_name("field")
    if field is None or not _is_used(node):
        return
    words = text(field).split("_")
    for place, word in enumerate(words):
        if word in _OTHER:
            other = "_".join((*words[:place], _OTHER[word], *words[place + 1 :]))
            yield change_of("other-name", field, other, what=told_of(node))


def arguments(node: Node, function: Function) -> Iterator[SourceChange]:
    """Two that stand side by side and are variables or members; of two types that are known and differ, none. What
    declares or loops takes names rather than values."""
    called, given = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    if called is None or given is None or _is_macro_statement(node) or _COMMUTES.match(text(called)):
        return
    found = variables(function)
    all_given = [child for child in given.named_children if child.type != "comment"]
    for one, other in pairwise(all_given):
        names = (text(one), text(other))
        types = {found[name].type for name in names if name in found}
        if names[0] == names[1] or len(types) > 1 or not all(_is_variable(child) for child in (one, other)):
            continue
        code = given.text or b""
        between = code[one.end_byte - given.start_byte : other.start_byte - given.start_byte].decode()
        before = code[: one.start_byte - given.start_byte].decode()
        after = code[other.end_byte - given.start_byte :].decode()
        yield change_of("swap-arguments", given, before + names[1] + between + names[0] + after, what=node)


def jump(node: Node, function: Function) -> Iterator[SourceChange]:
    """``break`` of a switch stays; a goto whose function has one label has nowhere else to go."""
    if node.type == "continue_statement":
        yield change_of("jump", node, "break;", what=told_of(node))
    elif node.type == "break_statement" and _leaves_loop(node):
        yield change_of("jump", node, "continue;", what=told_of(node))
    elif node.type == "goto_statement" and (label := node.child_by_field_name("label")) is not None:
        labels = [text(child.children[0]) for child in walk(function.node) if child.type == "labeled_statement"]
        if text(label) in labels and len(labels) > 1:
            following = labels[(labels.index(text(label)) + 1) % len(labels)]
            yield change_of("jump", label, following, what=told_of(node))


def early_return(node: Node, function: Function) -> Iterator[SourceChange]:
    """Before each statement of a block; with 0, or both true and false."""
    if node.parent is None or node.parent.type != "compound_statement" or declares(node):
        return
    for value in _EARLY.get(function.result, ()):
        yield change_of("early-return", node, f"{f'return {value}'.rstrip()}; {text(node)}")


@lru_cache(maxsize=64)
def variables(function: Function) -> Mapping[str, DeclaredVariable]:
    """The parameters and local variables of a function, in the order in which they are declared. A name that is
    declared twice, in two blocks, is left out when its types differ."""
    found: dict[str, DeclaredVariable] = {}
    twice: set[str] = set()
    for variable in (*_parameters(function), *_locals(function.node)):
        if variable.name in found and found[variable.name].type != variable.type:
            twice.add(variable.name)
        found.setdefault(variable.name, variable)
    return {name: variable for name, variable in found.items() if name not in twice}


def _parameters(function: Function) -> Iterator[DeclaredVariable]:
    head = function.node.parent
    if head is not None and head.type == "function_definition":
        declarator = head.child_by_field_name("declarator")
        for node in walk(declarator) if declarator is not None else ():
            if node.type == "parameter_declaration":
                yield from _declared(node)
    elif function.name.startswith("sys_"):
        words = [flat(word) for word in function.text[function.text.find("(") + 1 : function.text.find(")")].split(",")]
        for kind, name in zip(words[1::2], words[2::2], strict=False):
            yield DeclaredVariable(name, kind, function.start)


def _locals(block: Node) -> Iterator[DeclaredVariable]:
    for node in walk(block):
        if node.type == "declaration":
            yield from _declared(node)


def _declared(node: Node) -> Iterator[DeclaredVariable]:
    kind = node.child_by_field_name("type")
    if kind is None:
        return
    for declarator in node.children_by_field_name("declarator"):
        inner: Node | None = declarator
        stars = ""
        while inner is not None and inner.type in ("init_declarator", "pointer_declarator"):
            stars += "*" if inner.type == "pointer_declarator" else ""
            inner = inner.child_by_field_name("declarator")
        if inner is not None and inner.type == "identifier":
            yield DeclaredVariable(text(inner), flat(text(kind)) + stars, node.end_byte)


def _is_used(node: Node) -> bool:
    """Whether a name stands for a value: it is not declared, assigned to, called, or what ``->`` begins with."""
    above = node.parent
    if above is None or above.type in ("declaration", "pointer_declarator", "field_expression", "labeled_statement"):
        return False
    held = {"init_declarator": "declarator", "assignment_expression": "left", "call_expression": "function"}
    return not (above.type in held and above.child_by_field_name(held[above.type]) == node)


def _is_variable(node: Node) -> bool:
    return node.type == "field_expression" or (node.type == "identifier" and not text(node).isupper())


def _leaves_loop(node: Node) -> bool:
    """Whether what is around it first is a loop and no switch."""
    above = node.parent
    while above is not None and above.type not in ("function_definition", "switch_statement"):
        before = above.prev_named_sibling
        if above.type in LOOPS or (before is not None and lacks_semicolon(before)):
            return True
        above = above.parent
    return False


def _is_macro_statement(call: Node) -> bool:
    """Whether a call is a macro that declares, or the head of a loop ``for_each_…``."""
    statement = call.parent
    return statement is not None and (lacks_semicolon(statement) or declares(statement))
