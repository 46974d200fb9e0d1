"""Building the static payloads from ``guest_payload/``."""

from harness.payload.build import Payload, ProbeInfo, build, payload_root, probe_list
from harness.payload.compiler import cache_root, compile_static, compiler_version

__all__ = [
    "Payload",
    "ProbeInfo",
    "build",
    "cache_root",
    "compile_static",
    "compiler_version",
    "payload_root",
    "probe_list",
]
