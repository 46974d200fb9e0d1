"""The operators: every small change of one function, as offsets and a new text. Pure.

A change keeps the number of lines, so that nothing but what it means differs in what the compiler makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tree_sitter import Node

from harness.mutants.mechanical.change import (
    SourceChange,
    bare,
    change_of,
    declares,
    lacks_semicolon,
    operator_of,
    told_of,
)
from harness.mutants.mechanical.exchanges import arguments, constant, early_return, jump, other_field, other_name
from harness.mutants.mechanical.source import Function, flat, text

OPERATORS = {
    "negate": "a condition, or a part of it, is turned round",
    "drop-condition": "a condition always holds, or never; one side of && or || is left out",
    "boundary": "<, <=, > and >= are exchanged with their neighbours",
    "and-or": "&& and || are exchanged",
    "errno": "another error, or none",
    "result": "another constant is returned: true and false, 0 and -EPERM",
    "delete": "a statement, loop or else branch is left out",
    "case": "a case of a switch, or an entry of a table, is left out",
    "min-max": "min and max are exchanged",
    "flag": "one flag of several is left out",
    "arithmetic": "+ and - are exchanged",
    "constant": "a number is another, true is false, a size is doubled",
    "other-name": "a variable is another of its type; of a structure start is end, next is prev, old is new",
    "swap-arguments": "two arguments of a call change places",
    "jump": "continue and break are exchanged; goto goes to the next label",
    "early-return": "the function ends before a statement",
}

_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_ERRNO = re.compile(r"E[A-Z0-9]+\Z")
_BIT = re.compile(r"[A-Z][A-Z0-9_]*_BIT\Z")
_MIN_MAX = re.compile(r"(?P<way>min|max)(?P<rest>_t|3|_array)?\Z")
_COMPARING = ("==", "!=", "<", "<=", ">", ">=", "&&", "||")


def changes(function: Function) -> tuple[SourceChange, ...]:
    """Every change of a function, in the order of the text; no two of them put the same at the same place."""
    found: dict[tuple[int, int, str], SourceChange] = {}
    for node in _meant(function.node):
        for change in _of(node, function):
            found.setdefault((change.start, change.end, change.put), change)
    return tuple(sorted(found.values(), key=lambda c: (c.start, c.end)))


def _meant(node: Node) -> Iterator[Node]:
    """All nodes but those the parser did not understand, and those of the preprocessor's own conditions."""
    for child in node.children:
        if (
            child.type == "ERROR"
            or child.parent is None
            or (child == child.parent.child_by_field_name("condition") and child.parent.type.startswith("preproc"))
        ):
            continue
        yield child
        yield from _meant(child)


def _of(node: Node, function: Function) -> Iterator[SourceChange]:
    for make in _MAKERS.get(node.type, ()):
        yield from make(node, function)


def _negated(node: Node) -> str:
    inner = bare(node)
    if inner.type == "unary_expression" and text(inner).startswith("!"):
        return text(inner)[1:].lstrip()
    return f"!({text(inner)})"


def _condition(node: Node, _function: Function) -> Iterator[SourceChange]:
    """Of ``if``, loops and ``?:``."""
    condition = node.child_by_field_name("condition")
    if condition is None:
        return
    inner = bare(condition)
    yield change_of("negate", inner, _negated(inner))
    yield change_of("drop-condition", inner, "0")
    if node.type in ("if_statement", "conditional_expression"):
        yield change_of("drop-condition", inner, "1")


