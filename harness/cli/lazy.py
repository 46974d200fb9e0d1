"""A group whose commands are imported when they are asked for: showing a list does not wait for a database."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from harness.cli.helptext import HelpContext, laid_out
from harness.cli.stopping import Signals


class LazyGroup(click.Group):
    """``commands_by_name`` maps a command to (module, attribute, its line in the list of commands)."""

    context_class = HelpContext

    def __init__(self, *args: Any, commands_by_name: Mapping[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_by_name = commands_by_name

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse arguments that are no text. Those behind ``--`` are for a guest, which takes any bytes."""
        ours = args[: args.index("--")] if "--" in args else args
        for argument in ours:
            if any(0xDC80 <= ord(char) <= 0xDCFF for char in argument):
                shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
                raise click.UsageError(f"{shown}: this name is not valid UTF-8; use one that is")
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return [*self.commands_by_name]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.commands_by_name:
            return None
        module, attribute, _ = self.commands_by_name[cmd_name]
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        if signals := ctx.find_object(Signals):
            signals.working()  # an import that is interrupted may lose the interrupt, or leave a trace
        return laid_out(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list without importing what is in it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.commands_by_name.items()])
