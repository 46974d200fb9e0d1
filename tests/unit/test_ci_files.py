"""The files of ci/ are whole, call commands that exist with options they have, and hold no secret."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from harness.cli.main import cli

CI = Path(__file__).parents[2] / "ci"
FILES = sorted(path for path in CI.rglob("*") if path.is_file())
CALL = re.compile(r"(?:^|[\s/'])sealmatrix ((?:nightly|results|regressions|report)\b[^|;>&'\n]*)", re.MULTILINE)


def calls(path: Path) -> list[str]:
    text = path.read_text().replace("\\\n", " ")
    lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", "//")))
    return [
        re.sub(r"\$\{[^}]*\}|2$", "", found).replace('"$BUDGET"', "4h").strip()
        for found in CALL.findall("\n".join(lines))
    ]


def test_every_place_has_its_file() -> None:
    names = {str(path.relative_to(CI)) for path in FILES}
    assert names >= {
        "github/action.yml", "github/nightly.yml", "gitlab-ci.yml", "Jenkinsfile", "crontab", "compose.yaml",
        "systemd/sealmatrix-nightly.service", "systemd/sealmatrix-nightly.timer",
    }  # fmt: skip


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix in (".yml", ".yaml")], ids=lambda p: p.name)
def test_yaml_is_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


@pytest.mark.parametrize("path", [path for path in FILES if calls(path)], ids=lambda path: path.name)
def test_what_they_call_is_there(path: Path) -> None:
    for line in calls(path):
        command: click.Command = cli
        words = shlex.split(line)
        context = click.Context(cli, info_name="sealmatrix")
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words.pop(0))
            assert found is not None, line
            command = found
        command.make_context("x", words)


def test_each_runs_the_night() -> None:
    callers = {path.name for path in FILES if any(call.startswith("nightly") for call in calls(path))}
    assert callers >= {
        "action.yml",
        "gitlab-ci.yml",
        "Jenkinsfile",
        "crontab",
        "sealmatrix-nightly.service",
        "compose.yaml",
    }


def _jobs() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CI / "github/nightly.yml").read_text())["jobs"]
    return loaded


def test_the_workflow_uses_the_action_that_lies_there_with_inputs_it_has() -> None:
    (step,) = [step for job in _jobs().values() for step in job["steps"] if step.get("uses", "").startswith("./")]
    folder = CI.parent / step["uses"]
    action = yaml.safe_load((folder / "action.yml").read_text())
    assert set(step["with"]) <= set(action["inputs"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_accepts_its_units(tmp_path: Path) -> None:
    for path in (CI / "systemd").iterdir():
        text = path.read_text().replace("/opt/sealmatrix/bin/sealmatrix", "/bin/true")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
