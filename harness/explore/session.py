"""One kernel explored: batches until the time is over, every alarm repeated before it counts, findings made small."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from harness.errors import GuestError, LostGuest
from harness.explore.covered import ReachedCode
from harness.explore.executor import CHUNK, BatchPlan, Executor
from harness.explore.exploration import Exploration, ExploreFinding
from harness.explore.guest import BootGuest, ProgramGuest
from harness.explore.judge import Judged, ProgramJudge, left_out
from harness.explore.known import KnownBug, load_known
from harness.explore.operations import OPERATIONS
from harness.explore.oracles import StepProblem
from harness.explore.program import Program
from harness.explore.reports import ReportTrials
from harness.explore.shrink import SHRINK_SECONDS, shrink
from harness.explore.source import ProgramSource
from harness.explore.suspects import Suspect, length, same_problem, with_causes
from harness.explore.wire import ProgramFacts, encode
from harness.guests.console import Crash, plain_title
from harness.guests.console_lines import DROPPED_WORDS

_EXAMPLES = 3  # programs of one sort of alarm that are looked into
_TWIN_TOO = 2
_REPORTS = 8  # of the kernel, so many different ones are looked into
_MAY_HAVE_NO_ROOM = 0.1  # of the programs


OnMessage = Callable[[str], None]


class Explorer:
    """Explores one kernel. ``boot`` gives a guest that has booted; a lost one is replaced by another.

    With ``first_only`` the first finding ends it, and is not made small. ``known`` are bugs whose steps are looked
    for in what is found. With ``covered``, programs that come to new code of the kernel are kept, too: it needs KCOV.
    """

    def __init__(
        self,
        boot: BootGuest,
        payload: bytes,
        on_progress: OnMessage,
        *,
        deadline_ms: int = 20_000,
        first_only: bool = False,
        known: Sequence[KnownBug] | None = None,
        covered: ReachedCode | None = None,
    ) -> None:
        self._guest = ProgramGuest(boot, payload, deadline_ms)
        self._on_progress = on_progress
        self._first_only = first_only
        self._reports = ReportTrials(self._guest, lambda programs: self.run(programs, chunk=1), first_only=first_only)
        self._judge = ProgramJudge()
        self._known = load_known() if known is None else known
        self._asked: Counter[int] = Counter()
        self._covered = covered
        self.plan: BatchPlan | None = None

    def stop(self) -> None:
        """End the guest."""
        self._guest.stop()

    def executor(self) -> Executor:
        """One that is alive."""
        return self._guest.executor()

    # ------------------------------------------------------------------ running and judging

    def run(
        self,
        programs: Sequence[Program],
        *,
        chunk: int = CHUNK,
        seen: bytes = b"",
        meanwhile: Callable[[], None] | None = None,
    ) -> list[tuple[Judged, ProgramFacts | None]]:
        """Run a batch and judge it, in the order of the programs. Raises ``LostGuest``.

        ``meanwhile`` is called once, when the guest is at work.
        """
        judged: list[tuple[Judged, ProgramFacts | None]] = [(Judged((), (), asked=False), None)] * len(programs)
        step_bytes = [[step.to_bytes() for step in program.steps] for program in programs]
        executor = self.executor()
        for index, facts in executor.run([encode(program) for program in programs], chunk=chunk, seen=seen):
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            judged[index] = self._judge.judge(programs[index], step_bytes[index], facts), facts
        self.plan = executor.plan
        return judged

    def explore(
        self, source: ProgramSource, seconds: float, outcome: Exploration, corpus: Sequence[Program] = ()
    ) -> Exploration:
        """Run the corpus, then batches of ``source`` until ``seconds`` are over; fills ``outcome``."""
        self.executor()  # booting is no part of exploring
        begun = time.monotonic()
        first = list(corpus)
        programs: Sequence[Program] = ()
        while first or time.monotonic() - begun < seconds:
            if self._first_only and outcome.findings:
                break
            of_corpus = bool(first)
            programs = first or source.batch(source.next_size, CHUNK)
            first = []
            try:
                ahead = partial(source.prepare, source.next_size, CHUNK)
                self.batch(programs, source, outcome, of_corpus=of_corpus, meanwhile=ahead)
            except GuestError as lost:
                self.lost(programs, lost, outcome)
                if outcome.lost:
                    break
            if self.plan is not None and self.plan.mseal:
                break
            outcome.reached(source, time.monotonic() - begun)
            self._on_progress(f"{outcome.programs} programs, {outcome.states} states, {len(outcome.findings)} findings")
        if self._covered is not None and outcome.judged and not self._covered.pairs and not outcome.lost:
            outcome.lost = "no program ran any block of instrumented code, so nothing is known of its coverage"
        self.finish(programs, outcome)
        outcome.seconds = time.monotonic() - begun
        return outcome

    def batch(
        self,
        programs: Sequence[Program],
        source: ProgramSource | None,
        outcome: Exploration,
        *,
        of_corpus: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[ProgramFacts | None]:
        """Run and judge a batch, and look into what is suspicious; ``source`` learns from it. Raises ``GuestError``."""
        results = self.run(programs, seen=self._covered.seen if self._covered else b"", meanwhile=meanwhile)
        if self.plan is not None and self.plan.mseal:
            return [facts for _, facts in results]  # nothing was sealed, so there is nothing to judge
        outcome.programs += len(programs)
        if self._covered and source is not None:
            for index in self._covered.take(self.executor().pairs):
                source.random.keep(programs[index])
            outcome.pairs = len(self._covered.pairs)
        suspects: list[Suspect] = []
        for index, (program, (judged, facts)) in enumerate(zip(programs, results, strict=True)):
            outcome.judged += judged.asked
            for step in program.steps[: len(judged.states)]:
                self._asked[step.op] += 1
            outcome.steps += len(program.steps)
            if judged.states and source is not None:
                source.random.learn(program, judged.states)
            for what in judged.recorded:
                count, example = outcome.recorded.get(what, (0, program))
                outcome.recorded[what] = count + 1, min(example, program, key=length)
            if judged.problems:
                suspects.append(Suspect(index, program, judged.problems[0], facts))
            elif of_corpus and judged.asked:
                outcome.well += (str(program),)
        outcome.asked = {OPERATIONS[op].name: times for op, times in sorted(self._asked.items())}
        self._hear(programs, outcome)
        for suspect in with_causes(suspects, self._known, lambda programs: self.run(programs, chunk=1)):
            if self._first_only and outcome.findings:
                break
            self._suspect(programs, suspect, outcome)
        if suspects:
            self._hear(programs, outcome, repeated=True)
        return [facts for _, facts in results]

    # ------------------------------------------------------------------ alarms

    def _suspect(self, programs: Sequence[Program], suspect: Suspect, outcome: Exploration) -> None:
        problem, program, facts = suspect.problem, suspect.program, suspect.facts
        name = f"{problem.oracle}/{problem.operation}" + (f" ({suspect.cause})" if suspect.cause else "")
        outcome.alarms[name] = outcome.alarms.get(name, 0) + 1
        alike = [f for f in outcome.findings if f.cause == suspect.cause and f.problem.oracle == problem.oracle]
        if suspect.cause and alike:
            return  # one bug shows in many calls
        if outcome.alarms[name] > _EXAMPLES and any(f.problem.same == problem.same for f in alike):
            return
        if outcome.alarms[name] > 10 * _EXAMPLES:
            if not any(f.problem.same == problem.same for f in outcome.findings):
                outcome.lost = (
                    outcome.lost or f"{name}: of {10 * _EXAMPLES} alarms none came again; more are unexplained"
                )
            return
        doubted = problem.oracle == "same-as-twin" and problem.step >= 0
        if doubted and facts is not None and left_out(facts, problem.step):
            steps = list(program.steps)
            steps[problem.step] = steps[problem.step]._replace(by=steps[problem.step].by | _TWIN_TOO)
            program = program.with_steps(steps)
        finding = self._confirm(program, programs[suspect.index - suspect.index % CHUNK : suspect.index], problem)
        if finding is None:
            outcome.unconfirmed.append((problem, program))
            return
        if any(bug.id == suspect.cause and self._needs(bug, finding) for bug in self._known):
            finding = replace(finding, cause=suspect.cause)
        if not any(f.problem.same == problem.same and f.program == finding.program for f in outcome.findings):
            outcome.findings.append(finding)
            self._on_progress(f"found: {problem.oracle}: {problem.text}")

    def _needs(self, bug: KnownBug, finding: ExploreFinding) -> bool:
        """Whether a finding shows with the steps of a known bug, and not without them, both times."""

        def shown(program: Program) -> bool:
            judged, _ = self.run([*finding.company, program], chunk=CHUNK if finding.company else 1)[-1]
            return same_problem(judged, finding.problem) is not None

        return bug.involved(finding.program) and all(
            shown(finding.program) and not shown(bug.without(finding.program)) for _ in range(2)
        )

    def _confirm(self, program: Program, before: Sequence[Program], problem: StepProblem) -> ExploreFinding | None:
        """Repeat alone in fresh processes; where that shows nothing, in a fresh process with what ran before it."""
        shown = [same_problem(judged, problem) for judged, _ in self.run([program] * 3, chunk=1)]
        if sum(map(bool, shown)) >= 2 and self._first_only:
            return ExploreFinding(problem, program, program)
        if sum(map(bool, shown)) >= 2:
            small = self._shrunk(program, problem)
            final = next(
                (p for judged, _ in self.run([small] * 2, chunk=1) if (p := same_problem(judged, problem))), None
            )
            return ExploreFinding(final or problem, small if final else program, program)
        company = [*before, program]
        shown = [same_problem(self.run(company)[-1][0], problem) for _ in range(2)]
        if not all(shown):
            return None
        company_left = tuple(before if self._first_only else self._less_company(before, program, problem))
        return ExploreFinding(shown[-1] or problem, program, program, company_left)

    def _shrunk(self, program: Program, problem: StepProblem) -> Program:
        until = time.monotonic() + SHRINK_SECONDS

        def shows(candidates: Sequence[Program]) -> list[bool]:
            if time.monotonic() > until:
                return [False] * len(candidates)
            return [bool(same_problem(judged, problem)) for judged, _ in self.run(candidates, chunk=1)]

        return shrink(program, shows)

    def _less_company(self, before: Sequence[Program], program: Program, problem: StepProblem) -> list[Program]:
        kept, until = list(before), time.monotonic() + SHRINK_SECONDS
        part = len(kept) // 2
        while part and time.monotonic() < until:
            for at in range(0, len(kept), part):
                fewer = kept[:at] + kept[at + part :]
                if same_problem(self.run([*fewer, program], chunk=CHUNK)[-1][0], problem):
                    kept = fewer
                    break
            else:
                part //= 2
            part = min(part, len(kept))
        return kept

    def shows(self, finding: ExploreFinding) -> bool:
        """Whether this kernel shows the same in one of three tries. Raises ``GuestError`` where it gives no answer."""
        programs = [*finding.company, finding.program]
        if finding.problem.oracle == "console" and self._reports.trial(programs, finding.problem.text) is not None:
            return True
        tries = [self.run(programs)[-1][0] for _ in range(3)]
        if not all(judged.asked for judged in tries):
            raise LostGuest(f"it did not run a program: {finding.program}")
        return any(finding.problem.same == problem.same for judged in tries for problem in judged.problems)

    # ------------------------------------------------------------------ what the console says, and lost guests

    def _hear(
        self, programs: Sequence[Program], outcome: Exploration, *, repeated: bool = False, whole: bool = False
    ) -> bool:
        """Look into what the console said while ``programs`` ran, or, with ``repeated``, while some of them were
        repeated; whether there was a report."""
        said = False
        while news := self._guest.take(whole=whole):
            if news.dropped:
                outcome.lost = outcome.lost or DROPPED_WORDS
            for crash in news.reports:
                said = True
                self._reported(programs, replace(crash, during=None, also=()) if repeated else crash, outcome)
            repeated = True  # trials have other programs, and may bring other reports
        return said

    def _reported(self, programs: Sequence[Program], crash: Crash, outcome: Exploration) -> None:
        """A report of the kernel. One that does not come again is no finding, and the kernel did not stay silent."""
        title = plain_title(crash.title)
        outcome.alarms[f"console/{title}"] = outcome.alarms.get(f"console/{title}", 0) + 1
        problems = [*(f.problem for f in outcome.findings), *(problem for problem, _ in outcome.unconfirmed)]
        told = {plain_title(problem.text) for problem in problems if problem.oracle == "console"}
        if title in told:
            return
        if len(told) >= _REPORTS:
            outcome.lost = outcome.lost or f"of more than {_REPORTS} different reports, not all were looked into"
            return
        problem = StepProblem("console", -1, "program", crash.title, ("O8",))
        finding = self._reports.blame(programs, crash) if programs else None
        if finding is None:
            self._on_progress(f"on the console, and not again: {crash.title}")
            outcome.unconfirmed.append((problem, programs[0] if programs else Program((), ())))
        else:
            outcome.findings.append(finding)
            self._on_progress(f"found: console: {crash.title}")

    def lost(self, programs: Sequence[Program], lost: GuestError, outcome: Exploration) -> None:
        """A guest that went away: a finding where its console says why, else the answer is incomplete."""
        self._guest.stop()
        try:
            if self._hear(programs, outcome):
                return
        except GuestError as another:
            lost = another
        outcome.lost = outcome.lost or str(lost)

    def finish(self, programs: Sequence[Program], outcome: Exploration) -> None:
        """Hear the last words that were said while ``programs``, the last, ran; and say what is not whole."""
        try:
            self._hear(programs, outcome, whole=True)
        except GuestError as lost:
            outcome.lost = outcome.lost or str(lost)
        outcome.console = self._guest.has_console
        idle = outcome.programs - outcome.judged
        sealed = self.plan is None or not self.plan.mseal
        if sealed and idle > outcome.programs * _MAY_HAVE_NO_ROOM:
            outcome.lost = outcome.lost or f"{idle} of {outcome.programs} programs had no room for their memory"
        outcome.plan = self.plan
