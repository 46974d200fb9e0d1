"""A policy to begin with, and a waiver for each thing that a first judgement did not accept, to be filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.names import printable
from harness.qualify.policy import Excuse
from harness.qualify.report import Dossier, named

SAMPLE = Path(__file__).parent / "sample-policy.yaml"
FILL_IN = "FILL IN"
Word = TypeVar("Word")


@dataclass(frozen=True)
class DraftWaiver:
    """A waiver without the words that only a person can give; ``says`` is what it would excuse."""

    rule: str
    kernels: tuple[str, ...]
    architectures: tuple[str, ...]
    excuses: tuple[Excuse, ...]
    says: str


EXAMPLE = DraftWaiver("mremap-mixed", ("debian-7.3*", "7.3.*"), ("arm64",), ("wrong-errno",), "an example")


def draft_waivers(dossier: Dossier) -> tuple[DraftWaiver, ...]:
    """One for each rule of which something is not excused yet, in the order of the checks."""
    sides = {side.cell: side for side in dossier.candidate.sides}
    found: dict[str, DraftWaiver] = {}
    for check in dossier.qualification.checks:
        for one in check.deviations:
            if one.waiver is not None:
                continue
            side = sides[one.cell]
            old = found.get(one.rule, DraftWaiver(one.rule, (), (), (), one.says))
            found[one.rule] = DraftWaiver(
                one.rule,
                _with(old.kernels, side.kernel),
                _with(old.architectures, side.arch),
                _with(old.excuses, one.what),
                old.says,
            )
    return tuple(found.values())


def _with(known: tuple[Word, ...], new: Word) -> tuple[Word, ...]:
    return known if new in known else (*known, new)


def draft_policy(architectures: Sequence[str], dossier: Dossier | None = None) -> str:
    """The sample policy, for these architectures. Its waivers are comments: none is in force before a person has taken
    away the marks, and one whose last day is not filled in is refused."""
    text = SAMPLE.read_text(encoding="utf-8").partition("waivers: []")[0]
    text = re.sub(r"(?m)^title: .*$", "title: Our kernels  # fill in: a sentence for the report's head", text)
    text = re.sub(r"(?m)^architectures: .*$", f"architectures: [{', '.join(architectures)}]", text)
    drafts: Iterable[DraftWaiver] = (EXAMPLE,)
    why = ["# A waiver to fill in: take away `[]` and the marks of comment."]
    if dossier is not None:
        drafts = draft_waivers(dossier)
        sides = f"{named(dossier.candidate)} against {named(dossier.baseline)}"
        why = [
            f"# What this policy does not accept of {sides}. To excuse something, take away `[]`",
            "# and the marks of comment, and fill in why, who answers for it, and until when.",
        ]
        if not drafts:
            unmet = [check.title for check in dossier.qualification.checks if check.met == "not met"]
            why = [f"# No waiver is needed: {sides} is {dossier.qualification.verdict}."]
            if unmet:
                why = [f"# What is not met for {sides} no waiver excuses:", *(f"#   {title}" for title in unmet)]
    return text + "\n".join(["waivers: []", *why, *(line for draft in drafts for line in _lines(draft))]) + "\n"


def _lines(draft: DraftWaiver) -> Iterable[str]:
    """One waiver as comments. Words of a run stand in quotes and on one line, whatever is in them."""
    yield f"#  # {printable(draft.says)[:160]}"
    yield f"#  - rule: {draft.rule}"
    yield f"#    kernels: {json.dumps(draft.kernels)}"
    yield f"#    architectures: [{', '.join(draft.architectures)}]"
    yield f"#    excuses: [{', '.join(draft.excuses)}]"
    yield f"#    reason: {FILL_IN}"
    yield f"#    owner: {FILL_IN}"
    yield f"#    expires: {FILL_IN}  # the last day it holds on, such as 2027-01-31"
