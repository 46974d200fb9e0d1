"""Builds the programs that guests need, for every architecture, and puts them into the wheel."""

from __future__ import annotations

import logging
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Programs(BuildHookInterface[Any]):
    """Whoever installs a wheel compiles nothing; from a checkout, what its sources have become is compiled."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add each program, and its digest, before the wheel is put together."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from harness.guests.programs import all_made  # noqa: PLC0415 - importable only now

        logging.basicConfig(level="INFO", format="%(message)s")
        for program in all_made():
            for suffix in ("", ".sha256"):
                shipped = f"harness/_shipped/programs/{program.place}{suffix}"
                build_data["force_include"][f"{program.target}{suffix}"] = shipped
