"""The command line's run, resume and check as Python calls: the same directories, the same refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import sciml
from sciml import ConfigError, Outcome

TINY = {
    "problem": "poisson_2d",
    "log_every": 10,
    "network": {"width": 4, "depth": 1},
    "points": {"interior": 64, "boundary": 32, "initial": 32, "batch": 64, "validation": 64},
    "phases": [{"kind": "adam", "steps": 20, "until": []}],
    "execution": {"report": False},
}


def test_run_resume_and_load(tmp_path: Path) -> None:
    first = sciml.run(TINY, seed=3, out=tmp_path, progress=False)
    assert (first.outcome, first.result["seed"], first.result["steps"], first.reused) == (Outcome.OK, 3, 20, False)
    assert first.solution is not None
    again = sciml.run(TINY, seed=3, out=tmp_path, progress=False)
    assert again.reused
    assert again.directory == first.directory
    (longer,) = sciml.resume(first.directory, overrides=["phases.0.steps=30"], progress=False)
    assert longer.result["steps"] == 30
    assert sciml.load(first.directory).result == longer.result


def test_several_seeds_go_on_together_up_to_a_limit_and_beyond(tmp_path: Path) -> None:
    config = TINY | {"phases": [{"kind": "adam", "steps": 40, "until": []}]}
    stopped = [sciml.run(config, seed=seed, out=tmp_path, overrides=["execution.step_limit=10"], progress=False) for seed in (0, 1)]
    assert [(each.outcome, each.result["steps"]) for each in stopped] == [(Outcome.STOPPED, 10)] * 2
    directories = [each.directory for each in stopped]
    stopped = sciml.resume(*directories, overrides=["execution.step_limit=25"], progress=False)
    assert [(each.outcome, each.result["steps"]) for each in stopped] == [(Outcome.STOPPED, 30)] * 2  # the next row of metrics
    for count in (1, 2):
        again = sciml.resume(*directories[:count], progress=False)
        assert [each.result["steps"] for each in again] == [30] * count, "what is at its limit trains no further"
    done = sciml.resume(*directories, overrides=["execution.step_limit=0"], progress=False)
    assert [(each.outcome, each.result["steps"]) for each in done] == [(Outcome.OK, 40)] * 2


def test_what_is_wrong_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="network.widht"):
        sciml.run(TINY, overrides=["network.widht=3"], out=tmp_path, progress=False)
    with pytest.raises(ConfigError, match="is not a run directory"):
        sciml.resume(tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_what_the_problem_itself_refuses_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[weights\]: there is no term 'edge'"):
        sciml.run(TINY | {"weights": {"edge": 2.0}}, out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_loaded_run_is_compared_with_what_it_was_compared_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is solved again: not even an exact solution is evaluated."""
    first = sciml.run(TINY, out=tmp_path, progress=False)
    monkeypatch.setattr(sys.modules["sciml.solve"], "problem_reference", lambda *_: pytest.fail("it was computed again"))
    loaded = sciml.load(first.directory)
    assert loaded.error().rel_l2 == pytest.approx(first.result["error"]["rel_l2"], rel=1e-12)
    assert loaded.error().reference == first.result["error"]["reference"]


def test_check_finds_what_is_right_and_what_is_wrong() -> None:
    findings = {finding.name: finding for finding in sciml.check(TINY)}
    assert all(finding.ok for finding in findings.values())
    assert findings["reference"].text.startswith("exact, itself good to ")
    with pytest.raises(ConfigError, match="poisson_3d"):
        sciml.check("poisson_3d")
