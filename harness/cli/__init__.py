"""The command line: parse, call, print."""

from harness.cli.entry import main

__all__ = ["main"]
