"""Reading a user's scenario: is it Python of the guest's release, and what does its text say it expects."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from harness.errors import ConfigError, UsageError
from harness.observations.model import numbered
from harness.payload.packages import PYTHON
from harness.verdicts.scenario import Scenario

_LONGEST = 1 << 20


def read_script(path: Path) -> Scenario:
    """Read a scenario. Raises ``UsageError`` or ``ConfigError`` for what the guest's Python could not run."""
    try:
        if path.stat().st_size > _LONGEST:
            raise UsageError(f"{path}: larger than {_LONGEST >> 20} MiB, too large for a scenario")
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path}: not UTF-8 (byte {problem.start}); a scenario is a Python script") from None
    return Scenario(path.stem, text, tuple(numbered(_expected(_parse(path, text)))))


def _parse(path: Path, text: str) -> ast.Module:
    major, minor = map(int, PYTHON.split("."))
    try:
        tree = ast.parse(text, str(path), feature_version=(major, minor))
        compile(
            tree, str(path), "exec", dont_inherit=True
        )  # finds what no grammar forbids: a return outside a function
    except SyntaxError as problem:
        raise ConfigError(path, problem.lineno or 0, f"not Python {PYTHON}: {problem.msg}") from None
    except (ValueError, RecursionError, MemoryError) as problem:
        raise ConfigError(path, 0, f"not Python {PYTHON}: {problem or type(problem).__name__}") from None
    return tree


def _expected(tree: ast.Module) -> Iterator[str]:
    """The names of ``guest.expect("NAME", …)`` and ``expect("NAME", …)``, in the order of the text."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        match call:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="guest"), attr="expect") | ast.Name(id="expect"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name
