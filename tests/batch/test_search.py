"""A search proposes the same again from the same results, plans before it runs, and lets only the best go on."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from search_files import SEARCH

import sciml
from sciml.batch import plan
from sciml.batch.ending import judge
from sciml.batch.propose import propose
from sciml.batch.search import go_on
from sciml.batch.settings import Planning, read_sweep
from sciml.batch.state import read_states
from sciml.batch.trials import best, gather, is_over
from sciml.errors import ConfigError, RunError
from sciml.runs import files
from sciml.runs.config import run_name

HALVING = "[search.halving]\nfirst = 10\nfactor = 2\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without the process that reads the problem's data; tests/batch/test_search_survival.py makes real runs."""
    monkeypatch.setattr(plan, "name_runs", lambda configs, problems, objective: [run_name(config, "", {}) for config in configs])


def planning(folder: Path, text: str = SEARCH) -> Planning:
    path = folder / "lines.toml"
    path.write_text(text.replace('"line"', '"fisher_kpp"'))
    return read_sweep(path)


def begin(folder: Path, text: str = SEARCH) -> plan.Plan:
    directory = folder / "lines"
    directory.mkdir(exist_ok=True)
    return plan.make_plan(directory, planning(folder, text), None)


def objective(values: dict[str, Any]) -> float:
    return values["network.width"] * values["phases.0.learning_rate"]


def finish(made: plan.Plan, fail: tuple[int, ...] = (), **more: Any) -> None:
    """Give every run of the plan the result that its rung asks for."""
    for run in made.runs:
        directory = made.run_directory(run)
        directory.mkdir(exist_ok=True)
        outcome = "diverged" if run.index in fail else "stopped" if run.step_limit else "ok"
        about = {"ended_by": "step limit", "steps": run.step_limit} if run.step_limit else {"ended_by": "phases", "steps": 40}
        result = {"outcome": outcome, **about, "error": {"rel_l2": objective(run.values)}, "seconds": {"total": 1.0}, "unknowns": {}}
        files.write_json(directory / "result.json", result | more)


