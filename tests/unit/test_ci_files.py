"""The files of ci/ are whole, call commands that exist with options they have, and hold no secret."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("github/nightly.yml", "vendor.github-workflows"),
        ("github/action.yml", "vendor.github-actions"),
        ("gitlab-ci.yml", "vendor.gitlab-ci"),
        ("compose.yaml", "vendor.compose-spec"),
    ],
)
def test_its_server_would_read_it(name: str, schema: str) -> None:
    pytest.importorskip(
        "check_jsonschema", reason="check-jsonschema is not installed (it is among the dev dependencies)"
    )
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(CI / name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_actionlint_finds_nothing() -> None:
    if not (program := shutil.which("actionlint")):
        pytest.skip("actionlint is not installed")
    done = subprocess.run([program, str(CI / "github/nightly.yml")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def compose() -> list[str]:
    """Compose as a plugin of docker's, or as a program of its own; empty where there is neither."""
    for argv in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(argv[0])
            and not subprocess.run([*argv, "version"], capture_output=True, check=False).returncode
        ):
            return argv
    return []


def test_compose_reads_it(tmp_path: Path) -> None:
    if not (program := compose()):
        pytest.skip("docker compose is not installed")
    (tmp_path / "postgres-password").write_text("x")
    shutil.copy(CI / "compose.yaml", tmp_path)
    argv = [*program, "-f", str(tmp_path / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("status", "said"), [(0, "nothing new"), (1, "new: R1"), (3, "incomplete")])
def test_the_steps_of_the_action_do_what_they_say(tmp_path: Path, status: int, said: str) -> None:
    """In the workspace of another repository, with a sealmatrix that ends as told."""
    ours, workspace, binary = tmp_path / "ours", tmp_path / "workspace", tmp_path / "ours/.venv/bin"
    binary.mkdir(parents=True)
    workspace.mkdir()
    shutil.copytree(CI, ours / "ci")
    (ours / "kernels.yaml").write_text("version: 1\n")
    _program(ours / "scripts/setup", "true")
    folder = "results/20261128-021700-0000"
    night = f"mkdir -p {folder} && touch {folder}/junit.xml {folder}/report.html && echo '{said}' && "
    night += f"echo {folder}/report.html && exit {status}"
    _program(binary / "sealmatrix", f'case "$1" in nightly) {night} ;; *) echo "$*"; exit 1 ;; esac')
    files = {name: tmp_path / name for name in ("GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    environment = {name: str(path) for name, path in files.items()} | {
        "PATH": f"{binary}:{os.environ['PATH']}", "GITHUB_ACTION_PATH": str(ours / "ci/github"),
        "SELECTION": "nightly", "BUDGET": "4h", "MATRIX": "",
    }  # fmt: skip
    action = yaml.safe_load((CI / "github/action.yml").read_text())
    for step in (step for step in action["runs"]["steps"] if "run" in step):
        (tmp_path / "step").write_text(step["run"])
        argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(tmp_path / "step")]
        subprocess.run(argv, cwd=workspace, env=environment, check=True)
    assert files["GITHUB_PATH"].read_text() == f"{binary}\n"
    assert files["GITHUB_OUTPUT"].read_text() == f"exit={status}\n"
    assert said in files["GITHUB_STEP_SUMMARY"].read_text()
    assert {path.name for path in workspace.iterdir()} == {
        "kernels.yaml", "news.txt", "regressions.xml", "junit.xml", "report.html", "results",
    }  # fmt: skip


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


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
