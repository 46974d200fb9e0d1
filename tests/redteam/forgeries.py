"""The forgeries: each a small edit of a stored run, and the verdict that must come out. A new one is one more entry.

``@forgery(BASE, VERDICT)`` enters a function that edits a run's folder. BASE names a run of ``bases.py``, ``Forged``
has its places; VERDICT is what every consumer must make of the result:

``failed``      a rule fails: exit status 1
``no answer``   exit status 3
``not green``   one of these two, or refused: which of them is the judge's own business
``refused``     bad input: one line, exit status 2, and the history leaves it out
``as before``   the edit changes nothing, because nothing believes what was edited
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.stored_runs import RUNS

Expected = Literal["failed", "no answer", "not green", "refused", "as before"]
Edit = Callable[["Forged"], None]

MUNMAP, HEAD, MPROTECT, MLOCK = (
    "munmap/anon-rw/exact", "munmap/anon-rw/head", "mprotect-none/anon-rw/exact", "mlock/anon-rw/exact",
)  # fmt: skip


@dataclass(frozen=True)
class Forgery:
    """One entry of the table."""

    name: str
    base: str
    expected: Expected
    edit: Edit


FORGERIES: list[Forgery] = []


def forgery(base: str, expected: Expected) -> Callable[[Edit], Edit]:
    """Enter an edit into the table under its function's name."""

    def enter(edit: Edit) -> Edit:
        FORGERIES.append(Forgery(edit.__name__.replace("_", " "), base, expected, edit))
        return edit

    return enter


@dataclass(frozen=True)
class Forged:
    """A run's folder that may be edited. ``cell`` is the id of the cell that is forged."""

    folder: Path
    cell: str

    @property
    def cell_folder(self) -> Path:
        return self.folder / "cells" / self.cell

    @property
    def journal(self) -> Path:
        return self.cell_folder / "observations.jsonl"

    @property
    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines()

    def write(self, lines: list[str]) -> None:
        self.journal.write_text("".join(f"{line}\n" for line in lines))

    def line(self, kind: str, probe: str | None = None) -> int:
        """The number of the line that is the observation, begin or plan."""
        found = (json.loads(line) for line in self.lines)
        return next(i for i, r in enumerate(found) if r["type"] == kind and (probe is None or r["probe"] == probe))

    def record(self, number: int, change: Callable[[Any], object]) -> None:
        """Change one record of the journal in place."""
        lines = self.lines
        record = json.loads(lines[number])
        change(record)
        lines[number] = json.dumps(record, separators=(",", ":"))
        self.write(lines)

    def sealed(self, probe: str, **facts: object) -> None:
        """Change facts of the sealed half of a probe."""
        self.record(self.line("observation", probe), lambda seen: seen["sealed"].update(facts))

    def control(self, probe: str, **facts: object) -> None:
        self.record(self.line("observation", probe), lambda seen: seen["control"].update(facts))

    def unit(self, probe: str, when: str, index: int, **parts: str) -> None:
        """Change one unit of the sealed half's window, ``before`` or ``after`` or "both"."""

        def change(seen: Any) -> None:
            for place in ("before", "after") if when == "both" else (when,):
                seen["sealed"][place][index] = _unit(seen["sealed"][place][index], parts)

        self.record(self.line("observation", probe), change)

    def run(self, change: Callable[[Any], object]) -> None:
        """Change run.json."""
        edit_json(self.folder / "run.json", change)

    def of_cell(self, change: Callable[[Any], object]) -> None:
        """Change the cell's record in run.json."""
        self.run(lambda run: change(next(cell for cell in run["cells"] if cell["id"] == self.cell)))


def _unit(text: str, parts: dict[str, str]) -> str:
    if "gone" in parts:
        return "-"
    names = ("perms", "backing", "data", "presence", "seal")
    return " ".join((dict(zip(names, text.split(), strict=True)) | parts).values())


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# What the sealed half saw of the operation.


@forgery("healthy", "failed")
def munmap_went_through(run: Forged) -> None:
    control = json.loads(run.lines[run.line("observation", MUNMAP)])["control"]
    told = ("result", "errno", "after", "write", "mprotect", "munmap")
    run.sealed(MUNMAP, **{name: control[name] for name in told})


@forgery("healthy", "failed")
def munmap_says_success_and_changes_nothing(run: Forged) -> None:
    run.sealed(MUNMAP, result=0, errno=0)


@forgery("healthy", "failed")
def a_sealed_page_is_gone(run: Forged) -> None:
    run.unit(MUNMAP, "after", 1, gone="")


