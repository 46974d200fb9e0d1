"""The command line: parse, call, print."""

from harness.cli.main import main

__all__ = ["main"]