def _binary(node: Node, _function: Function) -> Iterator[SourceChange]:
    operator, left, right = (node.child_by_field_name(name) for name in ("operator", "left", "right"))
    if operator is None or left is None or right is None:
        return
    word = text(operator)
    if word in ("&&", "||"):
        yield change_of("and-or", operator, "||" if word == "&&" else "&&", what=node)
        for side in (left, right):
            yield change_of("drop-condition", node, text(side))
            inner = bare(side)
            if not (inner.type == "binary_expression" and operator_of(inner) in ("&&", "||")):
                yield change_of("negate", inner, _negated(inner), what=node)
    elif word in _BOUNDARY:
        yield change_of("boundary", operator, _BOUNDARY[word], what=node)
    elif word in ("+", "-"):
        yield change_of("arithmetic", operator, "-" if word == "+" else "+", what=node)
    elif word == "|" and (node.parent is None or operator_of(node.parent) != "|"):
        flags = _joined(node)
        if all(_is_flag(flag) for flag in flags):
            for flag in flags:
                yield change_of("flag", node, " | ".join(text(other) for other in flags if other != flag))


def _joined(node: Node) -> list[Node]:
    """What ``|`` joins."""
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if operator_of(node) != "|" or left is None or right is None:
        return [node]
    return [*_joined(left), *_joined(right)]


def _is_flag(node: Node) -> bool:
    """Whether it is a flag, some flags of a variable, or a variable that takes them."""
    inner = bare(node)
    return operator_of(inner) == "&" or inner.type in ("identifier", "field_expression", "call_expression")


def _unary(node: Node, _function: Function) -> Iterator[SourceChange]:
    argument = node.child_by_field_name("argument")
    if argument is None or not text(node).startswith("-") or not _ERRNO.match(text(argument)):
        return
    told = told_of(node)
    yield change_of("errno", node, "-EACCES" if text(argument) == "EPERM" else "-EPERM", what=told)
    yield change_of("errno", node, "0", what=told)


def _return(node: Node, function: Function) -> Iterator[SourceChange]:
    values = node.named_children
    if not values:
        return
    value = bare(values[0])
    said = text(value)
    if said in ("true", "false"):
        yield change_of("result", value, "false" if said == "true" else "true", what=told_of(node))
    elif said == "0" and function.result in ("int", "long", "unsigned long", "ssize_t"):
        yield change_of("result", value, "-EPERM", what=told_of(node))
    elif function.result == "bool" or operator_of(value) in _COMPARING:
        yield change_of("negate", value, _negated(value), what=node)


def _delete(node: Node, function: Function) -> Iterator[SourceChange]:
    """A statement, unless leaving it out is another change already, or makes nothing that compiles."""
    if lacks_semicolon(node):
        yield from _delete_macro_loop(node)
        return
    if _is_only(node) or declares(node) or _is_last(node, function):
        return
    yield change_of("delete", node, ";", what=told_of(node))


def _delete_macro_loop(head: Node) -> Iterator[SourceChange]:
    """``for_each_…(…) statement`` stands in the tree as two statements, of which the first has no semicolon."""
    body = head.next_named_sibling
    if body is None or body.type == "comment":
        return
    both = (
        (head.parent.text or b"")[head.start_byte - head.parent.start_byte : body.end_byte - head.parent.start_byte]
        if head.parent is not None
        else b""
    )
    code = both.decode("utf-8", "surrogateescape")
    yield SourceChange(
        "delete",
        head.start_byte,
        body.end_byte,
        ";" + "\n" * code.count("\n"),
        flat(code),
        ";",
        head.start_point[0] + 1,
    )


def _is_only(node: Node) -> bool:
    """Whether a statement is all that an ``if`` without ``else`` does, or the body of a loop, or of a case."""
    above: Node | None = node.parent
    alone = node
    if above is not None and above.type == "compound_statement" and len(_statements(above)) == 1:
        alone, above = above, above.parent
    if above is None:
        return False
    if above.type == "else_clause":
        return True
    if above.type == "if_statement":
        return above.child_by_field_name("alternative") is None and alone != above.child_by_field_name("condition")
    before = alone.prev_named_sibling
    return before is not None and lacks_semicolon(before)


def _statements(block: Node) -> list[Node]:
    return [child for child in block.named_children if child.type != "comment"]


