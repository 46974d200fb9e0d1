"""The commands that follow from what a report shows: repeat it, see it as a C program, look around, bisect."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.explore.verdicts import is_generated
from harness.model.architectures import ARCHITECTURES
from harness.model.json_text import parse_json
from harness.model.run_record import CellRecord, RunRecord
from harness.model.version import version_order
from harness.runs.cells import kernel_name, profile_suffix, upstream_version


def kernel_words(run: RunRecord, cell: CellRecord, option: str = "") -> list[str]:
    """What a person writes to mean this cell's kernel again: the path or URL given, or its name, behind ``option``."""
    name = kernel_name(cell)
    given = parse_json(run.matrix.get("given", "{}")).get(name)
    if isinstance(given, list) and given:
        return [str(word) for word in given]
    return [option, name] if option else [name]


def repeat_command(run: RunRecord, cell: CellRecord, probe: str = "", suite: str = "") -> str:
    """The command that runs this cell again, only ``probe`` of it, or a foreign ``suite``, if one is given; where the
    probe is a verdict of generated programs, the command that explores the cell again."""
    generated = is_generated(probe) and cell.explore is not None
    words = ["sealmatrix", "run"]
    if cell.machine and cell.machine.guest == "host":
        words.append("--host")
    elif "ssh" in run.matrix:
        words += ["--ssh", run.matrix["ssh"]]
    else:
        words += _cell_words(run, cell, "-k")
    if generated and cell.explore is not None:
        probe, seconds = "mseal/anon-rw/exact", f"{cell.explore.seconds:g}s"
        words += ["--explore", seconds, "--seed", str(cell.explore.seed)]
    return shlex.join([*words, *(suite_words(run, suite) if suite else ["-r", probe] if probe else [])])


RESULTS = Path("results")
"""Where results are unless --results says otherwise."""


def resume_command(
    command: str,
    folder: Path,
    *,
    results: Path,
    usual: Path = RESULTS,
    below: str = "",
    matrix: Path | None = None,
    words: Sequence[str] = (),
    option: str = "--resume",
) -> str:
    """The command that goes on with what was broken off: a run, a bisection or an exploration, which has a folder.

    It is named by its id where that is found in ``results`` (or what is ``below``), which are told where they are not
    the usual ones, and else by its path. ``matrix`` is the file that was given, ``words`` are what the command needs
    besides, such as kernels.
    """
    named = folder.parent == results / below
    told = ["sealmatrix", command, *words, option, folder.name if named else str(folder)]
    told += ["--results", str(results)] if named and results != usual else []
    return shlex.join([*told, *(["-f", str(matrix)] if matrix else [])])


def runs_command(results: Path) -> str:
    """The command that lists the runs of a folder of results."""
    return shlex.join(["sealmatrix", "history", "runs", *(["--results", str(results)] if results != RESULTS else [])])


def again_command(folder: Path, command: str, *words: str) -> str:
    """The command that reads a run again: by its id where that is found without --results, and else by its folder."""
    return shlex.join(["sealmatrix", command, folder.name if folder.parent == RESULTS else str(folder), *words])


def replay_finding_command(words: Sequence[str], program: Path) -> str:
    """The command that runs a program that ``explore`` has found; ``words`` mean the kernel and its machine."""
    return shlex.join(["sealmatrix", "explore", *words, "--replay", str(program)])


def report_command(folder: Path) -> str:
    """The command that writes every report of a stored run."""
    return shlex.join(["sealmatrix", "report", str(folder), "--all"])


def suite_words(run: RunRecord, suite: str) -> list[str]:
    """What a person writes to mean a foreign suite of a run again: its word where it is the only one, else its name."""
    asked = [str(word) for word in run.options.get("suites", ())]
    return ["--suite", asked[0] if len(asked) == 1 else suite]


def replay_command(run: RunRecord, cell: CellRecord, program: Path) -> str:
    """The command that runs a program that was found on this cell's kernel, "" where there is no guest of ours."""
    if "ssh" in run.matrix or (cell.machine and cell.machine.guest == "host"):
        return ""
    return shlex.join(["sealmatrix", "explore", *_cell_words(run, cell), "--replay", str(program)])


def bisect_program_command(run: RunRecord, bad: CellRecord, program: Path, good: CellRecord | None) -> str:
    """The command that finds where what a program does begins, "" for a kernel that comes from no archive."""
    if not (bad.kernel and bad.kernel.origin_kind == "debian"):
        return ""
    found = kernel_name(good) if good and good.kernel and good.kernel.origin_kind == "debian" else GOOD
    return _with_ends(["sealmatrix", "bisect", "--program", str(program), "-a", bad.arch], found, kernel_name(bad))


