"""Upstream versions of Linux: read from what a kernel, its package or its matrix says, and put in one order."""

from __future__ import annotations

import re

_UPSTREAM = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[-~]?rc(\d+))?")


def version_in(release: str) -> str:
    """The upstream version a release begins with: ``6.12.117`` of ``6.12.117+deb13-cloud-amd64``; "" if it does not."""
    match = _UPSTREAM.match(release)
    return match[0] if match else ""


def version_order(version: str) -> tuple[float, ...]:
    """Sorts upstream versions, a release candidate before its release, and what is no version before all."""
    match = _UPSTREAM.match(version)
    if match is None:
        return ()
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), int(patch or 0), int(candidate) if candidate else float("inf")
