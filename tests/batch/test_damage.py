"""What was damaged from outside is told once, with its cure, and not tried again; nothing is taken for what it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sciml
from sciml.batch import attempt, ending
from sciml.batch.ending import Reason
from sciml.batch.plan import make_plan
from sciml.batch.settings import read_sweep
from sciml.batch.state import State, read_states
from sciml.runs.catalog import source_hash

DONE = '{"outcome": "ok", "error": {"rel_l2": 1e-3}}'


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """A sweep of two runs that are complete."""
    (tmp_path / "two.toml").write_text('base = "fisher_kpp"\nseeds = 2\n')
    plan = make_plan(tmp_path, read_sweep(tmp_path / "two.toml"), None)
    for run in plan.runs:
        plan.run_directory(run).mkdir()
        (plan.run_directory(run) / "result.json").write_text(DONE)
    return tmp_path


def task(run: Path) -> attempt.Task:
    given = {"failures": 3, "time_limit": None, "grace": 1.0, "stop": str(run.parents[1] / "stop")}
    return attempt.Task(str(run), "", "fisher_kpp", source_hash("fisher_kpp"), None, sciml.__version__, **given)


def test_a_torn_result_is_told_once(swept: Path) -> None:
    run = read_states(swept)[0].directory
    (run / "result.json").write_text(DONE[:20])
    ended = attempt.attempt(task(run))
    assert (ended["reason"], ended["again"]) == ("config", False)
    assert "result.json cannot be read" in ended["detail"]
    assert f"delete it, and `sciml resume {run}` writes it anew" in ended["detail"]
    assert not (run / "output.log").exists(), "no process was started"


@pytest.mark.parametrize("damage", ["not JSON", "[1]", '{"attempt": 1}', '{"reason": 3, "detail": "", "again": true, "seconds": 0}'])
def test_a_damaged_note_of_an_attempt_stops_nobody(swept: Path, damage: str) -> None:
    run = read_states(swept)[0].directory
    good = json.dumps({"reason": "done", "detail": "", "again": False, "exit_code": 0, "seconds": 1.0})
    (run / "attempts.jsonl").write_text(f"{damage}\n{good}\n")
    first, second = sciml.sweep(swept).runs[0].attempts
    assert (first["reason"], second["reason"]) == ("unreadable note", "done")
    assert f"{run / 'attempts.jsonl'}, line 1" in first["detail"]
    assert sciml.status(swept)["counts"] == {"ok": 2}
    assert [row["attempts"] for row in sciml.table(swept)] == [2, 0]
    assert sciml.report(swept).exists()
    assert attempt.count_failures([first]) == 0


@pytest.mark.parametrize("damage", ['{"outcome": "ok", "error": 3}', '{"outcome": "ok", "seconds": [1]}'])
def test_a_result_of_another_shape_is_told(swept: Path, damage: str) -> None:
    run = read_states(swept)[0].directory
    (run / "result.json").write_text(damage)
    assert sciml.status(swept)["counts"] == {"ok": 1, "failed": 1}
    assert "is not an object; delete it, and" in sciml.table(swept)[0]["detail"]


def test_a_link_inside_a_run_is_not_written_through(swept: Path, tmp_path: Path) -> None:
    run = read_states(swept)[0].directory
    (run / "result.json").unlink()
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (run / "output.log").symlink_to(victim)
    ended = attempt.attempt(task(run))
    assert (ended["reason"], ended["again"]) == ("config", False)
    assert "output.log is a link" in ended["detail"]
    assert victim.read_text() == "mine"


def test_checkpoints_that_are_all_damaged_are_told_once(tmp_path: Path) -> None:
    text = "error: runs/x/checkpoints: checkpoint latest-000002 is damaged (arrays); no other can be used. `rm -r ...`"
    (tmp_path / "output.log").write_text(text)
    ended = ending.judge(tmp_path, 1)
    assert (ended.reason, ended.detail) == (Reason.CONFIG, text.removeprefix("error: "))


def test_another_run_does_not_stand_in_for_a_run(swept: Path) -> None:
    first, second = (each.directory for each in read_states(swept))
    (first / "result.json").unlink()
    first.rmdir()
    first.symlink_to(second.name)
    assert [each.state for each in read_states(swept)] == [State.FAILED, State.OK]
    assert "is a link, and so not this run; remove the link" in read_states(swept)[0].detail
    ended = attempt.attempt(task(first))
    assert (ended["reason"], ended["again"]) == ("config", False)
    assert not (second / "attempts.jsonl").exists()


def test_a_folder_of_runs_may_hold_links(swept: Path, tmp_path: Path) -> None:
    """Only a sweep has a plan that says which run a directory is."""
    run = read_states(swept)[1].directory
    (run / "config.toml").write_text('problem = "fisher_kpp"\nseed = 1\n')
    folder = tmp_path / "collected"
    folder.mkdir()
    (folder / run.name).symlink_to(run)
    assert [each.state for each in read_states(folder)] == [State.OK]


def test_a_run_that_had_to_be_killed_says_so(tmp_path: Path) -> None:
    ended = ending.judge(tmp_path, -9, told=Reason.INTERRUPTED, killed=True)
    assert ended.reason == Reason.INTERRUPTED
    assert "did not answer within its grace" in ended.detail
