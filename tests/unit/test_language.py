"""Plain English in documents, help and messages: turns of phrase that had to be read twice do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Each with what to write instead.
INSTEAD = {
    r"\bh[eo]ld(s)? [^.|]{0,40}\bagainst\b": "compare with, check against",
    r"\b(judge[sd]?|resolve[sd]?|ma[dk]e|read|booted|written) anew\b": "again",
    r"\bput down to\b": "assigned to",
    r"\bwalked around\b": "skipped",
    r"\b(is|are) none that\b": "has no, is not",
    r"\bnobody wrote\b": "generated",
    r"\bgo(es)? on with (what|a run|an? )": "continue",
    r"\bsays? of itself\b": "reports",
    r"\bwithout a word\b": "with no message",
    r"\bthrown away\b": "discarded",
    r"\bnothing follows\b": "this says nothing about",
    r"\bproves nothing\b": "is inconclusive",
    r"\bnot to be had\b|\b(can|could)(not| not) be had\b": "is not available",
    r"\bspeaks? of the\b": "reports",
    r"\bout?put and status are ours\b": "exit with its status",
    r"\bmachine did not have\b": "lacks",
    r"\bmended (by|in|its|another)\b|\bmay be mended\b": "fixed",
    r"\bno whole answer\b": "incomplete, did not finish",
    r"\banswers? otherwise\b": "answers differently",
    r"\bgo(es)? on with [`{]": "continue with",
}


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module with its line, but for docstrings; those of commands are their help, and told."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(d) for d in node.decorator_list):
            yield node.lineno, ast.get_docstring(node) or ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


def found(text: str) -> list[str]:
    flat = " ".join(text.split())
    return [f"{hit.group()!r}: {better}" for bad, better in INSTEAD.items() for hit in re.finditer(bad, flat)]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_is_plain(path: Path) -> None:
    assert found(path.read_text(encoding="utf-8")) == []


def test_messages_and_help_are_plain() -> None:
    modules = sorted((ROOT / "harness").rglob("*.py"))
    told = [
        f"{path.relative_to(ROOT)}:{line}: {bad}"
        for path in modules
        for line, text in messages(path)
        for bad in found(text)
    ]
    assert told == []


@pytest.mark.parametrize("text", ["Hold a folder against its sums", "it is judged\nanew", "programs nobody wrote"])
def test_the_patterns_themselves(text: str) -> None:
    assert found(text.lower())


_OTHER = {"markdown.py", "virtme.py"}  # backticks of Markdown, and of a boot parameter
_COMMAND = re.compile(r"`(sealmatrix |git |make |kernels |\{)")


def commands_in_backticks(source: str) -> list[str]:
    """Commands between backticks in what is printed: in every text that is neither a docstring nor an option's help."""
    tree = ast.parse(source)
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    helped = [n.value for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg in ("help", "short_help")]
    said |= {id(part) for text in helped for part in ast.walk(text)}
    found = []
    for node in (node for node in ast.walk(tree) if id(node) not in said):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{" for part in node.values)
            found += _COMMAND.findall("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += _COMMAND.findall(node.value)
    return found


def test_a_command_to_copy_stands_at_the_end_of_its_line_without_backticks() -> None:
    """As in ``...; to continue: sealmatrix run --resume ID``."""
    modules = (path for path in sorted((ROOT / "harness").rglob("*.py")) if path.name not in _OTHER)
    told = {path.name: found for path in modules if (found := commands_in_backticks(path.read_text(encoding="utf-8")))}
    assert told == {}


def test_the_search_for_commands_itself() -> None:
    assert commands_in_backticks('print(f"run `sealmatrix show` or `{how}`")') != []
    assert commands_in_backticks('def f():\n    """As `git show`."""\noption(help="see `git show`")') == []
