"""What our log says, on standard error: what takes long without being asked for, such as compiling at the first use."""

from __future__ import annotations

import logging

import click

_OURS = logging.getLogger("harness")


class _Lines(logging.Handler):
    """One line for each record, wherever standard error goes at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"sealmatrix: {record.getMessage()}", err=True)


def announce() -> None:
    """Begin to tell what the log says."""
    if not any(isinstance(handler, _Lines) for handler in _OURS.handlers):
        _OURS.addHandler(_Lines())
    hush(False)


def hush(quiet: bool) -> None:
    """Tell warnings only, where a command was asked to be quiet."""
    _OURS.setLevel(logging.WARNING if quiet else logging.INFO)
