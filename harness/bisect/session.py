"""A bisection on disk: what was asked for, every trial as it is made, the log, the answer. Interrupted, it goes on.

::

    results/bisect/ID/bisect.json     what was asked for, and the answer once there is one
                      trials.jsonl    one line a boot, flushed before the next begins
                      bisect.log      the same for people, in the manner of `git bisect log`
                      git-bisect.log  git's own, over commits
                      repeat.sh       repeats the last two steps
                      runs/           one folder for each run, as `sealmatrix show` reads them
                      builds/         logs of builds that failed
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harness.bisect.predicate import SeenRule
from harness.bisect.trial_log import Trial
from harness.errors import StoreError, UsageError, nearest
from harness.kernels.store import telling
from harness.model.architectures import ARCHES, Arch
from harness.model.atomic_files import write_atomically
from harness.model.json_text import parse_json
from harness.payload.build import Payload
from harness.runs.commands import resume_command
from harness.runs.run_store import run_lock

SCHEMA = 1
SESSIONS = "bisect"
"""The folder of a results folder that has the sessions."""
Over = Literal["builds", "commits", "joined"]
_FIRST_FIELDS = ("over", "rule", "arch", "good", "bad", "payload_id", "program_text", "builds")  # that all have had


@dataclass(frozen=True)
class BisectOptions:
    """What was asked for. ``builds`` freezes the list that is searched, ``good_commit`` and ``bad_commit`` the
    commits that the two ends of a search over commits were when it began; ``program`` is a file with a program of
    exploration, asked instead of a rule, and ``program_text`` what it said; ``cost`` is a row of costs,
    asked instead of a rule, and ``by`` the per cent of growth that is bad; ``suite`` is a foreign suite, and ``rule``
    then the id of a test of it; ``good_words`` and ``bad_words`` are the
    files or URLs of an end that is a kernel of the person's own, and ``any_arch`` says that the architecture may be
    that kernel's; ``payload_id``, ``payload_sha256``,
    ``catalogue_sha256`` and ``matrix_sha256`` say, as in a run's record, what asked and judged."""

    over: Over
    rule: str
    arch: Arch
    good: str
    bad: str
    _: KW_ONLY
    fixed: bool = False
    probe: str = ""
    observation: str = ""
    profile: str = "standard"
    flavour: str = "cloud"
    kernels: tuple[str, ...] = ()
    matrix: str = ""
    tree: str = ""
    repeat: int = 1
    jobs: int = 0
    check: bool = True
    fresh: bool = False
    offline: bool = False
    acceleration: str = "auto"
    scale: float = 1.0
    builds: tuple[str, ...] = ()
    good_commit: str = ""
    bad_commit: str = ""
    program: str = ""
    program_text: str = ""
    cost: str = ""
    by: float = 0.0
    suite: str = ""
    good_words: tuple[str, ...] = ()
    bad_words: tuple[str, ...] = ()
    any_arch: bool = False
    payload_id: str = ""
    payload_sha256: str = ""
    catalogue_sha256: str = ""
    matrix_sha256: str = ""

    def end(self, option: str, point: str) -> list[str]:
        """``option`` with the words that mean a point: its files, where it is a kernel of the person's own."""
        own = {self.good: self.good_words, self.bad: self.bad_words}.get(point, ())
        return [text for word in own or (point,) for text in (option, word)]

    @property
    def arguments(self) -> list[str]:
        """The options that ask the same of other ends."""
        asked = ["--program", self.program] if self.program else ["--rule", self.rule]
        if self.cost:
            asked = ["--cost", self.cost, "--by", f"{self.by:g}%"]
        asked = ["--suite", self.suite, "--test", self.rule] if self.suite else asked
        words = [*asked, "--arch", self.arch]
        for option, value in (
            ("--probe", self.probe), ("--observation", self.observation), ("--matrix", self.matrix),
        ):  # fmt: skip
            words += [option, value] if value else []
        words += ["--profile", self.profile] if self.profile not in ("standard", "counted") else []
        words += ["--flavour", self.flavour] if self.flavour != "cloud" else []
        words += ["--fixed"] if self.fixed else []
        words += ["--repeat", str(self.repeat)] if self.repeat != 1 else []
        return words


def pinned(task: BisectOptions, *, payload: Payload, catalogue: str, matrix: str) -> BisectOptions:
    """Write down what asks and judges. Raises ``UsageError`` when the search began with something else: old answers
    and new ones would not be to the same question."""
    for what, then, now in (
        ("payload", task.payload_id, payload.id),
        ("payload's sha256", task.payload_sha256, payload.sha256),
        ("catalogue", task.catalogue_sha256, catalogue),
        ("matrix", task.matrix_sha256, matrix),
    ):
        if then not in ("", now):
            raise UsageError(
                f"the bisection cannot be resumed: its {what} was {then[:16]} and is {now[:16]} now; start a new one"
            )
    kept = replace(task, payload_id=payload.id, payload_sha256=payload.sha256)
    return replace(kept, catalogue_sha256=catalogue, matrix_sha256=matrix)