def through(made: plan.Plan, **more: Any) -> plan.Plan:
    """The plan of a search whose runs were all made."""
    while True:
        finish(made, **more)
        grown = go_on(made)
        if grown is None:
            return made
        made = grown


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('objective = "error"\n', "", "'search.objective' is missing; write for example search.objective = \"error\""),
        ('"error"', '"seconds.trainin"', "'seconds' of result.json has no 'trainin'; did you mean 'training'"),
        ('"error"', '"eror"', r"search.objective = \"eror\" is nothing that a result has; write error, validation, or"),
        ("trials = 6\n", "", "'search.trials' is missing"),
        ("round = 2", "rounds = 2", "unknown key 'search.rounds'; did you mean 'round'"),
        ("round = 2", 'method = "bayes"', r"search.method = \"bayes\" does not exist; known: tpe, random, sobol"),
        ("from = 2, to = 6", "from = 6, to = 6", r"search.space.network.width: to = 6 is not above from = 6; .* belongs into \[set\]"),
        ("from = 2, to = 6", "from = 2, to = 6, step = 9", "step = 9 is larger than the interval"),
        ("from = 2, to = 6", "from = 2, to = 6, count = 3", "unknown key 'count'"),
        ("from = 2, to = 6", "from = 0, to = 6", "network.width = 0 must be at least 1"),
        ("from = 1e-3", "from = 0.0", "a log interval has a positive from"),
        ("{ from = 2, to = 6 }", "[4]", "fewer than two choices"),
        ("{ from = 2, to = 6 }", "[4, 4.0]", "the same choice twice"),
        ("{ from = 2, to = 6 }", "7", r"search.space.network.width = 7 is nothing to choose from; write an interval"),
        ('"network.width"', '"network.widht"', "unknown key 'network.widht'; did you mean 'width'"),
        ('"network.width"', '"seed"', "seeds are not searched for"),
        ('"network.width"', '"execution.threads"', "search.space.execution.threads changes nothing that defines a result"),
        ("trials = 6", "trials = 6\n[axes]\n'network.width' = [1, 2]\n[search.more]", "unknown key 'search.more'"),
        ("[search]", "[axes]\n'network.width' = [1, 2]\n[search]", "'network.width' is both searched for and an axis"),
        ("report = false", "report = false, wall_limit = 9.0", "execution.wall_limit would end the trials of a search before"),
        ("round = 2", "halving = { first = 10, factor = 7 }", "search.trials = 6 is below search.halving.factor = 7"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in SEARCH
    with pytest.raises(ConfigError, match=message):
        planning(tmp_path, SEARCH.replace(old, new))


def test_a_space_with_too_few_combinations_is_refused(tmp_path: Path) -> None:
    text = SEARCH.partition("[search.space]")[0] + '[search.space]\n"network.width" = { from = 2, to = 6 }\n'
    with pytest.raises(ConfigError, match=r"search.trials = 6, but only 5 combinations differ; make them all with \[axes\]"):
        planning(tmp_path, text)
    with pytest.raises(ConfigError, match="search.space is empty"):
        planning(tmp_path, text.replace('"network.width" = { from = 2, to = 6 }', ""))


@pytest.mark.parametrize("method", ["tpe", "random", "sobol"])
def test_the_same_results_give_the_same_proposals(tmp_path: Path, method: str) -> None:
    text = SEARCH.replace("round = 2", f'round = 2\nmethod = "{method}"').replace("trials = 6", "trials = 20")
    asked = planning(tmp_path, text)
    finished: list[tuple[dict[str, Any], float]] = []
    for number in range(10):
        new = propose(asked, finished, number)
        assert new == propose(asked, finished, number)
        assert all(2 <= each["network.width"] <= 6 and 1e-3 <= each["phases.0.learning_rate"] <= 1e-1 for each in new)
        finished += [(values, objective(values)) for values in new]
    assert len({json.dumps(values) for values, _ in finished}) == 20
    other = planning(tmp_path, text.replace("[search]", "[search]\nseed = 1"))
    assert propose(other, [], 0) != [values for values, _ in finished[:2]]


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_what_learns_nothing_is_one_sequence_whatever_the_rounds(tmp_path: Path, method: str) -> None:
    text = SEARCH.replace("round = 2", f'round = 6\nmethod = "{method}"')
    at_once = propose(planning(tmp_path, text), [], 0)
    in_rounds: list[dict[str, Any]] = []
    for number in range(3):
        in_rounds += propose(planning(tmp_path, text.replace("round = 6", "round = 2")), [(each, math.inf) for each in in_rounds], number)
    assert in_rounds == at_once


def test_every_combination_is_tried_once_where_there_are_just_enough(tmp_path: Path) -> None:
    space = '[search.space]\n"network.width" = { from = 2, to = 6, step = 2 }\n"network.depth" = [1, 2]\n'
    asked = planning(tmp_path, SEARCH.partition("[search.space]")[0] + space)
    finished: list[tuple[dict[str, Any], float]] = []
    for number in range(3):
        finished += [(values, float(values["network.width"])) for values in propose(asked, finished, number)]
    assert {(values["network.width"], values["network.depth"]) for values, _ in finished} == {(w, d) for w in (2, 4, 6) for d in (1, 2)}


def test_trials_that_failed_repel(tmp_path: Path) -> None:
    """Every wide network fails: at random 12 of the last 20 would be wide."""
    asked = planning(tmp_path, SEARCH.replace("trials = 6", "trials = 40").replace("round = 2", "round = 4"))
    finished: list[tuple[dict[str, Any], float]] = []
    for number in range(10):
        proposed = propose(asked, finished, number)
        finished += [(each, math.inf if each["network.width"] > 3 else objective(each)) for each in proposed]
    assert sum(each["network.width"] > 3 for each, _ in finished[20:]) <= 8


def test_without_optuna_the_extra_is_named_and_nothing_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'sciml-jax\[search\]'"):
        begin(tmp_path)
    assert not list((tmp_path / "lines").iterdir())


def test_a_round_is_planned_from_the_rounds_before(tmp_path: Path) -> None:
    first = begin(tmp_path)
    assert [(run.index, run.trial) for run in first.runs] == [(0, 0), (1, 1)]
    assert go_on(first) is None, "a search waits for its runs"
    made = through(first)
    assert [run.trial for run in made.runs] == list(range(6))
    assert made.rounds == 3
    assert plan.read_plan(made.directory) == made
    trials = gather(made.search, read_states(made.directory))
    assert is_over(made.search, trials)
    assert best(trials).objective == min(map(objective, (run.values for run in made.runs)))
    again = through(begin(tmp_path))
    assert again == made


def test_a_torn_round_never_was(tmp_path: Path) -> None:
    made = through(begin(tmp_path))
    path = made.directory / plan.NAME
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 5)
    shorter = plan.read_plan(made.directory)
    assert (shorter.rounds, len(shorter.runs)) == (2, 4)
    assert begin(tmp_path) == shorter
    assert go_on(shorter) == made
    assert path.read_bytes() == whole


