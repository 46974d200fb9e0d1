"""The Atom feed of regressions: an entry each time one opens, is confirmed, or ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from harness.history.regressions import Regression
from harness.reports.junit import xml_text

_ATOM = "http://www.w3.org/2005/Atom"
_MOST = 100
_TOLD = ("opened", "confirmed", "fixed", "closed")


def feed(found: Iterable[Regression], site: str) -> str:
    """The newest events first. ``site`` is where the pages are served, "" where that is not known."""
    events = [(time, one, what) for one in found for time, _, what in one.events if what.startswith(_TOLD)]
    events.sort(key=lambda event: (event[0], event[1].number), reverse=True)
    root = Element("feed", xmlns=_ATOM)
    SubElement(root, "title").text = "sealmatrix: regressions of memory sealing"
    SubElement(root, "id").text = site or "urn:sealmatrix:regressions"
    SubElement(root, "updated").text = events[0][0] if events else "1970-01-01T00:00:00+00:00"
    SubElement(SubElement(root, "author"), "name").text = "sealmatrix"
    if site:
        SubElement(root, "link", rel="self", href=f"{site}/feed.xml")
    for time, one, what in events[:_MOST]:
        entry = SubElement(root, "entry")
        SubElement(entry, "title").text = xml_text(f"{one.name} {what}: {one.sentence}")
        SubElement(entry, "id").text = f"urn:sealmatrix:{one.name}:{time}:{what.split(',')[0].replace(' ', '-')}"
        SubElement(entry, "updated").text = time
        SubElement(
            entry, "link", href=f"{site}/regressions/{one.name}.html" if site else f"regressions/{one.name}.html"
        )
        SubElement(entry, "summary").text = xml_text(
            f"on {', '.join(one.cells)}; last good {one.good}, first bad {one.first}"
        )
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'
