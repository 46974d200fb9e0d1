"""C sources as trees, by tree-sitter: the functions of a file, and what their nodes say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property

import tree_sitter
import tree_sitter_c
from tree_sitter import Node

_WORD = re.compile(r"[A-Za-z_]\w*")
_CALLED = re.compile(r"([A-Za-z_]\w*)\s*\(")
_NO_CODE = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_SYSCALL = re.compile(r"(?:COMPAT_)?SYSCALL_DEFINE\d\Z")


@dataclass(frozen=True)
class Function:
    """One definition. ``start`` and ``end`` are offsets in the file's bytes; ``node`` is its body."""

    file: str
    name: str
    start: int
    end: int
    line: int
    text: str = field(repr=False)
    result: str
    static: bool
    node: Node = field(repr=False, compare=False)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every word of the code; those of comments and strings are not."""
        return frozenset(_WORD.findall(self._code))

    @cached_property
    def calls(self) -> frozenset[str]:
        """Every word that stands before a parenthesis."""
        return frozenset(_CALLED.findall(self._code))

    @cached_property
    def _code(self) -> str:
        return _NO_CODE.sub(" ", self.text[self.text.find("{") :])


@cache
def functions(file: str, source: bytes) -> tuple[Function, ...]:
    """The functions that a file defines, system calls among them (``sys_NAME``), in the order of the text."""
    return tuple(_functions(file, source))


def _functions(file: str, source: bytes) -> Iterator[Function]:
    for node in _outer(_parser().parse(source).root_node):
        if node.type == "function_definition":
            yield from _plain(file, source, node)
        elif node.type == "compound_statement" and (head := _syscall_head(node)) is not None:
            arguments = head.child_by_field_name("arguments")
            names = [text(child) for child in arguments.named_children] if arguments is not None else []
            if names:
                yield _function(file, source, head, node, f"sys_{names[0]}", "long", static=False)


def _outer(node: Node) -> Iterator[Node]:
    """What may define a function: everything outside of blocks."""
    for child in node.children:
        yield child
        if child.type.startswith(("preproc_if", "preproc_el", "linkage")) or child.type == "ERROR":
            yield from _outer(child)


def _plain(file: str, source: bytes, node: Node) -> Iterator[Function]:
    body, declarator = node.child_by_field_name("body"), node.child_by_field_name("declarator")
    while declarator is not None and declarator.type != "function_declarator":
        declarator = declarator.child_by_field_name("declarator")
    name = declarator.child_by_field_name("declarator") if declarator is not None else None
    if body is None or name is None or name.type != "identifier":
        return
    result = node.child_by_field_name("type")
    static = any(child.type == "storage_class_specifier" and text(child) == "static" for child in node.children)
    yield _function(file, source, node, body, text(name), text(result) if result is not None else "", static=static)


def _syscall_head(body: Node) -> Node | None:
    """The call ``SYSCALL_DEFINEn(name, …)`` that stands before a body at the top of a file."""
    before = body.prev_named_sibling
    if before is None or before.type != "expression_statement":
        return None
    call = before.named_children[0] if before.named_children else None
    function = call.child_by_field_name("function") if call is not None and call.type == "call_expression" else None
    return call if function is not None and _SYSCALL.match(text(function)) else None


def _function(file: str, source: bytes, head: Node, body: Node, name: str, result: str, *, static: bool) -> Function:
    start, end = head.start_byte, body.end_byte
    code = source[start:end].decode("utf-8", "surrogateescape")
    return Function(file, name, start, end, head.start_point[0] + 1, code, result, static, body)


def walk(node: Node) -> Iterator[Node]:
    """A node and all below it, in the order of the text."""
    pending = [node]
    while pending:
        last = pending.pop()
        yield last
        pending.extend(reversed(last.children))


def text(node: Node) -> str:
    """What stands in the source."""
    content: bytes = node.text or b""
    return content.decode("utf-8", "surrogateescape")


def flat(code: str) -> str:
    """The same in one line, without comments, with one space between words."""
    return " ".join(re.sub(r"/\*.*?\*/|//[^\n]*", " ", code, flags=re.DOTALL).split())


@cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))