@forgery("healthy", "failed")
def a_sealed_page_has_other_protection(run: Forged) -> None:
    run.unit(MPROTECT, "after", 0, perms="r-xp")


@forgery("healthy", "failed")
def a_sealed_page_has_other_contents(run: Forged) -> None:
    run.unit(MLOCK, "after", 2, data="00")


@forgery("healthy", "failed")
def a_sealed_page_has_other_backing(run: Forged) -> None:
    run.unit(MUNMAP, "after", 2, backing="file")


@forgery("healthy", "failed")
def the_seal_is_gone(run: Forged) -> None:
    run.sealed(MLOCK, mprotect=[0, 0, 0], munmap=[0, 0, 0])


@forgery("healthy", "failed")
def the_seal_of_one_page_is_gone(run: Forged) -> None:
    run.sealed(MUNMAP, mprotect=[1, 0, 1], munmap=[1, 0, 1])


@forgery("healthy", "failed")
def another_errno(run: Forged) -> None:
    run.sealed(MPROTECT, errno=13)


@forgery("healthy", "failed")
def mlock_is_refused(run: Forged) -> None:
    run.sealed(MLOCK, result=-1, errno=1)


@forgery("healthy", "failed")
def a_store_goes_through_a_read_only_page(run: Forged) -> None:
    run.unit(MUNMAP, "both", 0, perms="r--p")
    run.control(MUNMAP, before=["r--p anon a0 a ?", "rw-p anon a1 a ?", "rw-p anon a2 a ?"])


@forgery("healthy", "failed")
def mseal_refused(run: Forged) -> None:
    run.sealed(MUNMAP, seal=[1])


@forgery("healthy", "not green")
def the_results_of_the_seals_are_not_told(run: Forged) -> None:
    run.sealed(MUNMAP, seal=[])


@forgery("healthy", "not green")
def the_sealed_half_was_killed(run: Forged) -> None:
    run.sealed(MUNMAP, stage="operation", signal=11)


@forgery("healthy", "not green")
def the_sealed_half_gave_no_answer_in_time(run: Forged) -> None:
    run.sealed(MUNMAP, stage="operation", timeout=True)


# What mseal itself did: the sealed half before the operation.


@forgery("healthy", "failed")
def mseal_adds_execute(run: Forged) -> None:
    run.unit(MUNMAP, "both", 0, perms="rwxp")


@forgery("healthy", "failed")
def mseal_takes_write(run: Forged) -> None:
    for index in range(3):
        run.unit(MUNMAP, "both", index, perms="r--p")
    run.sealed(MUNMAP, write="---")


@forgery("healthy", "failed")
def mseal_wipes_a_page(run: Forged) -> None:
    run.unit(MUNMAP, "both", 1, data="00")


@forgery("healthy", "failed")
def mseal_changes_the_backing(run: Forged) -> None:
    run.unit(MUNMAP, "both", 1, backing="file")


@forgery("healthy", "not green")
def mseal_unmaps_a_page(run: Forged) -> None:
    run.unit(MUNMAP, "both", 1, gone="")


@forgery("wide", "failed")
def mseal_wipes_the_plain_neighbour(run: Forged) -> None:
    run.unit("munmap/anon-rw/into", "both", 0, data="00")


@forgery("wide", "failed")
def the_plain_neighbour_is_sealed(run: Forged) -> None:
    run.sealed("munmap/anon-rw/into", mprotect=[1] * 4, munmap=[1] * 4)


@forgery("wide", "failed")
def a_discard_of_read_only_memory_wipes_it(run: Forged) -> None:
    run.unit("madvise-dontneed/anon-r/exact", "after", 0, data="00")


@forgery("crossed", "not green")
def the_other_payload_saw_something_else(run: Forged) -> None:
    path = run.cell_folder / "crosscheck.jsonl"
    path.write_text(path.read_text().replace('"errno":1,', '"errno":13,').replace('"errno": 1,', '"errno": 13,'))


@forgery("crossed", "not green")
def the_other_payloads_journal_is_gone(run: Forged) -> None:
    (run.cell_folder / "crosscheck.jsonl").unlink()


# What the control saw: a refusal there must not turn a rule into a skip.


@forgery("healthy", "not green")
def the_control_is_refused(run: Forged) -> None:
    run.control(MUNMAP, result=-1, errno=1, after=["rw-p anon a0 a ?", "rw-p anon a1 a ?", "rw-p anon a2 a ?"])