def _is_last(node: Node, function: Function) -> bool:
    """Whether it is the ``return`` at the end of a function that returns something."""
    if node.type != "return_statement" or function.result == "void":
        return False
    block: Node | None = node.parent
    last = node
    while block is not None and block != function.node:
        if block.type != "labeled_statement":
            return False
        last, block = block, block.parent
    return bool(_statements(function.node)) and _statements(function.node)[-1] == last


def _else(node: Node, _function: Function) -> Iterator[SourceChange]:
    yield change_of("delete", node, "")


def _case(node: Node, _function: Function) -> Iterator[SourceChange]:
    """One label where several share what is done; the whole case where it stands alone."""
    colon = next((child for child in node.children if child.type == ":"), None)
    block = node.parent
    if colon is None or block is None:
        return
    cases = [child for child in block.named_children if child.type == "case_statement"]
    place = cases.index(node)
    shares = colon == node.children[-1] or (place > 0 and cases[place - 1].children[-1].type == ":")
    end = colon.end_byte if shares else node.end_byte
    was = (node.text or b"")[: end - node.start_byte].decode("utf-8", "surrogateescape")
    yield SourceChange("case", node.start_byte, end, "\n" * was.count("\n"), flat(was), "", node.start_point[0] + 1)


def _entry(node: Node, _function: Function) -> Iterator[SourceChange]:
    """An entry ``[…] = …,`` of a table."""
    comma = node.next_sibling
    if node.child_by_field_name("designator") is None or comma is None or comma.type != ",":
        return
    code = text(node)
    yield SourceChange(
        "case", node.start_byte, comma.end_byte, "\n" * code.count("\n"), flat(code), "", node.start_point[0] + 1
    )


def _call(node: Node, _function: Function) -> Iterator[SourceChange]:
    function, arguments = node.child_by_field_name("function"), node.child_by_field_name("arguments")
    if function is None or arguments is None:
        return
    if named := _MIN_MAX.match(text(function)):
        other = "max" if named["way"] == "min" else "min"
        yield change_of("min-max", function, other + (named["rest"] or ""), what=node)
    bits = [child for child in arguments.named_children if _BIT.match(text(child))]
    if len(bits) > 1:
        for bit in bits:
            rest = [text(child) for child in arguments.named_children if child != bit and child.type != "comment"]
            yield change_of("flag", arguments, f"({', '.join(rest)})", what=node)


def _assignment(node: Node, _function: Function) -> Iterator[SourceChange]:
    """Flags that are added or taken away in one go are a statement, and left out as one; here the two ways change."""
    operator = node.child_by_field_name("operator")
    if operator is not None and text(operator) in ("+=", "-="):
        yield change_of("arithmetic", operator, "-=" if text(operator) == "+=" else "+=", what=node)


_Maker = Callable[[Node, Function], Iterator[SourceChange]]
_STATEMENT = (early_return,)
_MAKERS: dict[str, tuple[_Maker, ...]] = {
    "if_statement": (_condition, *_STATEMENT),
    "while_statement": (_condition, _delete, *_STATEMENT),
    "do_statement": (_condition, _delete, *_STATEMENT),
    "for_statement": (_condition, _delete, *_STATEMENT),
    "switch_statement": _STATEMENT,
    "conditional_expression": (_condition,),
    "binary_expression": (_binary,),
    "unary_expression": (_unary,),
    "expression_statement": (_delete, *_STATEMENT),
    "goto_statement": (_delete, jump, *_STATEMENT),
    "break_statement": (_delete, jump, *_STATEMENT),
    "continue_statement": (_delete, jump, *_STATEMENT),
    "return_statement": (_return, _delete),
    "else_clause": (_else,),
    "case_statement": (_case,),
    "initializer_pair": (_entry,),
    "call_expression": (_call, arguments),
    "assignment_expression": (_assignment,),
    "identifier": (other_name, constant),
    "field_expression": (other_field,),
    "number_literal": (constant,),
    "true": (constant,),
    "false": (constant,),
}