def test_another_search_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    made = begin(tmp_path)
    before = (made.directory / plan.NAME).read_bytes()
    for old, new in (("trials = 6", "trials = 8"), ("to = 6", "to = 7"), ("[search]", "seeds = 2\n[search]")):
        with pytest.raises(ConfigError, match="holds another plan"):
            begin(tmp_path, SEARCH.replace(old, new) if old != "[search]" else f"seeds = 2\n{SEARCH}")
    assert (made.directory / plan.NAME).read_bytes() == before


def test_only_the_best_go_on_in_their_own_directories(tmp_path: Path) -> None:
    made = through(begin(tmp_path, SEARCH + HALVING))
    ranked = sorted(made.runs, key=lambda run: objective(run.values))
    assert [run.rung for run in ranked] == [2, 1, 1, 0, 0, 0]
    assert [run.step_limit for run in ranked] == [0, 20, 20, 10, 10, 10]
    lines = [json.loads(line) for line in (made.directory / plan.NAME).read_text().splitlines()[1:]]
    assert [line.get("rung") for line in lines] == [None, None, None, 1, 2]
    assert len(list((made.directory / "runs").iterdir())) == 6
    found = sciml.load(made.directory)
    assert found.counts == {"ok": 1, "paused": 5}
    assert found.complete
    assert found.best.values == ranked[0].values


def test_who_failed_does_not_go_on(tmp_path: Path) -> None:
    made = begin(tmp_path, SEARCH + HALVING)
    while len(made.runs) < 6:
        finish(made)
        made = go_on(made)
    winner = min(made.runs, key=lambda run: objective(run.values)).index
    made = through(made, fail=(winner,))
    assert made.runs[winner].rung == 0
    assert max(run.rung for run in made.runs) == 2
    trials = gather(made.search, read_states(made.directory))
    assert trials[winner].objective == math.inf


@pytest.mark.parametrize(("limit", "reason"), [(None, "step limit"), (10, "step limit"), (20, "error"), (0, "error")])
def test_the_limit_of_an_earlier_rung_does_not_count_for_a_later_one(tmp_path: Path, limit: int | None, reason: str) -> None:
    files.write_json(tmp_path / "result.json", {"outcome": "stopped", "ended_by": "step limit", "steps": 10})
    assert judge(tmp_path, 1, step_limit=limit).reason == reason


@pytest.mark.parametrize(("ended_by", "reason"), [("wall limit", "stopped"), ("signal", "error")])
def test_what_an_earlier_process_left_does_not_excuse_one_that_died(tmp_path: Path, ended_by: str, reason: str) -> None:
    files.write_json(tmp_path / "result.json", {"outcome": "stopped", "ended_by": ended_by, "steps": 10})
    assert judge(tmp_path, 1).reason == reason


@pytest.mark.parametrize(("exit_code", "settled"), [(None, False), (2, True)])
def test_a_run_that_was_refused_before_it_began_says_nothing_about_its_trial(tmp_path: Path, exit_code: int | None, settled: bool) -> None:
    made = begin(tmp_path)
    finish(made)
    refused = made.run_directory(made.runs[0])
    (refused / "result.json").unlink()
    note = {"reason": "config", "detail": "the problem has changed", "again": False, "exit_code": exit_code}
    (refused / "attempts.jsonl").write_text(json.dumps(note) + "\n")
    assert (go_on(made) is not None) == settled


