"""The operators: every small change of one function, as offsets and a new text. Pure.

A change keeps the number of lines, so that nothing but what it means differs in what the compiler makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tree_sitter import Node

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
}

_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_SIMPLE = ("expression_statement", "goto_statement", "break_statement", "continue_statement", "return_statement")
_LOOPS = ("while_statement", "do_statement", "for_statement")
_ERRNO = re.compile(r"E[A-Z0-9]+\Z")
_BIT = re.compile(r"[A-Z][A-Z0-9_]*_BIT\Z")
_MIN_MAX = re.compile(r"(?P<way>min|max)(?P<rest>_t|3|_array)?\Z")
_SHORT = 160
_COMPARING = ("==", "!=", "<", "<=", ">", ">=", "&&", "||")


@dataclass(frozen=True)
class SourceChange:
    """One change: ``start`` and ``end`` are offsets in the file's bytes, ``put`` what comes there instead.

    ``was`` and ``becomes`` say it in one line each, and with the function and the operator they name the change
    wherever it stands; ``line`` is where it stands now.
    """

    operator: str
    start: int
    end: int
    put: str
    was: str
    becomes: str
    line: int


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


def _change(operator: str, node: Node, put: str, *, what: Node | None = None) -> SourceChange:
    """Put ``put`` in the place of ``node``; told as what happens to ``what``, which holds it."""
    was, whole = text(node), what or node
    padded = put + "\n" * max(0, was.count("\n") - put.count("\n"))
    before = (whole.text or b"")[: node.start_byte - whole.start_byte].decode("utf-8", "surrogateescape")
    after = (whole.text or b"")[node.end_byte - whole.start_byte :].decode("utf-8", "surrogateescape")
    becomes = flat(before + put + after)
    return SourceChange(
        operator, node.start_byte, node.end_byte, padded, flat(text(whole)), becomes, node.start_point[0] + 1
    )


def _inner(node: Node) -> Node:
    """A condition without its parentheses."""
    while node.type == "parenthesized_expression" and node.named_children:
        inner = [child for child in node.named_children if child.type != "comment"]
        if len(inner) != 1:
            return node
        node = inner[0]
    return node


def _negated(node: Node) -> str:
    inner = _inner(node)
    if inner.type == "unary_expression" and text(inner).startswith("!"):
        return text(inner)[1:].lstrip()
    return f"!({text(inner)})"


def _condition(node: Node, _function: Function) -> Iterator[SourceChange]:
    """Of ``if``, loops and ``?:``."""
    condition = node.child_by_field_name("condition")
    if condition is None:
        return
    inner = _inner(condition)
    yield _change("negate", inner, _negated(inner))
    yield _change("drop-condition", inner, "0")
    if node.type in ("if_statement", "conditional_expression"):
        yield _change("drop-condition", inner, "1")


def _binary(node: Node, _function: Function) -> Iterator[SourceChange]:
    operator, left, right = (node.child_by_field_name(name) for name in ("operator", "left", "right"))
    if operator is None or left is None or right is None:
        return
    word = text(operator)
    if word in ("&&", "||"):
        yield _change("and-or", operator, "||" if word == "&&" else "&&", what=node)
        for side in (left, right):
            yield _change("drop-condition", node, text(side))
            inner = _inner(side)
            if not (inner.type == "binary_expression" and text_of_operator(inner) in ("&&", "||")):
                yield _change("negate", inner, _negated(inner), what=node)
    elif word in _BOUNDARY:
        yield _change("boundary", operator, _BOUNDARY[word], what=node)
    elif word in ("+", "-"):
        yield _change("arithmetic", operator, "-" if word == "+" else "+", what=node)
    elif word == "|" and (node.parent is None or text_of_operator(node.parent) != "|"):
        flags = _joined(node)
        if all(_is_flag(flag) for flag in flags):
            for flag in flags:
                yield _change("flag", node, " | ".join(text(other) for other in flags if other != flag))


def text_of_operator(node: Node) -> str:
    """The operator of a binary expression."""
    operator = node.child_by_field_name("operator")
    return text(operator) if operator is not None else ""


def _joined(node: Node) -> list[Node]:
    """What ``|`` joins."""
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    if text_of_operator(node) != "|" or left is None or right is None:
        return [node]
    return [*_joined(left), *_joined(right)]


def _is_flag(node: Node) -> bool:
    """Whether it is a flag, some flags of a variable, or a variable that takes them."""
    inner = _inner(node)
    return text_of_operator(inner) == "&" or inner.type in ("identifier", "field_expression", "call_expression")


def _unary(node: Node, _function: Function) -> Iterator[SourceChange]:
    argument = node.child_by_field_name("argument")
    if argument is None or not text(node).startswith("-") or not _ERRNO.match(text(argument)):
        return
    told = _told(node)
    yield _change("errno", node, "-EACCES" if text(argument) == "EPERM" else "-EPERM", what=told)
    yield _change("errno", node, "0", what=told)


def _told(node: Node) -> Node:
    """What is shown of the text around a change: the ``if`` it depends on where that is short, else its statement."""
    statement = above = node
    while above.parent is not None and above.type not in ("function_definition", *_LOOPS):
        above = above.parent
        if statement == node and node.type not in _SIMPLE and above.type in (*_SIMPLE, "declaration"):
            statement = above
        if above.type == "if_statement":
            return above if len(flat(text(above))) <= _SHORT else statement
    return statement


def _return(node: Node, function: Function) -> Iterator[SourceChange]:
    values = node.named_children
    if not values:
        return
    value = _inner(values[0])
    said = text(value)
    if said in ("true", "false"):
        yield _change("result", value, "false" if said == "true" else "true", what=_told(node))
    elif said == "0" and function.result in ("int", "long", "unsigned long", "ssize_t"):
        yield _change("result", value, "-EPERM", what=_told(node))
    elif function.result == "bool" or text_of_operator(value) in _COMPARING:
        yield _change("negate", value, _negated(value), what=node)


def _delete(node: Node, function: Function) -> Iterator[SourceChange]:
    """A statement, unless leaving it out is another change already, or makes nothing that compiles."""
    if node.children and node.children[-1].is_missing:
        yield from _delete_macro_loop(node)
        return
    if _is_only(node) or _declares(node) or _is_last(node, function):
        return
    yield _change("delete", node, ";", what=_told(node))


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
    return before is not None and bool(before.children) and before.children[-1].is_missing


def _statements(block: Node) -> list[Node]:
    return [child for child in block.named_children if child.type != "comment"]


def _declares(node: Node) -> bool:
    """A macro that declares: its name is in capitals, and statements may follow it that need what it declares."""
    call = node.named_children[0] if node.named_children else None
    if node.type != "expression_statement" or call is None or call.type != "call_expression":
        return False
    function = call.child_by_field_name("function")
    name = text(function) if function is not None else ""
    return name.isupper() and not name.startswith(("BUG_ON", "WARN"))


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
    yield _change("delete", node, "")


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
        yield _change("min-max", function, other + (named["rest"] or ""), what=node)
    bits = [child for child in arguments.named_children if _BIT.match(text(child))]
    if len(bits) > 1:
        for bit in bits:
            rest = [text(child) for child in arguments.named_children if child != bit and child.type != "comment"]
            yield _change("flag", arguments, f"({', '.join(rest)})", what=node)


def _assignment(node: Node, _function: Function) -> Iterator[SourceChange]:
    """Flags that are added or taken away in one go are a statement, and left out as one; here the two ways change."""
    operator = node.child_by_field_name("operator")
    if operator is not None and text(operator) in ("+=", "-="):
        yield _change("arithmetic", operator, "-=" if text(operator) == "+=" else "+=", what=node)


_Maker = Callable[[Node, Function], Iterator[SourceChange]]
_MAKERS: dict[str, tuple[_Maker, ...]] = {
    "if_statement": (_condition,),
    "while_statement": (_condition, _delete),
    "do_statement": (_condition, _delete),
    "for_statement": (_condition, _delete),
    "conditional_expression": (_condition,),
    "binary_expression": (_binary,),
    "unary_expression": (_unary,),
    "expression_statement": (_delete,),
    "goto_statement": (_delete,),
    "break_statement": (_delete,),
    "continue_statement": (_delete,),
    "return_statement": (_return, _delete),
    "else_clause": (_else,),
    "case_statement": (_case,),
    "initializer_pair": (_entry,),
    "call_expression": (_call,),
    "assignment_expression": (_assignment,),
}
