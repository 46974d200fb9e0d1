"""Which programs are run, in which order. Everything follows from the seed, and from what the programs before it saw.

*Exhaustive*: everything that can be taken back is done to sealed memory and taken back, on every pair of ranges;
everything that lasts happens to it, alone and two at a time, and then everything that has to be refused is tried;
every layout of up to ``EXHAUSTIVE_UNITS`` units over {plain, sealed} x {rw, r, none}, mirrored ones once, with every
range and every operation; in an order shuffled by the seed, so that a short run sees a fair part of it. What the
model says is refused leaves no trace, so several such steps share a program. *Random*: windows and steps by weight,
often on ranges that have to do with one another; *guided*: those that came through abstract states not seen before
are kept and changed further.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from harness.explore.fixed_sorts import (
    attached,
    files,
    filling,
    growing,
    hindered,
    holes,
    keyed,
    lengths,
    positions,
    whole_tables,
)
from harness.explore.operations import by_name
from harness.explore.pasts import pasts
from harness.explore.program import FLAGS, Program
from harness.explore.random_programs import Random
from harness.explore.sorts import (
    consequences,
    exhaustive,
    in_turn,
    pairs,
    there_and_back,
    traits_together,
)
from harness.explore.templates import EXHAUSTIVE_UNITS
from harness.explore.wire import encode

BATCH = 1024
_WHOLE_PROCESS = frozenset({by_name("fork").number, by_name("mlockall").number})


def whole_process_first(programs: Sequence[Program], chunk: int) -> list[Program]:
    """The same programs, each chunk beginning with its share of those that fork or lock all memory.

    The programs of a chunk share a process, and what they sealed cannot be unmapped: a fork copies all that the
    programs before it left. Behind 30 of them it costs as much as a whole program without a fork.
    """
    wide = [program for program in programs if any(step.op in _WHOLE_PROCESS for step in program.steps)]
    others = iter([program for program in programs if all(step.op not in _WHOLE_PROCESS for step in program.steps)])
    chunks = max(1, -(-len(programs) // chunk))
    ordered: list[Program] = []
    for number in range(chunks):
        mine = wide[number::chunks]
        ordered += [*mine, *itertools.islice(others, max(0, chunk - len(mine)))]
    return [*ordered, *others]


class Drawn(NamedTuple):
    """A batch, and those of its programs that are exhaustive, as they are listed."""

    programs: list[Program]
    exhaustive: list[Program]


def _sorts(rng: random.Random) -> tuple[Iterator[Program], ...]:
    """The sorts of which one each is taken in turn."""
    return (
        positions(),
        there_and_back(rng),
        traits_together(rng),
        consequences(rng),
        growing(),
        hindered(),
        filling(),
        attached(),
        keyed(),
        holes(),
        pasts(rng),
        files(),
        whole_tables(),
        lengths(),
    )


class ProgramSource:
    """Where a run's programs come from: so many of each batch from what is exhaustive, as long as there is any.

    ``batches`` and ``exhausted`` say how far an earlier run came, which this one goes on from. What that one had kept
    to be changed further, and the windows it had drawn, are not there any more. Where ``at`` is
    not what that run said, the list was another one.
    """

    def __init__(self, seed: int, *, batches: int = 0, exhausted: int = 0) -> None:
        self.seed = seed
        self.random = Random(seed)
        rng = random.Random(f"exhaustive {seed}")
        self._exhaustive = itertools.chain(
            exhaustive(1, rng),
            in_turn(*_sorts(rng)),
            exhaustive(2, rng),
            pairs(3, rng),
            exhaustive(3, rng),
            exhaustive(4, rng),
            exhaustive(EXHAUSTIVE_UNITS, rng),
        )
        self.batches = batches
        self.exhausted, self._passed = 0, hashlib.sha256()
        self._pass_over(itertools.islice(self._exhaustive, exhausted))
        self.digest = hashlib.sha256()
        self._prepared = Drawn([], [])

    def _pass_over(self, exhaustive: Iterable[Program]) -> None:
        for program in exhaustive:
            self.exhausted += 1
            self._passed.update(encode(program))

    @property
    def at(self) -> str:
        """What the exhaustive programs were that have been asked for; "" for none."""
        return self._passed.hexdigest()[:16] if self.exhausted else ""

    @property
    def next_size(self) -> int:
        """How many programs a run's next batch has: the first four are small."""
        return BATCH if self.batches > 3 else BATCH // 4

    def batch(self, size: int, chunk: int) -> list[Program]:
        """The next programs: half exhaustive, the rest random; one chunk among a crowd of mappings.

        They are those that ``prepare`` drew, where it did.
        """
        self.prepare(size, chunk)
        programs, exhaustive = self._prepared
        self._prepared = Drawn([], [])
        self.batches += 1
        self._pass_over(exhaustive)
        self.digest.update(b"".join(map(encode, programs)))
        return programs

    def prepare(self, size: int, chunk: int) -> None:
        """Draw the next batch from what has been learned until now. It counts only when it is asked for."""
        if not self._prepared.programs:
            self.random.begin(self.batches)
            self._prepared = self._draw(size, chunk)

    def _draw(self, size: int, chunk: int) -> Drawn:
        exhaustive = list(itertools.islice(self._exhaustive, size // 2))
        programs = [*exhaustive]
        while len(programs) < size:
            programs.append(self.random.program())
        programs = whole_process_first(programs, chunk)
        at = chunk * self.random.below(-(-size // chunk))
        programs[at : at + chunk] = [replace(p, flags=p.flags | FLAGS["crowd"]) for p in programs[at : at + chunk]]
        return Drawn(programs, exhaustive)