class Session:
    """One bisection's folder, held by this process; made by ``begin`` or ``resume``."""

    def __init__(self, folder: Path, task: BisectOptions, trials: list[Trial], started: str) -> None:
        self.folder, self.task, self.trials, self.started = folder, task, trials, started

    @property
    def id(self) -> str:
        """Its name: when it began."""
        return self.folder.name

    @property
    def runs(self) -> Path:
        """Where its runs lie."""
        return self.folder / "runs"

    def keep(self, trials: list[Trial]) -> None:
        """Put trials on the disk. Raises ``StoreError``."""
        with telling(self.folder / "trials.jsonl"), (self.folder / "trials.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(map(self._line, trials))
            file.flush()
            os.fsync(file.fileno())
        self.trials += trials

    def _line(self, trial: Trial) -> str:
        run = os.path.relpath(trial.run, self.folder) if trial.run else ""
        return json.dumps(asdict(replace(trial, run=run))) + "\n"

    def mend(self) -> None:
        """Drop a last line that was cut off, before others follow it."""
        self.write("trials.jsonl", "".join(map(self._line, self.trials)))

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write one of its files whole. Raises ``StoreError``."""
        path = self.folder / name
        with telling(path):
            write_atomically(path, text.encode("utf-8", "surrogateescape"), mode)
        return path

    def save(self, answer: Mapping[str, Any] | None = None) -> None:
        """Write what was asked for, and the answer."""
        content = {
            "schema_version": SCHEMA,
            "id": self.id,
            "started": self.started,
            "task": asdict(self.task),
            "answer": answer,
        }
        self.write("bisect.json", json.dumps(content, indent=1) + "\n")


@contextmanager
def begin(results: Path, task: BisectOptions) -> Iterator[Session]:
    """Start a session in ``results/bisect``. Raises ``StoreError``."""
    now = datetime.now(UTC)
    folder = results / SESSIONS / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    with run_lock(folder):
        session = Session(folder, task, [], now.isoformat(timespec="seconds"))
        session.save()
        yield session


@contextmanager
def resume(results: Path, name: str) -> Iterator[Session]:
    """Go on with a session by id or path. Raises ``UsageError`` when it is none, is going on, or was answered."""
    folder = find(results, name)
    content = read(folder)
    if content["answer"] is not None:
        show = resume_command("bisect", folder, results=results, below=SESSIONS, option="--show")
        raise UsageError(f"{folder.name} has its answer; to show it: {show}")
    with run_lock(folder):
        session = Session(folder, task_of(content, folder), read_trials(folder), str(content["started"]))
        session.mend()
        yield session


def find(results: Path, name: str) -> Path:
    """The folder of a session by id, by path, or the newest one ("last"). Raises ``UsageError``."""
    if (Path(name) / "bisect.json").is_file():
        return Path(name)
    known = {path.parent.name: path.parent for path in sorted((results / SESSIONS).glob("*/bisect.json"))}
    if not known:
        raise UsageError(f"{results / 'bisect'} has no bisections")
    if name == "last":
        return known[max(known)]
    if name not in known:
        raise UsageError(f"there is no bisection {name!r} in {results / 'bisect'}{nearest(name, known)}")
    return known[name]


def read(folder: Path) -> Mapping[str, Any]:
    """The content of ``bisect.json``. Raises ``UsageError`` when it is not whole."""
    path = folder / "bisect.json"
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA:
        raise UsageError(f"{path}: not a bisection this sealmatrix reads")
    return content


def task_of(content: Mapping[str, Any], folder: Path) -> BisectOptions:
    """The task in it. Raises ``UsageError``."""
    words = content.get("task")
    if (
        not isinstance(words, dict)
        or not set(_FIRST_FIELDS) <= set(words) <= {f.name for f in fields(BisectOptions)}
        or words["arch"] not in ARCHES
    ):
        raise UsageError(f"{folder / 'bisect.json'}: was written by another version of sealmatrix; start a new one")
    given: dict[str, Any] = {name: tuple(word) if isinstance(word, list) else word for name, word in words.items()}
    return BisectOptions(**given)


def read_trials(folder: Path) -> list[Trial]:
    """The trials made so far; a last line that was cut off is none."""
    path = folder / "trials.jsonl"
    if not path.exists():
        return []
    trials = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as problem:
        raise StoreError(f"{path}: cannot be read: {problem.strerror}") from problem
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            trials.append(_trial(parse_json(line), folder))
        except (ValueError, TypeError, KeyError, AttributeError) as problem:
            if number < len(lines):
                raise UsageError(f"{path}:{number}: not a trial: {problem}") from problem
    return trials


def _trial(words: dict[str, Any], folder: Path) -> Trial:
    seen = words.pop("seen")
    run = str(folder / words.pop("run")) if words["run"] else words.pop("run")
    if seen is not None:
        behaviour = tuple((probe, text) for probe, text in seen["behaviour"])
        seen = SeenRule(**{**seen, "behaviour": behaviour, "causes": tuple(seen.get("causes", ()))})
    return Trial(**words, seen=seen, run=run)
