"""One small change of a function, as offsets and a new text, and how it is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tree_sitter import Node

from harness.mutants.mechanical.source import flat, text

SIMPLE = ("expression_statement", "goto_statement", "break_statement", "continue_statement", "return_statement")
LOOPS = ("while_statement", "do_statement", "for_statement")
_SHORT = 160


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


def change_of(operator: str, node: Node, put: str, *, what: Node | None = None) -> SourceChange:
    """Put ``put`` in the place of ``node``; told as what happens to ``what``, which holds it."""
    was, whole = text(node), what or node
    padded = put + "\n" * max(0, was.count("\n") - put.count("\n"))
    before = (whole.text or b"")[: node.start_byte - whole.start_byte].decode("utf-8", "surrogateescape")
    after = (whole.text or b"")[node.end_byte - whole.start_byte :].decode("utf-8", "surrogateescape")
    becomes = flat(before + put + after)
    return SourceChange(
        operator, node.start_byte, node.end_byte, padded, flat(text(whole)), becomes, node.start_point[0] + 1
    )


def bare(node: Node) -> Node:
    """A condition without its parentheses."""
    while node.type == "parenthesized_expression" and node.named_children:
        inner = [child for child in node.named_children if child.type != "comment"]
        if len(inner) != 1:
            return node
        node = inner[0]
    return node


def operator_of(node: Node) -> str:
    """The operator of a binary expression."""
    operator = node.child_by_field_name("operator")
    return text(operator) if operator is not None else ""


def told_of(node: Node) -> Node:
    """What is shown of the text around a change: the ``if`` it depends on where that is short, else its statement."""
    statement = above = node
    while above.parent is not None and above.type not in ("function_definition", *LOOPS):
        above = above.parent
        if statement == node and node.type not in SIMPLE and above.type in (*SIMPLE, "declaration"):
            statement = above
        if above.type == "if_statement":
            return above if len(flat(text(above))) <= _SHORT else statement
    return statement


def lacks_semicolon(node: Node) -> bool:
    """The head of a macro that loops: ``for_each_…(…) statement`` stands as two statements, the first without one."""
    return node.type == "expression_statement" and bool(node.children) and node.children[-1].is_missing


def declares(node: Node) -> bool:
    """A macro that declares: its name is in capitals, and statements may follow it that need what it declares."""
    call = node.named_children[0] if node.named_children else None
    if node.type != "expression_statement" or call is None or call.type != "call_expression":
        return False
    function = call.child_by_field_name("function")
    name = text(function) if function is not None else ""
    return name.isupper() and not name.startswith(("BUG_ON", "WARN"))
