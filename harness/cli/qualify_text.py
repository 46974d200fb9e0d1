"""A qualification on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.qualify.evidence import SUMS
from harness.qualify.model import Met, PolicyCheck, Use
from harness.qualify.report import Dossier, candidate_causes, named
from harness.reports.style import Page
from harness.runs.causes import command_line

_IN, _DEEP = 2, 6
_EVIDENCE = 3
_STYLES: Mapping[Met, tuple[str, str]] = {
    "met": ("✓", "green"),
    "waived": ("≈", "yellow"),
    "not met": ("✗", "bold red"),
}
_USES: Mapping[Use, str] = {"used": "yellow", "stale": "bold yellow", "expired": "bold red", "not needed": "dim"}


def print_qualification(console: Console, dossier: Dossier, folder: Path, seal: str) -> None:
    """Print the checks, what deviates, the waivers, and the verdict last."""
    page, found = Page(console), dossier.qualification
    page.line(f"{found.policy.title}: {named(dossier.candidate)} against {named(dossier.baseline)}", style="bold")
    for cause in candidate_causes(dossier):
        page.line(f"{page.ink.safe('✗')} {cause.sentence}", _IN, "bold red")
        for line in cause.evidence():
            page.line(line, _DEEP)
        for command in cause.commands:
            page.whole(command_line(command), _DEEP)
    for check in found.checks:
        _check(page, check)
    if found.waivers:
        page.head("Waivers")
    for use in found.waivers:
        waiver = use.waiver
        what = f"{use.use}: {waiver.rule} on {', '.join(waiver.kernels)} until {waiver.expires} ({waiver.owner})"
        page.line(
            f"{what}{'; the rule holds again, so the waiver can be removed' if use.use == 'stale' else ''}",
            _IN,
            _USES[use.use],
        )
    for title, lines in (
        ("Expected differences", [f"{a.rule} on {a.cell}: {a.says} ({a.reason})" for a in found.allowed]),
        ("Known differences", found.known),
        ("Outside the policy", found.outside),
    ):
        if lines:
            page.head(title)
        for line in lines:
            page.line(line, _IN)
    page.blank()
    style = {"qualified": "bold green", "qualified with waivers": "bold yellow"}.get(found.verdict, "bold red")
    page.line(found.verdict, style=style)
    for text in (str(folder / "report.html"), f"sha256 of its {SUMS}: {seal}"):
        console.print(Text(page.ink.safe(text)), soft_wrap=True)


def configured_otherwise(check: PolicyCheck) -> Mapping[str, Sequence[str]]:
    """Rules that deviate only because the kernel was configured otherwise, by what they need."""
    found: dict[str, list[str]] = {}
    for deviation in check.deviations:
        if deviation.configuration:
            excuse = f" (excused until {deviation.waiver.expires})" if deviation.waiver else ""
            found.setdefault(deviation.configuration, []).append(f"{deviation.rule} on {deviation.cell}{excuse}")
    return found


def _check(page: Page, check: PolicyCheck) -> None:
    glyph, style = _STYLES[check.met]
    says = f" ({check.says})" if check.says else ""
    page.line(f"{page.ink.safe(glyph)} {check.title}{says}", _IN, style)
    for needs, rules in configured_otherwise(check).items():
        page.line(f"configured otherwise, {needs}: {', '.join(rules)}", _DEEP)
    for deviation in check.deviations:
        if deviation.configuration:
            continue
        excuse = f"; excused until {deviation.waiver.expires}: {deviation.waiver.reason}" if deviation.waiver else ""
        page.line(f"{deviation.rule} on {deviation.cell} {deviation.says}{excuse}", _DEEP)
        for line in deviation.evidence[:_EVIDENCE]:
            page.line(line, _DEEP + _IN, "dim")
