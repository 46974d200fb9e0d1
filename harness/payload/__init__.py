"""Building the static payloads from ``guest_payload/``."""

from harness.payload.compiler import cache_root, compile_static, compiler_version

__all__ = ["cache_root", "compile_static", "compiler_version"]
