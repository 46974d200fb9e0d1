"""Every ``--help`` can be read in a terminal of 80 columns: no line is wider, and no sentence is cut."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from harness.cli.main import cli

COLUMNS = 80


def commands(command: click.Command, above: click.Context | None = None) -> Iterator[tuple[str, click.Context]]:
    """Every command with the context that ``sealmatrix ... --help`` makes for it."""
    name = "sealmatrix" if above is None else str(command.name)
    context = command.make_context(name, [], parent=above, resilient_parsing=True, terminal_width=COLUMNS)
    yield context.command_path, context
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            assert below is not None
            yield from commands(below, context)


HELPS = dict(commands(cli))


@pytest.mark.parametrize("path", HELPS)
def test_help_fits_eighty_columns(path: str) -> None:
    assert [line for line in HELPS[path].get_help().splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize("path", [path for path, context in HELPS.items() if isinstance(context.command, click.Group)])
def test_no_line_of_a_list_of_commands_is_cut(path: str) -> None:
    listed = HELPS[path].get_help().partition("\nCommands:\n")[2]
    assert listed
    assert "..." not in listed


GUESTS = ("run", "scenario", "crosscheck", "explore", "cost", "coverage", "shell", "exec", "patch", "bisect", "nightly",
          "mutants run", "mutants build")  # fmt: skip


@pytest.mark.parametrize("name", GUESTS)
def test_a_command_that_boots_guests_says_with_what_status_an_interrupt_ends(name: str) -> None:
    _, _, statuses = " ".join(HELPS[f"sealmatrix {name}"].get_help().split()).partition("Exit status")
    assert "130" in statuses.partition("Options:")[0]


def test_an_explanation_that_does_not_fit_is_wrapped_in_its_column() -> None:
    @click.command(context_settings={"terminal_width": COLUMNS})
    def command() -> None:
        """What it does.

        \b
        sealmatrix run ./bzImage                  an image; vmlinux, Image and vmlinuz.efi will do as well
        sealmatrix run --suite a-suite-of-a-long-name --all    on its own line
        sealmatrix run a \\
            --all
        """

    command.context_class = type(HELPS["sealmatrix run"])
    text = command.get_help(command.make_context("command", []))
    assert text.splitlines()[4:10] == [
        "  sealmatrix run ./bzImage                        an image; vmlinux, Image and",
        "                                                  vmlinuz.efi will do as well",
        "  sealmatrix run --suite a-suite-of-a-long-name --all",
        "                                                  on its own line",
        "  sealmatrix run a \\",
        "      --all",
    ]


@pytest.mark.parametrize("path", HELPS)
def test_every_option_says_what_it_is(path: str) -> None:
    options = [one for one in HELPS[path].command.params if isinstance(one, click.Option) and not one.hidden]
    assert [one.opts for one in options if not (one.help or "").partition("[")[0].strip()] == []