def test_a_rung_that_was_reached_is_no_failure_whatever_the_last_note_says(tmp_path: Path) -> None:
    made = begin(tmp_path, SEARCH + HALVING)
    finish(made)
    note = {"reason": "error", "detail": "its worker was lost", "again": False, "exit_code": None}
    (made.run_directory(made.runs[0]) / "attempts.jsonl").write_text(json.dumps(note) + "\n")
    assert [str(state.state) for state in read_states(made.directory)] == ["paused"] * len(made.runs)


def test_a_trial_is_as_good_as_its_worst_run(tmp_path: Path) -> None:
    made = begin(tmp_path, f"seeds = 3\n{SEARCH}")
    assert [(run.trial, run.values["seed"]) for run in made.runs] == [(trial, seed) for trial in (0, 1) for seed in (0, 1, 2)]
    finish(made)
    for run, error in zip(made.runs, (3.0, 1.0, 2.0, 5.0, 4.0, 1.0), strict=True):
        path = made.run_directory(run) / "result.json"
        files.write_json(path, files.read_json(path) | {"error": {"rel_l2": error}})
    states = read_states(made.directory)
    assert [trial.objective for trial in gather(made.search, states)] == [3.0, 5.0]
    median = made.search.model_copy(update={"over_runs": "median"})
    assert [trial.objective for trial in gather(median, states)] == [2.0, 4.0]


def test_each_trial_is_run_for_all_combinations_of_the_axes(tmp_path: Path) -> None:
    made = begin(tmp_path, SEARCH + '[axes]\n"parameters.r" = [1.0, 2.0, 4.0]\n')
    assert [(run.trial, run.values["parameters.r"]) for run in made.runs] == [(trial, r) for trial in (0, 1) for r in (1.0, 2.0, 4.0)]
    assert list(gather(made.search, read_states(made.directory))[0].values) == ["network.width", "phases.0.learning_rate"]


def test_a_number_that_no_result_has_ends_the_search_after_its_first_round(tmp_path: Path) -> None:
    made = begin(tmp_path, SEARCH.replace('"error"', '"unknowns.E.value"'))
    finish(made)
    with pytest.raises(RunError, match=r"\"unknowns.E.value\": no run of .* has a number there; .*result.json shows what a run has"):
        go_on(made)


def test_what_is_seen_of_a_search(tmp_path: Path) -> None:
    made = through(begin(tmp_path, f"seeds = 2\n{SEARCH}{HALVING}"), fail=(0,))
    found = sciml.status(made.directory)
    assert found["search"] | {"rung": 2, "trials": 6, "planned": 6, "over": True} == found["search"]
    assert found["best"][0]["trial"] == sciml.load(made.directory).runs.index(sciml.load(made.directory).best) // 2
    rows = sciml.table(made.directory)
    assert [row["trial"] for row in rows] == [trial for trial in range(6) for _ in range(2)]
    assert rows[2]["objective"] == objective(made.runs[2].values)
    assert rows[0]["objective"] is None
    text = sciml.report(made.directory).read_text()
    for part in ("Best trials", "Each trial of the search", "Lowest error", "worst over the 2 runs of a trial"):
        assert part in text
    assert (made.directory / "figures" / "search.png").stat().st_size > 10_000
    assert "search for the lowest error (tpe): 6 of 6 trials, rung 2" in command("status", str(made.directory)).stdout


def test_a_search_without_halving_has_no_rungs_to_tell(tmp_path: Path) -> None:
    made = through(begin(tmp_path))
    assert {"trial", "objective"} < set(sciml.table(made.directory)[0])
    assert "rung" not in sciml.table(made.directory)[0]
    assert "rung" not in sciml.table(made.directory, over_seeds=True)[0]
    text = command("status", str(made.directory)).stdout
    assert "  trial=" in text
    assert "rung" not in text


def test_looking_at_a_search_imports_neither_jax_nor_optuna(tmp_path: Path) -> None:
    made = through(begin(tmp_path))
    code = (
        "import sys, sciml; sciml.status(sys.argv[1]); sciml.table(sys.argv[1]); assert not {'jax', 'optuna', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(made.directory)], check=True)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "sciml", *arguments], capture_output=True, text=True, check=False)