@forgery("healthy", "not green")
def every_control_is_refused(run: Forged) -> None:
    for probe in (MUNMAP, HEAD, MPROTECT):
        run.control(probe, result=-1, errno=22)


@forgery("healthy", "not green")
def the_controls_set_up_failed(run: Forged) -> None:
    run.control(MUNMAP, stage="setup", step="mmap", step_errno=12)


@forgery("healthy", "not green")
def there_is_no_mseal_all_of_a_sudden(run: Forged) -> None:
    for probe in (MUNMAP, HEAD, MPROTECT, MLOCK):
        run.sealed(probe, stage="seal", step="mseal", step_errno=38, seal=[38])
        run.control(probe, stage="seal", step="mseal", step_errno=38)


# Lines of the journal.


@forgery("healthy", "no answer")
def an_observation_is_taken_out(run: Forged) -> None:
    lines = run.lines
    del lines[run.line("observation", MPROTECT)]
    run.write(lines)


@forgery("healthy", "no answer")
def a_probe_is_taken_out(run: Forged) -> None:
    lines = run.lines
    number = run.line("observation", MPROTECT)
    del lines[number - 1 : number + 1]
    run.write(lines)


@forgery("healthy", "no answer")
def an_observation_is_garbled(run: Forged) -> None:
    lines = run.lines
    lines[run.line("observation", MPROTECT)] = '{"type":"observation","probe":"'
    run.write(lines)


@forgery("healthy", "no answer")
def an_observation_has_a_nul_in_it(run: Forged) -> None:
    lines = run.lines
    number = run.line("observation", MPROTECT)
    lines[number] = lines[number].replace("anon", "an\0on", 1)
    run.write(lines)


@forgery("healthy", "not green")
def an_observation_has_a_name_of_another_probe(run: Forged) -> None:
    run.record(run.line("observation", MPROTECT), lambda seen: seen.update(probe=MLOCK))


@forgery("healthy", "not green")
def an_observation_has_another_layout(run: Forged) -> None:
    run.record(run.line("observation", MUNMAP), lambda seen: seen.update(layout="SSs"))


@forgery("bypass", "failed")
def a_good_observation_behind_the_bad_one(run: Forged) -> None:
    lines = run.lines
    number = run.line("observation", MUNMAP)
    lines.insert(number + 1, _good(run, number))
    run.write(lines)


@forgery("bypass", "not green")
def a_good_observation_before_the_bad_one(run: Forged) -> None:
    lines = run.lines
    number = run.line("observation", MUNMAP)
    lines.insert(number, _good(run, number))
    other = run.line("observation", MPROTECT) + 1
    lines.insert(other, lines[other].replace('"errno":13', '"errno":1'))
    run.write(lines)


def _good(run: Forged, number: int) -> str:
    """The bad observation as a healthy kernel would have it."""
    seen = json.loads(run.lines[number])
    seen["sealed"] |= {"result": -1, "errno": 1, "after": seen["sealed"]["before"], "write": "www"}
    seen["sealed"] |= {"mprotect": [1, 1, 1], "munmap": [1, 1, 1]}
    return json.dumps(seen, separators=(",", ":"))


@forgery("healthy", "not green")
def an_observation_stands_before_its_beginning(run: Forged) -> None:
    lines = run.lines
    number = run.line("observation", MUNMAP)
    lines[number - 1], lines[number] = lines[number], lines[number - 1]
    run.write(lines)


@forgery("healthy", "not green")
def two_observations_are_swapped(run: Forged) -> None:
    lines = run.lines
    one, other = run.line("observation", MUNMAP), run.line("observation", HEAD)
    lines[one], lines[other] = lines[other], lines[one]
    run.write(lines)


@forgery("healthy", "not green")
def every_line_is_there_twice(run: Forged) -> None:
    run.write([line for line in run.lines for _ in range(2)])


@forgery("healthy", "no answer")
def the_end_is_missing(run: Forged) -> None:
    run.write(run.lines[:-1])


@forgery("healthy", "no answer")
def the_end_counts_otherwise(run: Forged) -> None:
    run.record(run.line("end"), lambda end: end.update(probes=4))


@forgery("healthy", "not green")
def the_end_comes_early(run: Forged) -> None:
    *rest, end = run.lines
    number = run.line("observation", MPROTECT)
    run.record(run.line("end"), lambda record: record.update(probes=2))
    end = run.lines[-1]
    run.write([*rest[: number - 1], end, *rest[number - 1 :]])


