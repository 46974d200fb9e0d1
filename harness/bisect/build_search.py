"""The search over builds: the pure search says which, this fetches and boots them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from harness.bisect.candidates import BisectBuild
from harness.bisect.driver import Driver
from harness.bisect.search import BootPoints, Found, Refused, Search
from harness.bisect.trial_log import Purpose, Trial
from harness.errors import ImageError, KernelUnavailable
from harness.kernels.model import Kernel


def search_builds(steps: Driver, builds: Sequence[BisectBuild], search: Search) -> Found | Refused:
    """Search to the end. Raises ``Interrupted``, ``StoreError``."""
    names = [choice.name for choice in builds]
    numbers = {name: number for number, name in enumerate(names)}
    while True:
        known = {numbers[name]: tally for name, tally in steps.book.tallies(names).items()}
        move = search.move(known, steps.book.boots)
        if not isinstance(move, BootPoints):
            return move
        chosen = [builds[point] for point in move.boots]
        boots = {names[point]: times for point, times in move.boots.items()}
        steps.make(_kernels(steps, chosen, move.purpose, move.left), boots, move.purpose, move.left)


def look_again(steps: Driver, builds: Sequence[BisectBuild]) -> None:
    """Let go of what an earlier sitting saw of kernels that are others now. One that cannot be had at the moment keeps
    its answers: nothing says that it is another."""
    for choice in builds:
        if steps.book.image(choice.name):
            with suppress(KernelUnavailable, ImageError):
                steps.meet(choice.name, choice.get(), "search", None)


def _kernels(steps: Driver, chosen: Sequence[BisectBuild], purpose: Purpose, left: int) -> dict[str, Kernel]:
    """Fetch them; one that cannot be had is a trial without an answer, tried again as often as those. A full disk
    or a missing program is no kernel's fault and ends the search."""
    kernels = {}
    for choice in chosen:
        steps.say(f"fetching {choice.name}", left)
        try:
            kernels[choice.name] = choice.get()
        except (KernelUnavailable, ImageError) as problem:
            steps.note(Trial(choice.name, "", purpose, trouble="no-answer", reason=str(problem)), left)
    return kernels
