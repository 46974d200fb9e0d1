"""Building the static payloads from ``guest_payload/``."""

from harness.payload.build import Payload, ProbeInfo, build, payload_root, probe_list
from harness.payload.compiler import cache_root, compile_static, compiler_version
from harness.payload.python import PythonPayload, build_python

__all__ = [
    "Payload",
    "ProbeInfo",
    "PythonPayload",
    "build",
    "build_python",
    "cache_root",
    "compile_static",
    "compiler_version",
    "payload_root",
    "probe_list",
]
