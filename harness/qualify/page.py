"""The report as one HTML page that needs no network, reads without colour and prints on A4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from harness.names import escaped

_MARKS: Mapping[str, str] = {"met": "✓", "waived": "≈", "not met": "✗"}
_VERDICTS: Mapping[str, str] = {"qualified": "✓", "qualified with waivers": "≈", "not qualified": "✗"}


def page(report: Mapping[str, Any]) -> str:
    """Render a report as ``report_json`` makes it. Everything in it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.qualify"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    return environment.get_template("report.html.j2").render(report, marks=_MARKS, glyphs=_VERDICTS)


def _shown(value: object) -> object:
    """Control characters of a guest are shown, not sent."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else escaped(c) for c in value)