@forgery("healthy", "no answer")
def the_journal_is_cut_in_a_line(run: Forged) -> None:
    text = run.journal.read_text()
    run.journal.write_text(text[: len(text) // 2])


@forgery("healthy", "no answer")
def the_journal_is_empty(run: Forged) -> None:
    run.journal.write_text("")


@forgery("healthy", "no answer")
def the_journal_is_gone(run: Forged) -> None:
    run.journal.unlink()


@forgery("late", "no answer")
def the_note_of_the_lost_guest_is_taken_out(run: Forged) -> None:
    run.write([line for line in run.lines if "harness-lost" not in line])


# The plan: what was asked.


@forgery("healthy", "no answer")
def the_journal_has_no_plan(run: Forged) -> None:
    run.write(run.lines[1:])


@forgery("bypass", "not green")
def plan_json_has_only_what_passed(run: Forged) -> None:
    edit_json(run.folder / "plan.json", lambda plan: plan.update(probes=[p for p in plan["probes"] if p[0] == "mlock"]))


@forgery("bypass", "not green")
def plan_json_has_nothing(run: Forged) -> None:
    edit_json(run.folder / "plan.json", lambda plan: plan.update(probes=[]))


@forgery("bypass", "not green")
def the_journals_plan_has_only_what_passed(run: Forged) -> None:
    run.record(0, lambda plan: plan.update(probes=[MLOCK]))


@forgery("bypass", "not green")
def plan_json_names_another_probe_instead(run: Forged) -> None:
    def change(plan: Any) -> None:
        plan["probes"] = [["mlock", "anon-r", *p[2:]] if p[0] != "mlock" else p for p in plan["probes"]]

    edit_json(run.folder / "plan.json", change)


@forgery("healthy", "not green")
def plan_json_has_another_layout(run: Forged) -> None:
    edit_json(run.folder / "plan.json", lambda plan: plan["probes"][0].__setitem__(3, "sSS"))


@forgery("healthy", "refused")
def plan_json_has_a_probe_no_rule_speaks_for(run: Forged) -> None:
    edit_json(run.folder / "plan.json", lambda plan: plan["probes"].append(["nothing", "anon-rw", "exact", "SSS"]))


@forgery("healthy", "refused")
def plan_json_is_cut(run: Forged) -> None:
    path = run.folder / "plan.json"
    path.write_text(path.read_text()[:50])


@forgery("healthy", "not green")
def the_plan_is_of_another_payload(run: Forged) -> None:
    run.record(0, lambda plan: plan.update(id="0123456789abcdef"))


@forgery("bypass", "not green")
def the_plan_is_of_a_kernel_without_mseal(run: Forged) -> None:
    run.record(0, lambda plan: plan.update(release="6.1.0-50-cloud-amd64"))


@forgery("bypass", "not green")
def the_plan_has_a_release_that_is_none(run: Forged) -> None:
    run.record(0, lambda plan: plan.update(release="linux"))


@forgery("healthy", "not green")
def the_plan_is_of_another_machine(run: Forged) -> None:
    run.record(0, lambda plan: plan.update(machine="aarch64"))


@forgery("healthy", "not green")
def the_plan_has_another_page_size(run: Forged) -> None:
    run.record(0, lambda plan: plan.update(page_size=16384))


# run.json: what is said of the run and the cell.


@forgery("late", "no answer")
def a_lost_cell_is_said_to_have_finished(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(state="finished", reason="", exit_status=0, exit_signal=None))


@forgery("panic", "not green")
def the_crash_is_taken_out_of_the_record(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(state="finished", reason="", crashes=[]))


@forgery("boot", "not green")
def the_crash_at_boot_is_taken_out_of_the_record(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(crashes=[]))


@forgery("boot", "not green")
def the_crash_at_boot_is_called_harmless(run: Forged) -> None:
    run.of_cell(lambda cell: cell["crashes"][0].update(fatal=False))


@forgery("boot", "not green")
def the_crash_at_boot_is_put_down_to_a_probe(run: Forged) -> None:
    run.of_cell(lambda cell: cell["crashes"][0].update(during=MLOCK))


@forgery("panic", "failed")
def the_console_is_emptied(run: Forged) -> None:
    (run.cell_folder / "console.log").write_text("")


@forgery("bypass", "not green")
def the_kernel_is_said_to_be_older(run: Forged) -> None:
    run.of_cell(lambda cell: cell["kernel"].update(version="6.1.176"))


@forgery("bypass", "not green")
def the_cell_is_said_to_be_of_another_architecture(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(arch="arm64"))


@forgery("healthy", "not green")
def the_payload_is_said_to_have_failed(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(exit_status=9))


@forgery("two", "not green")
def a_failing_cell_is_taken_out_of_the_record(run: Forged) -> None:
    run.run(lambda record: record.update(cells=[cell for cell in record["cells"] if cell["id"] != run.cell]))


@forgery("two", "not green")
def a_failing_cell_is_said_to_be_the_healthy_one(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(id="healthy.x86_64"))


@forgery("healthy", "not green")
def there_is_no_cell(run: Forged) -> None:
    run.run(lambda record: record.update(cells=[]))


@forgery("healthy", "not green")
def the_cell_never_began(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(state="waiting"))


@forgery("healthy", "refused")
def a_later_schema(run: Forged) -> None:
    run.run(lambda record: record.update(schema_version=2))


@forgery("healthy", "refused")
def an_unknown_state(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(state="good"))


@forgery("healthy", "refused")
def an_unknown_key(run: Forged) -> None:
    run.run(lambda record: record.update(verdict="pass"))


@forgery("healthy", "refused")
def a_cell_that_leads_out_of_the_folder(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(id="../../healthy.x86_64"))


@forgery("healthy", "refused")
def a_run_that_leads_out_of_the_folder(run: Forged) -> None:
    run.run(lambda record: record.update(id="../x"))


@forgery("reported", "as before")
def the_record_counts_no_failure(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(statuses={"pass": 4}))


# What is derived: nobody believes it.


@forgery("reported", "as before")
def verdicts_json_says_pass(run: Forged) -> None:
    path = run.folder / "verdicts.json"
    text = path.read_text().replace('"status": "fail"', '"status": "pass"').replace('"exit_code": 1', '"exit_code": 0')
    path.write_text(text.replace('"bypass"', "null").replace('"wrong-errno"', "null"))


@forgery("reported", "as before")
def verdicts_json_is_of_a_healthy_run(run: Forged) -> None:
    path = run.folder / "verdicts.json"
    data = json.loads(path.read_text())
    for cell in data["cells"]:
        cell["rules"] = {}
    path.write_text(json.dumps(data | {"exit_code": 0, "counts": {}}))


@forgery("reported", "as before")
def verdicts_json_is_gone(run: Forged) -> None:
    (run.folder / "verdicts.json").unlink()


@forgery("reported", "as before")
def the_cells_verdicts_say_pass(run: Forged) -> None:
    path = run.cell_folder / "verdicts.json"
    path.write_text('{"rules": []}')


@forgery("reported", "as before")
def junit_and_page_say_pass(run: Forged) -> None:
    (run.folder / "junit.xml").write_text("<testsuites/>")
    (run.folder / "report.html").write_text("<h1>No rule fails.</h1>")


# Repeats.


@forgery("repeats", "failed")
def the_second_repeat_fails(run: Forged) -> None:
    run.sealed(MUNMAP, result=0, errno=0)


@forgery("repeats", "no answer")
def the_second_repeat_is_gone(run: Forged) -> None:
    shutil.rmtree(run.cell_folder)


@forgery("repeats", "no answer")
def the_second_repeat_ended_early(run: Forged) -> None:
    run.write(run.lines[:-1])


# Evidence in the place of other evidence: whole, well formed, and not what the run wrote.


def _healthy(run: Forged) -> Forged:
    """The healthy cell of the same stored run."""
    return Forged(RUNS / "faults", "healthy.x86_64")


@forgery("noted-bypass", "not green")
def the_journal_is_the_healthy_cells(run: Forged) -> None:
    shutil.copyfile(_healthy(run).journal, run.journal)


@forgery("noted-bypass", "not green")
def the_journal_is_a_link_to_the_healthy_cells(run: Forged) -> None:
    run.journal.unlink()
    run.journal.symlink_to(_healthy(run).journal)


@forgery("noted-bypass", "not green")
def the_journal_is_the_healthy_cells_and_its_digest_is_not_told(run: Forged) -> None:
    shutil.copyfile(_healthy(run).journal, run.journal)
    run.of_cell(lambda cell: cell["evidence"].pop("observations.jsonl"))


@forgery("noted", "not green")
def a_number_is_changed_that_nobody_judges(run: Forged) -> None:
    run.record(run.line("observation", MUNMAP), lambda seen: seen.update(microseconds=1))


@forgery("noted", "not green")
def a_record_is_written_otherwise(run: Forged) -> None:
    lines = run.lines
    run.write([json.dumps(json.loads(lines[0])), *lines[1:]])


@forgery("noted", "not green")
def the_console_is_gone(run: Forged) -> None:
    (run.cell_folder / "console.log").unlink()


@forgery("noted", "not green")
def the_console_is_another_ones(run: Forged) -> None:
    shutil.copyfile(RUNS / "faults/cells/bypass.x86_64/console.log", run.cell_folder / "console.log")


@forgery("noted-boot", "not green")
def the_crash_is_taken_out_of_record_and_console(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(crashes=[]))
    (run.cell_folder / "console.log").write_text("")


@forgery("noted-boot", "not green")
def the_crash_is_taken_out_of_the_record_and_the_console_is_gone(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(crashes=[]))
    (run.cell_folder / "console.log").unlink()


@forgery("noted-late", "not green")
def the_lost_guest_is_taken_out_of_record_and_journal(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(state="finished", reason="", exit_status=0, exit_signal=None))
    run.write([line for line in run.lines if "harness-" not in line])


# Our own notes in the journal, where nobody wrote them.


@forgery("bypass", "not green")
def everything_is_asked_a_second_time(run: Forged) -> None:
    """As the host does for what ran among others: only the second answer counts."""
    plan = json.loads(run.lines[0])
    healthy = _healthy(run)
    again = [json.dumps({"type": "harness-again", "probes": plan["probes"]}), run.lines[0]]
    for probe in plan["probes"]:
        again += [healthy.lines[healthy.line("begin", probe)], healthy.lines[healthy.line("observation", probe)]]
    run.write([*run.lines, *again, json.dumps({"type": "end", "probes": len(plan["probes"])})])


@forgery("healthy", "no answer")
def the_end_is_missing_and_a_further_guest_is_told(run: Forged) -> None:
    run.write([*run.lines[:-1], '{"type": "harness-guest", "guest": 1}'])


@forgery("healthy", "not green")
def a_probe_is_missing_and_a_further_guest_is_told(run: Forged) -> None:
    lines = [line for line in run.lines[:-1] if f'"probe":"{MPROTECT}"' not in line]
    run.write([*lines, '{"type": "harness-guest", "guest": 1}'])


@forgery("healthy", "not green")
def the_seals_are_told_twice(run: Forged) -> None:
    run.sealed(MUNMAP, seal=[0, 0])


@forgery("healthy", "not green")
def the_sealed_half_is_the_control(run: Forged) -> None:
    control = json.loads(run.lines[run.line("observation", MUNMAP)])["control"]
    run.record(run.line("observation", MUNMAP), lambda seen: seen.update(sealed={**control, "seal": [0]}))


@forgery("healthy", "not green")
def the_halves_are_exchanged(run: Forged) -> None:
    run.record(run.line("observation", MLOCK), lambda seen: seen.update(control=seen["sealed"], sealed=seen["control"]))


@forgery("bypass", "not green")
def the_good_half_stands_behind_the_bad_one_in_one_record(run: Forged) -> None:
    """JSON may say a key twice, and then the last one counts."""
    healthy, lines, number = _healthy(run), run.lines, run.line("observation", MUNMAP)
    good = healthy.lines[healthy.line("observation", MUNMAP)]
    lines[number] = f"{lines[number][:-1]},{good[good.index(chr(34) + 'sealed') :]}"
    run.write(lines)


# Who the cell is: a comparison and a policy pair cells by that.


@forgery("bypass", "failed")
def the_failing_cell_has_another_name(run: Forged) -> None:
    run.of_cell(lambda cell: (cell.update(id="other.x86_64"), cell["kernel"].update(name="other")))
    run.cell_folder.rename(run.folder / "cells/other.x86_64")


@forgery("bypass", "failed")
def the_failing_cell_has_another_profile(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(profile="other"))


@forgery("bypass", "failed")
def the_failing_cell_has_no_kernel(run: Forged) -> None:
    run.of_cell(lambda cell: cell.update(kernel=None))


@forgery("bypass", "failed")
def the_run_is_said_to_go_on(run: Forged) -> None:
    run.run(lambda record: record.update(state="running"))


@forgery("bypass", "failed")
def the_caller_is_said_to_have_no_capabilities(run: Forged) -> None:
    run.record(0, lambda plan: plan["features"].update(capabilities="0", seccomp=2))


# Nothing.


@forgery("healthy", "as before")
def nothing_is_edited(run: Forged) -> None:
    assert run.journal.is_file()
