"""Reproducers: their text, compiled and run on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.model.rule import ProbeName
from harness.payload.build import probe_list, trace
from harness.reproducer.program import reproducer
from harness.reproducer.trace import parse_trace
from harness.reproducer.written import written
from harness.rules.load import load_catalogue

UNSEALED = """\
#undef SYS_mseal
#define SYS_mseal SYS_getpid /* answers, and seals nothing */

static int broken;
"""
RULES = load_catalogue()
PROBES = {p.id: ProbeName(p.operation, p.region, p.span, p.layout) for p in probe_list()}


def compiled_and_run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    source, compiled = folder / "reproducer.c", folder / "program"
    source.write_text(text)
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", compiled, source], check=True)
    return subprocess.run([compiled], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def text_of(rule: str) -> str:
    probe, _ = written()[rule]
    return reproducer(RULES[rule], PROBES[probe], parse_trace(trace(probe)))
