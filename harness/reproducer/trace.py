"""The calls that a probe makes, as the payload's ``--trace`` prints them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.model.json_text import parse_json


@dataclass(frozen=True)
class Call:
    """One traced call. ``text`` and ``iovec`` are what a pointer among the arguments points to, by position."""

    name: str
    stage: str
    pid: int
    arguments: tuple[int, ...]
    result: int = 0
    text: Mapping[int, str] = field(default_factory=dict)
    iovec: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """A probe's calls; ``base`` and ``destination`` are where the window and the free place are, ``page`` in bytes.

    ``mapping`` is what /proc/self/maps calls the window where it is a mapping of the kernel's own, else "". ``placed``
    where its place, or the size of its units (``page``), is part of what the probe asks.
    """

    probe: str
    layout: str
    base: int
    destination: int
    page: int
    calls: tuple[Call, ...]
    mapping: str = ""
    traits: frozenset[str] = frozenset()
    placed: bool = False


def parse_trace(text: str) -> Trace:
    """Read what ``--trace`` printed. Raises ``ValueError`` for anything else."""
    try:
        head, *lines = [parse_json(line) for line in text.splitlines()]
        window = next((line for line in lines if "window" in line), None)
        calls = tuple(_call(line) for line in lines if "window" not in line)
        trace = Trace(
            head["trace"], head["layout"], head["base"], head["destination"], head["page_size"], calls,
            head["mapping"], frozenset(head["traits"]),
        )  # fmt: skip
        if window is None or trace.mapping:
            return trace
        place = {"base": window["window"], "page": window["unit"], "destination": window["destination"]}
        return replace(trace, placed=True, **place)
    except (KeyError, TypeError, IndexError) as problem:
        raise ValueError(f"not a trace: {problem}") from problem


def _call(line: Mapping[str, Any]) -> Call:
    text = {line["text"][0]: line["text"][1]} if "text" in line else {}
    iovec = {line["iovec"][0]: (line["iovec"][1], line["iovec"][2])} if "iovec" in line else {}
    return Call(line["call"], line["stage"], line["pid"], tuple(line["arguments"]), line.get("result", 0), text, iovec)
