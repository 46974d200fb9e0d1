"""Upstream versions of Linux: read from what a kernel, its package or its matrix says, and put in one order."""

from __future__ import annotations

import re

Version = tuple[int, int, int]
_UPSTREAM = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[-~]?rc(\d+))?")


def parse_version(release: str) -> Version:
    """``(6, 12, 117)`` for ``"6.12.117+deb13-cloud-amd64"``; a release candidate counts as its release.

    Raises ``ValueError`` for text that does not begin with a version.
    """
    match = _UPSTREAM.match(release)
    if match is None:
        raise ValueError(f"not a kernel version: {release!r}")
    return int(match[1]), int(match[2]), int(match[3] or 0)


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
