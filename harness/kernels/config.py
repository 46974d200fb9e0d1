"""A kernel's ``.config`` as a mapping."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType

LARGEST = 4 << 20  # bytes; an allmodconfig has 0.4 MB
_LINE = re.compile(r'^CONFIG_(\w+)=(?:"(.*)"|(.*?))\s*$', re.MULTILINE)


def running_config(release: str, read: Callable[[str], bytes]) -> Mapping[str, str]:
    """Return how the kernel that a machine runs was configured, as the machine says; nothing where it does not.

    ``read`` returns at most ``LARGEST`` bytes of a file of the machine's, and raises ``OSError``.
    """
    # The kernel's own word (CONFIG_IKCONFIG_PROC), then what distributions install beside it.
    for path in ("/proc/config.gz", f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        with contextlib.suppress(OSError, zlib.error):
            data = read(path)
            if data.startswith(b"\x1f\x8b"):
                unpacking = zlib.decompressobj(wbits=31)
                data = unpacking.decompress(data, LARGEST)
                if not unpacking.eof:
                    continue
            # Of a part of it, nothing that is absent could be said to be off.
            if len(data) < LARGEST and (config := parse_config(data)):
                return config
    return {}


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