def program_command(rule: str, probe: str) -> str:
    """The command that prints a probe as a C program of its own."""
    return shlex.join(["sealmatrix", "rules", "show", rule, "--probe", probe, "--reproducer"])


def shell_command(run: RunRecord, cell: CellRecord) -> str:
    """The command that gives a prompt in this cell's kernel, "" where there is no guest of ours."""
    if "ssh" in run.matrix or (cell.machine and cell.machine.guest == "host"):
        return ""
    return shlex.join(["sealmatrix", "shell", *_cell_words(run, cell)])


def exec_command(run: RunRecord, cell: CellRecord, source: str) -> str:
    """The command that compiles a C file and runs it in this cell's kernel, "" where there is no guest of ours."""
    if "ssh" in run.matrix or (cell.machine and cell.machine.guest == "host"):
        return ""
    words = ["sealmatrix", "exec", *_cell_words(run, cell), "--push", source, "--", Path(source).stem]
    return shlex.join(words)


GOOD = "?"
"""Stands in a command for what nobody can know: a kernel that was still good."""


def bisect_command(
    run: RunRecord, bad: CellRecord, rule: str, probe: str, good: CellRecord | None, *, suite: str = ""
) -> str:
    """The command that finds the first bad build or commit, "" for a kernel that comes from neither.

    ``good`` is an older kernel that kept the rule. A kernel of a person's own is an end among the builds by its
    version; one of the same version as ``good`` is not, and then it is the tree of both that can be searched.
    ``suite`` is the foreign suite whose test it is.
    """
    asked = [*suite_words(run, suite), "--test", rule] if suite else ["--rule", rule, "--probe", probe]
    words = ["sealmatrix", "bisect", *asked, "-a", bad.arch]
    if suffix := profile_suffix(bad):
        words += ["-p", suffix]
    words += _matrix_words(run)
    if tree := _tree(run, bad):
        folder, commit = tree
        found = f"v{upstream_version(good)}" if good else GOOD
        return _with_ends([*words, "--tree", folder], found, commit)
    if bad.kernel and bad.kernel.origin_kind == "debian":
        found = kernel_name(good) if good and good.kernel and good.kernel.origin_kind == "debian" else GOOD
        return _with_ends(words, found, kernel_name(bad))
    if bad.kernel is None or not _is_given(run, bad):
        return ""
    version = upstream_version(bad)
    if good is not None and version_order(upstream_version(good)) >= version_order(version):
        return _with_ends([*words, "--tree", GOOD], f"v{upstream_version(good)}", GOOD)
    return _with_ends(words, kernel_words(run, good) if good else GOOD, kernel_words(run, bad))


def _with_ends(words: list[str], good: str | list[str], bad: str | list[str]) -> str:
    """The mark for what is not known is left unquoted: a reader has to see that it is to be replaced."""
    for option, end in (("--good", good), ("--bad", bad)):
        words = [*words, *(text for word in ([end] if isinstance(end, str) else end) for text in (option, word))]
    return " ".join(word if word == GOOD else shlex.quote(word) for word in words)


def _is_given(run: RunRecord, cell: CellRecord) -> bool:
    """Say whether a cell's kernel was named by its path or URL."""
    return kernel_name(cell) in parse_json(run.matrix.get("given", "{}"))


def _tree(run: RunRecord, cell: CellRecord) -> tuple[str, str] | None:
    """The source tree a given kernel was built in or from, and the commit; None where it is no such kernel."""
    given = kernel_words(run, cell)
    if "--build" in given:
        return given[0], (*given[2:], "HEAD")[0]
    known = next((known for arch, known in ARCHITECTURES.items() if arch == cell.arch), None)
    for built in known.built if known else ():
        if given[0].startswith("/") and given[0].endswith(f"/{built}"):
            return given[0].removesuffix(f"/{built}"), "HEAD"
    return None


def _cell_words(run: RunRecord, cell: CellRecord, option: str = "") -> list[str]:
    words = [*kernel_words(run, cell, option), "-a", cell.arch]
    if suffix := profile_suffix(cell):
        words += ["-p", suffix]
    return [*words, *_matrix_words(run)]


def _matrix_words(run: RunRecord) -> list[str]:
    """The option that names the matrix file, where the run was given one."""
    given = dict(zip(run.command, run.command[1:], strict=False))
    return next((["-f", given[flag]] for flag in ("-f", "--matrix") if flag in given), [])
