"""A mutant: one deliberate defect of the sealing code, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

DefectKind = Literal[
    "bypass",
    "sealing",
    "lost-seal",
    "atomicity",
    "over-blocking",
    "wrong-errno",
    "arguments",
    "interface",
    "hang",
    "deep",
    "real",
    "mechanical",
]
KINDS: tuple[DefectKind, ...] = (
    "bypass",
    "sealing",
    "lost-seal",
    "atomicity",
    "over-blocking",
    "wrong-errno",
    "arguments",
    "interface",
    "hang",
    "deep",
    "real",
)
"""The kinds of the catalogue, each a file; ``mechanical`` mutants are made from the tree."""
EditPlace = Literal["put", "before", "after"]
KernelSeries = tuple[int, int]
"""A kernel series, (6, 12)."""


@dataclass(frozen=True)
class Edit:
    """One change of one file.

    ``find`` is looked for with any white space between its words, inside the definitions whose first line holds
    ``scope`` (anywhere when empty), and must be there exactly once. ``text`` is put in its place, before or after it.
    """

    file: str
    scope: str
    find: str
    place: EditPlace
    text: str


@dataclass(frozen=True)
class Mutant:
    """A defect. ``breaks`` are clauses of the contract (``Rule.contract``) that ought to notice.

    ``edits`` maps the series from which on a variant holds to its edits; ``absent`` the series of which the defect
    makes no sense to the reason. ``equivalent`` says of variants that no suite can tell from the original, why.
    ``arches`` is empty for all. ``fragments`` are those of ours without which the defect is in no kernel, or shows in
    none.
    """

    id: str
    kind: DefectKind
    what: str
    breaks: tuple[str, ...]
    edits: Mapping[KernelSeries, tuple[Edit, ...]]
    absent: Mapping[KernelSeries, str] = field(default_factory=dict)
    arches: tuple[str, ...] = ()
    fragments: tuple[str, ...] = ()
    equivalent: Mapping[KernelSeries, str] = field(default_factory=dict)

    def variant(self, series: KernelSeries, arch: str, fragments: Collection[str] = ()) -> tuple[Edit, ...] | str:
        """The edits for a tree of ``series``, or the reason why there are none; ``fragments`` are built in."""
        if self.arches and arch not in self.arches:
            return f"only on {' and '.join(self.arches)}"
        if lacking := [name for name in self.fragments if name not in fragments]:
            return f"needs a kernel built with --fragment {' --fragment '.join(lacking)}"
        newest = self._newest(series)
        if newest is None:
            oldest = min((*self.edits, *self.absent))
            return f"written for {oldest[0]}.{oldest[1]} and later"
        return self.edits[newest] if newest in self.edits else self.absent[newest]

    def why_equivalent(self, series: KernelSeries) -> str:
        """Why no suite can tell a kernel of ``series`` from the original; "" when one ought to."""
        newest = self._newest(series)
        return self.equivalent.get(newest, "") if newest else ""

    def _newest(self, series: KernelSeries) -> KernelSeries | None:
        return max((s for s in (*self.edits, *self.absent) if s <= series), default=None)

    def digest(self, series: KernelSeries, arch: str) -> str:
        """Sixteen hex digits that change with what would be done to a tree."""
        return hashlib.sha256(repr((self.id, self.variant(series, arch, self.fragments))).encode()).hexdigest()[:16]

    @property
    def told(self) -> Mapping[str, object]:
        """What a record keeps of it, beside its id: nothing where the catalogue has it."""
        return {}

    @property
    def files(self) -> frozenset[str]:
        """Every file any variant touches, relative to the tree."""
        return frozenset(edit.file for edits in self.edits.values() for edit in edits)
