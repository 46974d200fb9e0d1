"""A kernel's ``.config`` as a mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

_LINE = re.compile(r'^CONFIG_(\w+)=(?:"(.*)"|(.*?))\s*$', re.MULTILINE)


def parse_config(data: bytes) -> Mapping[str, str]:
    """Return option names without ``CONFIG_`` and their values; options that are off are absent. Never fails."""
    text = data.decode("utf-8", "replace")
    return MappingProxyType({name: quoted or plain for name, quoted, plain in _LINE.findall(text)})


def page_size(config: Mapping[str, str]) -> int:
    """Return the page size in bytes that the options say, 0 when they say nothing."""
    for size in (4, 16, 64, 256):
        if config.get(f"PAGE_SIZE_{size}KB") == "y" or config.get(f"ARM64_{size}K_PAGES") == "y":
            return size * 1024
    return 4096 if config.get("X86_64") == "y" else 0
