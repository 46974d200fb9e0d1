"""One kernel, every way into a guest: the same verdicts, but for what is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.rules.load import load_catalogue
from tests.support.real_kernels import GetKernel
from tests.vng import prepared

ROOT = Path(__file__).parents[2]
HUGEPAGES = 8
# Every operation, every region and every span, in few enough combinations; all rules are asked.
SOME = (
    "*/*/exact", "*/*/plain", "*/*/single", "*/*/beside", "*/*anon-rw/*", "*/anon-mixed/*", "madvise-*/anon-r/*",
    "consumer-*",
)  # fmt: skip
# What may differ (docs/use/ssh.md, docs/use/virtme.md): rules asked in a guest of ours alone, and the reason given.
ONLY_IN_QEMU = dict.fromkeys(("args-map-limit", "pages-poisoned", "pages-soft-offline"), "a machine of our own")
MAY_DIFFER: dict[str, dict[str, str]] = {
    "virtme": ONLY_IN_QEMU,
    "ssh": ONLY_IN_QEMU | {"pages-swap": "needs swap, which the tested machine lacks"},
}

pytestmark = pytest.mark.kernels


def rules(cell: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, int]]]:
    return {rule: (entry["status"], entry["reason"], entry["probes"]) for rule, entry in cell["rules"].items()}


def test_the_same_kernel_gives_the_same_verdicts_every_way(kernel: GetKernel, tmp_path: Path) -> None:
    """In QEMU, on a root, and over SSH in a guest that virtme-ng booted (`vng --ssh-tcp`); side by side."""
    shipped = (ROOT / "kernels.yaml").read_text()
    with prepared(tmp_path / "vng", kernel("debian-6.12-full", "x86_64"), HUGEPAGES) as theirs:
        profiles = (
            f"\nprofiles:\n  lived-in: {{guest: virtme, memory: 384, swap: 64, hugepages: {HUGEPAGES}}}\n"
            f"  board: {{guest: ssh, host: 127.0.0.1, port: {theirs.port}, user: root, key: {theirs.key}, "
            f"known_hosts: {theirs.known_hosts}, install: {json.dumps(theirs.command)}}}\n"
        )
        (tmp_path / "kernels.yaml").write_text(shipped.replace("\nprofiles:\n", profiles, 1))
        words = ["-k", "debian-6.12-full", "-a", "x86_64", "-p", "standard", "-p", "lived-in", "-p", "board", "-j", "3"]
        for glob in SOME:
            words += ["-r", glob]
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", *words], cwd=tmp_path, capture_output=True, text=True, timeout=900,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("results/*/run.json")
    machines = [cell["machine"] for cell in json.loads(path.read_text())["cells"]]
    assert [machine["guest"] for machine in machines] == ["qemu", "virtme", "ssh"]
    assert len({machine["release"] for machine in machines}) == 1
    assert machines[1]["notes"] == []
    plain, *others = map(rules, json.loads(path.with_name("verdicts.json").read_text())["cells"])
    assert plain.keys() == load_catalogue().keys()
    assert sum(status == "pass" for status, *_ in plain.values()) > 60
    for other, machine in zip(others, machines[1:], strict=True):
        may_differ = MAY_DIFFER[machine["guest"]]
        assert {rule: plain[rule] for rule in may_differ} != {rule: other[rule] for rule in may_differ}
        for rule, found in other.items():
            if rule in may_differ:
                assert found[0] == "skip" and plain[rule][0] in ("pass", "observed"), rule
                assert may_differ[rule] in found[1]
            elif rule == "sealing-changes-nothing":  # asked of the probes of all rules, those that may differ included
                assert found[:2] == plain[rule][:2] == ("pass", "")
            else:
                assert found == plain[rule], (machine["guest"], rule)
