"""JSON from elsewhere: what is nested too deeply, or is of another form, is one line and never a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.bisect.session import read_trials
from harness.cost.model import read_costs
from harness.coverage.measure import CoverageTrace
from harness.errors import LostGuest, UsageError
from harness.explore.executor import _plan
from harness.model.json_text import parse_json, pretty_json
from harness.model.run_record import read_run
from harness.nightly.marks import read_mark
from harness.observations.journal import journal_notes

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests" / "data" / "runs" / "matrix"
DEEP = "[" * 200_000


def test_a_text_that_is_nested_too_deeply_is_no_json() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(PLAIN)
@example("\x7f\x00\x1f\u2028\u2192\U0001f600\ufeff</script>")
@example({"half of a pair": "\ud800"})
def test_large_files_are_written_as_json_writes_them(value: object) -> None:
    assert pretty_json(value) == json.dumps(value, indent=1) + "\n"


def test_everything_that_reads_json_reads_it_there() -> None:
    own = ROOT / "harness" / "model" / "json_text.py"
    others = [p for p in (ROOT / "harness").rglob("*.py") if p != own and "json.loads(" in p.read_text("utf-8")]
    assert own.is_file()
    assert others == []


def test_a_run_folder_with_such_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(DEEP)
    (tmp_path / "nightly.json").write_text(DEEP)
    with pytest.raises(UsageError, match=r"run\.json: cannot be read: it is nested too deeply"):
        read_run(tmp_path)
    with pytest.raises(UsageError, match=r"nightly\.json: cannot be read: it is nested too deeply"):
        read_mark(tmp_path)


def test_a_note_in_a_journal_that_is_nested_too_deeply_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "observations.jsonl").write_text('{"type": "harness-guest", "x": ' + DEEP + "\n")
    assert list(journal_notes(tmp_path / "observations.jsonl")) == []


@pytest.mark.parametrize(
    ("name", "text"), [("against", "nonsense"), ("given", DEEP), ("given", '["a"]'), ("against", '{"a": 1}')]
)
def test_a_record_whose_matrix_cannot_be_read_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    shutil.copytree(RUN, tmp_path / "run")
    told = json.loads((RUN / "run.json").read_bytes())
    told["matrix"][name] = text
    (tmp_path / "run" / "run.json").write_text(json.dumps(told))
    with pytest.raises(UsageError, match=f"run.json: matrix: .*'{name}' is not a JSON object of the right form"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize("line", ["5", '"run"', "[]", "null", "{}", DEEP], ids=lambda line: line[:4])
def test_a_trial_that_is_none_is_one_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "trials.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=r"trials\.jsonl:1: not a trial"):
        read_trials(tmp_path)


def test_a_payload_that_writes_it_is_a_lost_guest() -> None:
    with pytest.raises(LostGuest):
        read_costs([DEEP.encode()])
    with pytest.raises(LostGuest):
        CoverageTrace().line(DEEP.encode())
    for body in (DEEP.encode(), b"[]", b'{"lanes": null}', b"{}"):
        with pytest.raises(LostGuest):
            _plan(body)
