"""A payload's records put together as they come, and what stands where no payload writes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.observations.model import (
    Batch,
    Begin,
    End,
    Fact,
    Garbage,
    Observation,
    Plan,
    Printed,
    Record,
    ScenarioEnd,
)


@dataclass(frozen=True)
class Journalled:
    """All that a journal holds. ``notes`` are our own lines in order; ``begun`` keeps the order of beginning.

    ``observations`` are what counts: of a probe that ran among others in one process, and then again alone, the latter.
    ``among_others`` has the former where they had both been taken for good (a sample): they must be the same.
    ``batched`` are those that ran among others only.

    ``doubts`` says by probe why what is told of it cannot be believed: it stands where no payload writes it.
    ``facts``, ``printed`` and ``outcome`` are a scenario's; of facts of one name all are kept (see ``named``).
    """

    plan: Plan | None
    begun: tuple[str, ...]
    observations: Mapping[str, Observation]
    garbage: tuple[Garbage, ...]
    ended: bool
    notes: tuple[Mapping[str, object], ...]
    facts: tuple[Fact, ...] = ()
    printed: tuple[str, ...] = ()
    outcome: ScenarioEnd | None = None
    doubts: Mapping[str, str] = field(default_factory=dict)
    among_others: Mapping[str, Observation] = field(default_factory=dict)
    batched: frozenset[str] = frozenset()

    def lacks(self) -> str:
        """What a journal that is whole has and this one has not, "" for nothing."""
        if self.plan is None:
            return "it has no plan"
        seen = sum(probe in self.observations for probe in self.plan.probes) + (self.outcome is not None)
        if seen < len(self.plan.probes):
            return f"it has {seen} of {len(self.plan.probes)} observations"
        # Where several guests shared a plan none of them came to its end.
        shared = any(note.get("type") == "harness-guest" for note in self.notes)
        return "" if self.ended or shared else "it has no end"


class Collector:
    """Puts records together as they come, live or from a journal."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.begun: dict[str, None] = {}
        self.observations: dict[str, Observation] = {}
        self.garbage: list[Garbage] = []
        self.ended = False
        self.notes: list[Mapping[str, object]] = []
        self.facts: list[Fact] = []
        self.printed: list[str] = []
        self.outcome: ScenarioEnd | None = None
        self.doubts: dict[str, str] = {}
        self.among_others: dict[str, Observation] = {}
        self.batched: set[str] = set()  # what has been observed among others, and not alone
        self._over = False
        self._places: Mapping[str, int] = {}
        self._lanes: dict[int | None, tuple[str, ...]] = {}  # what has begun last in each
        self._alone: dict[int | None, str] = {}  # the probe of a lane's batch that runs again
        self._started: set[str] = set()  # what may not begin (again)
        self._again: tuple[str, ...] = ()  # what a second run of the payload is to observe, alone
        self._awaits_plan = True

    def add(self, record: Record | Garbage) -> None:
        """Take one record. A second plan, or a second observation of a probe, is garbage: the first one stands, and is
        in doubt."""
        for probe, why in self._doubtful(record):
            self.doubts.setdefault(probe, why)
        match record:
            case Plan() if self._awaits_plan:
                self._take_plan(record)
            case Begin() | Batch():
                self._begin(record)
            case Observation() if self._observe(record):
                pass
            case Fact():
                self.facts.append(record)
            case Printed():
                self.printed.append(record.text)
            case ScenarioEnd() if self.outcome is None:
                self.outcome = record
            case End() if not self._over:
                self._over = True
                self.ended = record.probes == self._expected()
            case Garbage():
                self.garbage.append(record)
            case _:
                self.garbage.append(Garbage(0, record.type, "duplicate record"))

    def next_guest(self) -> None:
        """What follows comes from another guest, which has been given the rest of the plan, or a part of that.

        The last batch of the guest before may have reached into it: what that began and did not observe begins again.
        """
        unobserved = self.unobserved()
        self._started -= unobserved
        self.batched -= unobserved
        self._lanes.clear()

    def again(self, probes: Iterable[str]) -> None:
        """The payload runs a second time, for these probes alone. Only what it sees then counts.

        Nobody asks that for a probe that has been alone.
        """
        self._again = tuple(probes)
        for probe in self._again:
            if probe not in self.batched:
                self.doubts.setdefault(probe, "it was asked again although it had been alone")
        self._started.difference_update(self._again)
        self.batched.difference_update(self._again)
        self.ended = self._over = False
        self._awaits_plan = True
        self._lanes.clear()
        self._alone.clear()
        for probe in self._again:
            self.observations.pop(probe, None)

    def running(self, record: Begin | Batch) -> tuple[str, ...]:
        """The probes that begin."""
        place = self._places.get(record.probe)
        if isinstance(record, Begin) or self.plan is None or place is None:
            return (record.probe,)
        return self.plan.probes[place : place + max(1, record.probes)]

    def unobserved(self) -> set[str]:
        """What has begun in the lanes and was not observed yet."""
        return {probe for running in self._lanes.values() for probe in running} - self.observations.keys()

    def _take_plan(self, plan: Plan) -> None:
        self._awaits_plan = False
        if self.plan is None:
            self.plan = plan
            self._places = {probe: place for place, probe in enumerate(plan.probes)}

    def _begin(self, record: Begin | Batch) -> None:
        if self._runs_again(record):
            self._alone[record.lane] = record.probe
            self.batched.discard(record.probe)
            return
        running = self.running(record)
        if why := self._out_of_turn(record, running):
            self.garbage.append(Garbage(0, record.probe, why))
        self.begun.update(dict.fromkeys(running))
        self._started.update(running)
        self._lanes[record.lane] = running
        self._alone.pop(record.lane, None)
        if isinstance(record, Batch):
            self.batched.update(running)

    def _runs_again(self, record: Begin | Batch) -> bool:
        """Whether it is one of the lane's batch that has not run again yet, now alone."""
        among = self._lanes.get(record.lane, ())
        return isinstance(record, Begin) and len(among) > 1 and record.probe in among and record.probe in self.batched

    def _observe(self, record: Observation) -> bool:
        """Take an observation; False for one that is said a second time."""
        known = self.observations.get(record.probe)
        if (known is not None) != record.again or record.probe in self.among_others:
            return False
        if known is not None:
            self.among_others[record.probe] = known
        self.observations[record.probe] = record
        return True

    def _expected(self) -> int:
        """How many observations the payload that ends now must have written."""
        seen = [p for p in self._again if p in self.observations] if self._again else self.observations
        return len(seen) + (self.outcome is not None)

    def _doubtful(self, record: Record | Garbage) -> Iterator[tuple[str, str]]:
        """The probes of which a record says something where no payload says it, and what is wrong."""
        planned = self._again or (self.plan.probes if self.plan else ())
        running = next(reversed(self._lanes.values()), planned)[-1:]
        match record:
            case Plan():
                yield from self._doubtful_plan(record)
            case End():
                yield from self._doubtful_end(planned)
            case Begin() | Batch():
                yield from self._doubtful_begin(record)
            case Observation():
                yield from self._doubtful_observation(record)
            case ScenarioEnd() if self.outcome is not None or not self._runs(record.probe):
                yield record.probe, "it has an outcome although it was not running"
            case Fact() | Printed() if self.outcome is not None or not self._lanes:
                yield from ((probe, "it has a record although it was not running") for probe in running)
        if self._over and isinstance(record, Begin | Batch | Observation | ScenarioEnd | Fact | Printed):
            told = self.running(record) if isinstance(record, Batch) else (getattr(record, "probe", ""),)
            yield from ((probe, "it follows the end") for probe in (told if told != ("",) else running))

    def _doubtful_plan(self, plan: Plan) -> Iterator[tuple[str, str]]:
        whole = self.plan.probes if self.plan else ()
        if not self._awaits_plan or (self.begun and not self._again):
            yield from ((probe, "the plan is not the first record") for probe in (*whole, *plan.probes))
        elif self._again and plan.probes != self._again:
            yield from ((probe, "the second plan is another one") for probe in (*self._again, *plan.probes))

    def _doubtful_end(self, planned: Sequence[str]) -> Iterator[tuple[str, str]]:
        if self._over:
            yield from ((probe, "there is a duplicate end") for probe in planned)
            return
        seen = {*self.observations, self.outcome.probe if self.outcome else ""}
        yield from ((probe, "the end comes before it") for probe in planned if probe not in seen)

    def _doubtful_begin(self, record: Begin | Batch) -> Iterator[tuple[str, str]]:
        if self._runs_again(record):
            return
        begins = self.running(record)
        for probe in begins:
            if probe in self._started:
                yield probe, "duplicate begin"
        if why := self._out_of_turn(record, begins):
            yield from ((probe, why) for probe in begins)

    def _doubtful_observation(self, seen: Observation) -> Iterator[tuple[str, str]]:
        if (seen.probe in self.observations) != seen.again or seen.probe in self.among_others:
            yield seen.probe, "duplicate observation"
        elif not self._runs(seen.probe) or (seen.again and seen.probe not in self._alone.values()):
            yield seen.probe, "it is observed although it was not running"

    def _runs(self, probe: str) -> bool:
        return any(probe in running for running in self._lanes.values())

    def _out_of_turn(self, record: Begin | Batch, running: Sequence[str]) -> str:
        """Why these probes may not begin now, or "": a lane keeps to the plan's order and ends all before the next."""
        lane, last = record.lane, self._lanes.get(record.lane, ())
        if self.plan is None or record.probe not in self._places or (self._again and record.probe not in self._again):
            return "begun but not planned"
        if isinstance(record, Batch) and len(running) != record.probes:
            return f"begun as {record.probes} probes, and the plan has {len(running)}"
        if lane is not None and not 0 <= lane < self.plan.lanes:
            return f"begun in lane {lane} of {self.plan.lanes}"
        if last and self._places[record.probe] <= self._places.get(last[-1], -1):
            return f"begun after {last[-1]}, which the plan has later"
        if missing := next((probe for probe in last if probe not in self.observations), None):
            return f"begun before {missing} was observed"
        return ""

    def journalled(self) -> Journalled:
        """Everything so far, frozen."""
        return Journalled(
            plan=self.plan,
            begun=tuple(self.begun),
            observations=dict(self.observations),
            garbage=tuple(self.garbage),
            ended=self.ended,
            notes=tuple(self.notes),
            facts=tuple(self.facts),
            printed=tuple(self.printed),
            outcome=self.outcome,
            doubts=dict(self.doubts),
            among_others=dict(self.among_others),
            batched=frozenset(self.batched),
        )
