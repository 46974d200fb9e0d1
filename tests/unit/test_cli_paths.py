"""Paths that cannot be: names that are no text, files that are not there, homes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.cli.main import cli, main
from harness.errors import ConfigError
from harness.kernels.missing import refuse_missing
from harness.matrix.load import parse_matrix
from harness.matrix.model import InVirtme
from harness.matrix.plan import plan_cells
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.tree import TreeSource

NO_TEXT = "bad-\udcff"
REFUSED = "this name is not valid UTF-8; use one that is"


def parameters(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that give each parameter of each command a path that is no UTF-8."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from parameters(command, (*words, name))
            continue
        for parameter in command.params:
            if isinstance(parameter, click.Argument):
                yield (*words, name, NO_TEXT)
            elif isinstance(parameter, click.Option) and not parameter.is_flag:
                yield (*words, name, parameter.opts[-1], NO_TEXT)
                yield (*words, name, f"{parameter.opts[-1]}={NO_TEXT}")


WAYS = sorted(set(parameters(cli)))


@pytest.mark.parametrize("words", WAYS, ids=lambda words: " ".join(words).encode("utf-8", "replace").decode())
def test_a_path_that_is_no_utf8_is_refused_in_one_line(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert [line for line in done.output.splitlines() if "Error" in line] == [
        f"Error: {words[-1]}: this name is not valid UTF-8; use one that is".replace("\udcff", "\\xff")
    ]


def test_every_kind_of_parameter_was_tried() -> None:
    assert ("run", "--results", NO_TEXT) in WAYS
    assert ("exec", "--push", NO_TEXT) in WAYS
    assert ("site", "build", "--output", NO_TEXT) in WAYS
    assert len(WAYS) > 150


def test_as_a_process_it_is_one_line() -> None:
    command = [sys.executable, "-m", "harness", "run", "--results", b"/tmp/\xff"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: /tmp/\\xff: this name is not valid UTF-8; use one that is\n"


ENTRIES = """
version: 1
kernels:
  mine: {{source: file, image: {image}, config: {config}, modules: {modules}, architectures: [x86_64]}}
  tree: {{source: tree, tree: {tree}, fragments: [{fragment}], architectures: [x86_64]}}
profiles:
  lived-in: {{guest: virtme, root: {{x86_64: {root}}}}}
selections:
  default: {{kernels: [mine, tree], architectures: [x86_64], profiles: [lived-in]}}
"""
NAMES = ("image", "config", "modules", "tree", "fragment", "root")
PLACES = (
    "kernels.mine.image", "kernels.mine.config", "kernels.mine.modules", "kernels.tree.tree",
    "profiles.lived-in.root.x86_64",
)  # fmt: skip


def make(folder: Path) -> None:
    for name in ("image", "config", "fragment"):
        (folder / name).write_bytes(b"")
    for name in ("modules", "tree", "root"):
        (folder / name).mkdir()


def test_home_is_expanded_in_every_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = ENTRIES.format(**{name: f"~/{name}" for name in NAMES})
    matrix = parse_matrix(text.encode(), Path("/elsewhere/kernels.yaml"))
    here = {name: tmp_path / name for name in NAMES}
    assert matrix.kernels["mine"].source == FileSource(here["image"], here["config"], here["modules"])
    assert matrix.kernels["tree"].source == TreeSource(here["tree"], "", (here["fragment"],))
    guest = matrix.profiles["lived-in"].guest
    assert isinstance(guest, InVirtme)
    assert dict(guest.roots) == {"x86_64": here["root"]}


def test_a_home_of_nobody_stays_a_name(tmp_path: Path) -> None:
    text = ENTRIES.format(**{name: f"~no-such-user/{name}" for name in NAMES})
    matrix = parse_matrix(text.encode(), tmp_path / "kernels.yaml")
    source = matrix.kernels["mine"].source
    assert isinstance(source, FileSource)
    assert source.image == tmp_path / "~no-such-user" / "image"


@pytest.mark.parametrize("place", PLACES)
def test_what_is_not_there_is_told_with_its_place(place: str, tmp_path: Path) -> None:
    make(tmp_path)
    name = place.split(".")[2]
    path = tmp_path / "kernels.yaml"
    matrix = parse_matrix(ENTRIES.format(**{name: f"./{name}" for name in NAMES}).encode(), path)
    cells = plan_cells(matrix)
    refuse_missing(matrix, cells)  # everything is there
    gone = tmp_path / name
    folder = gone.is_dir()
    gone.rmdir() if folder else gone.unlink()
    with pytest.raises(ConfigError, match=f"{place}: .*/{name}: no such {'folder' if folder else 'file'}$"):
        refuse_missing(matrix, cells)
    gone.write_bytes(b"") if folder else gone.mkdir()
    with pytest.raises(ConfigError, match=f"{place}: .*/{name}: this is not a {'folder' if folder else 'file'}$"):
        refuse_missing(matrix, cells)


def test_only_the_cells_that_are_meant_count(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "image").unlink()
    matrix = parse_matrix(ENTRIES.format(**{name: f"./{name}" for name in NAMES}).encode(), tmp_path / "kernels.yaml")
    refuse_missing(matrix, plan_cells(matrix, kernels=["tree"]))


@pytest.mark.parametrize(
    "words",
    [["run"], ["exec", "mine", "--", "true"], ["shell", "mine"], ["kernels", "fetch"], ["kernels", "lock"],
     ["crosscheck"], ["scenario", "scenario.py"]],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)  # fmt: skip
def test_a_missing_image_is_bad_input_before_anything_begins(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernels.yaml").write_text(
        "version: 1\nkernels:\n  mine: {source: file, image: ./bzImage, architectures: [x86_64]}\n"
        "selections:\n  default: {kernels: [mine], architectures: [x86_64]}\n"
    )
    (tmp_path / "scenario.py").write_text("import guest\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sealmatrix", *words])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "sealmatrix: kernels.yaml: kernels.mine.image: bzImage: no such file\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernels.yaml", "scenario.py"]
