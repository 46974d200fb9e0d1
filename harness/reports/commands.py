"""The commands that follow from what a report shows: repeat it, see it as a C program, look around, bisect."""

from __future__ import annotations

import json
import shlex

from harness.model.run_record import CellRecord, RunRecord
from harness.runs.cells import kernel_name, profile_suffix


def kernel_words(run: RunRecord, cell: CellRecord, option: str = "") -> list[str]:
    """What a person writes to mean this cell's kernel again: the path or URL given, or its name, behind ``option``."""
    name = kernel_name(cell)
    given = json.loads(run.matrix.get("given", "{}")).get(name)
    if isinstance(given, list) and given:
        return [str(word) for word in given]
    return [option, name] if option else [name]


def repeat_command(run: RunRecord, cell: CellRecord, probe: str = "") -> str:
    """The command that runs this cell again, only ``probe`` of it if one is given."""
    words = ["sealmatrix", "run"]
    if cell.machine and cell.machine.guest == "host":
        words.append("--host")
    elif "ssh" in run.matrix:
        words += ["--ssh", run.matrix["ssh"]]
    else:
        words += _cell_words(run, cell, "-k")
    return shlex.join([*words, *(["-r", probe] if probe else [])])


def program_command(rule: str, probe: str) -> str:
    """The command that prints a probe as a C program of its own."""
    return shlex.join(["sealmatrix", "rules", "show", rule, "--probe", probe, "--reproducer"])


def shell_command(run: RunRecord, cell: CellRecord) -> str:
    """The command that gives a prompt in this cell's kernel, "" where there is no guest of ours."""
    if "ssh" in run.matrix or (cell.machine and cell.machine.guest == "host"):
        return ""
    return shlex.join(["sealmatrix", "shell", *_cell_words(run, cell)])


def _cell_words(run: RunRecord, cell: CellRecord, option: str = "") -> list[str]:
    words = [*kernel_words(run, cell, option), "-a", cell.arch]
    if suffix := profile_suffix(cell):
        words += ["-p", suffix]
    given = dict(zip(run.command, run.command[1:], strict=False))
    for flag in ("-f", "--matrix"):
        if flag in given:
            words += ["-f", given[flag]]
    return words
