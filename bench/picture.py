"""A picture of medians: horizontal bars, one for each contestant, cut into its stages. Plain SVG, no library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

_WIDTH, _ROW, _LEFT, _TOP = 760, 34, 90, 64
_COLOURS = {"whole": "#7a7a7a", "ready": "#3b6ea5", "push": "#c9a227", "suite": "#5a9367", "stop": "#b5533c"}


def bars(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return an SVG; ``rows`` maps a name to its stages in seconds."""
    longest = max((sum(stages.values()) for stages in rows.values()), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - 90) / longest
    height = _TOP + _ROW * len(rows) + 16
    body = [line for number, (name, stages) in enumerate(rows.items()) for line in _row(number, name, stages, scale)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
            'font-size="13">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="12" y="22" font-size="15">{escape(title)}</text>',
            *_legend(),
            *body,
            "</svg>\n",
        ]
    )


def _legend() -> Iterator[str]:
    for number, (stage, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 90 * number
        yield f'<rect x="{x}" y="36" width="12" height="12" fill="{colour}"/><text x="{x + 17}" y="47">{stage}</text>'


def _row(number: int, name: str, stages: Mapping[str, float], scale: float) -> Iterator[str]:
    y, x = _TOP + _ROW * number, float(_LEFT)
    yield f'<text x="{_LEFT - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
    for stage, seconds in stages.items():
        width = seconds * scale
        yield (
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="24" fill="{_COLOURS[stage]}">'
            f"<title>{stage} {seconds:.3f} s</title></rect>"
        )
        x += width
    yield f'<text x="{x + 6:.1f}" y="{y + 17}">{sum(stages.values()):.2f}</text>'
