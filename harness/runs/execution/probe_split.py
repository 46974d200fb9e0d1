"""The probes of one cell among the guests that observe it, in the order of the plan. Pure, but for its lock.

A cell begins with one guest that is to observe everything. A further one takes over the later half of what the guest
with the most left to do has not begun, at the moment in which it is ready to run; that guest ends where the other
begins.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

# A share of fewer probes is not worth the trouble.
_FEWEST = 8


@dataclass
class Share:
    """The probes ``begin`` to ``end`` of the plan; ``at`` is the next that has not begun. ``over`` once its guest has
    ended, however that was."""

    number: int
    begin: int
    end: int
    at: int
    over: bool = False

    @property
    def left(self) -> int:
        """Probes that have not begun."""
        return 0 if self.over else max(0, self.end - self.at)


class Shares:
    """All shares of one cell; from any thread."""

    def __init__(self, planned: Sequence[str]) -> None:
        self._places = {probe: place for place, probe in enumerate(planned)}
        self._shares = [Share(1, 0, len(planned), 0)]
        self._lock = threading.Lock()
        # Further guests that boot, and will ask for a share; and that one was of no use, so that no other should come.
        self.coming = 0
        self.declined = False

    @property
    def first(self) -> Share:
        """That of the guest the cell began with."""
        return self._shares[0]

    def all(self) -> tuple[Share, ...]:
        """In the order of the plan."""
        with self._lock:
            return tuple(sorted(self._shares, key=lambda share: share.begin))

    def most_left(self) -> int:
        """How many probes the guest with the most left to do has not begun."""
        with self._lock:
            return max(share.left for share in self._shares)

    def begins(self, share: Share, probe: str) -> bool:
        """A probe begins in a share's guest. False when another guest has it: this one's work is done."""
        place = self._places.get(probe)
        with self._lock:
            if place is None:
                return True  # whoever reads the stream will complain
            if place >= share.end:
                share.over = True
                return False
            share.at = place + 1
            return True

    def invite(self) -> None:
        """One more guest has begun to boot."""
        with self._lock:
            self.coming += 1

    def decline(self) -> None:
        """It did not come up."""
        with self._lock:
            self.coming -= 1
            self.declined = True

    def split(self) -> Share | None:
        """A share for one more guest, which is up; None when there is too little left."""
        with self._lock:
            self.coming -= 1
            largest = max(self._shares, key=lambda share: share.left)
            if largest.left < 2 * _FEWEST:
                self.declined = True
                return None
            middle = largest.end - largest.left // 2
            share = Share(1 + max(other.number for other in self._shares), middle, largest.end, middle)
            largest.end = middle
            self._shares.append(share)
            return share

    def end(self, share: Share) -> bool:
        """A share's guest has ended. False when it began nothing and the guest before it goes on in its place."""
        with self._lock:
            share.over = True
            before = next((other for other in self._shares if other.end == share.begin and other is not share), None)
            if share.at > share.begin or before is None or before.over:
                return True
            before.end = share.end
            self._shares.remove(share)
            return False


class Pace:
    """How fast a cell's own guest gets on, which is how fast another one would."""

    # Below this many probes a pace is no pace.
    _ENOUGH = 16

    def __init__(self, shares: Shares) -> None:
        self.shares = shares
        self._boot = self._started = self._latest = 0.0

    def starts(self, boot_seconds: float) -> None:
        """The guest is up and begins to probe."""
        self._boot, self._started = boot_seconds, time.monotonic()

    def begins(self, probe: str) -> bool:
        """See ``Shares.begins``, for the cell's own guest."""
        self._latest = time.monotonic()
        return self.shares.begins(self.shares.first, probe)

    def gain(self) -> float:
        """Seconds by which the cell would end earlier with one more guest; 0 while nothing can be said.

        Two guests halve what is left, but one of them has to boot first.
        """
        first = self.shares.first
        begun = first.at - first.begin
        if begun < self._ENOUGH:
            return 0.0
        each = (self._latest - self._started) / begun
        return max(0.0, (self.shares.most_left() * each - self._boot) / 2)
