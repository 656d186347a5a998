"""The life of a run directory: begun, stopped, killed, resumed, complete; on an experiment that costs nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from fake_experiment import PHASES, Crash, FakeExperiment, Recorder, crash, send

from sciml.errors import ConfigError, Outcome, RunError
from sciml.runs import execute, files
from sciml.runs.config import Config, load_config
from sciml.runs.interrupt import Interrupted
from sciml.runs.lock import exclusive
from sciml.runs.store import Store

OVERRIDES = [
    "log_every=10",
    'phases=[{kind="adam", steps=30, until=[]}, {kind="broyden", steps=40}]',
    "execution.checkpoint_seconds=0.0",
]
LAST = 70


@pytest.fixture(autouse=True, scope="module")
def _without_a_network() -> Iterator[None]:
    def build(config: Config, problem: Any, begun: bool = False) -> FakeExperiment:
        return FakeExperiment(PHASES if config.phases == "auto" else config.phases)

    def write_all(solution: Any, folder: Path) -> list[Path]:
        (folder / "solution.png").write_bytes(b"picture")
        return [folder / "solution.png"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sciml.runs.build.build", build)
        patch.setattr("sciml.figures.write_all", write_all)
        patch.setattr("sciml.runs.report.write", lambda directory, *_: (directory / "report.html").write_text("report"))
        patch.setattr("sciml.runs.execute.use_compile_cache", lambda: None)
        yield


def config(*overrides: str) -> Config:
    return load_config("fisher_kpp", [*OVERRIDES, *overrides])


def content(directory: Path) -> dict[str, Any]:
    """All that must be the same bytes however often a run was interrupted."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    latest, best = Store(directory).load_latest(), Store(directory).load_best()
    result = json.loads((directory / "result.json").read_text())
    for phase in [result, *result["phases"]]:
        del phase["seconds"]
    arrays = {path: array.tobytes() for path, array in (latest.arrays | {f"best/{k}": v for k, v in best.arrays.items()}).items()}
    return {
        "rows": [{key: value for key, value in row.items() if key != "seconds"} for row in rows],
        "arrays": arrays,
        "cursor": latest.cursor["cursor"],
        "result": result,
        "solution": xarray.load_dataset(directory / "solution.nc", engine="h5netcdf")["u"].values.tobytes(),
        "files": sorted(str(path.relative_to(directory)) for path in directory.iterdir()),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return content(execute.run(config(), tmp_path_factory.mktemp("undisturbed")).directory)


def test_a_complete_run_has_all_its_files(tmp_path: Path) -> None:
    recorder = Recorder()
    result = execute.run(config(), tmp_path, listener=recorder)
    assert result.outcome == Outcome.OK
    assert not result.reused
    assert result.solution.result == result.result
    assert len(result.solution.history) == 7
    assert recorder.steps == [10, 20, 30, 40, 50, 60, 70]
    assert recorder.results == [result]
    names = {path.name for path in result.directory.iterdir()}
    contract = {"config.toml", "environment.json", "metrics.jsonl", "checkpoints", "solution.nc", "figures", "result.json", "report.html"}
    assert names == contract | {"lock"}
    assert os.listdir(result.directory / "figures") == ["solution.png"]
    written = json.loads((result.directory / "result.json").read_text())
    assert written == result.result
    assert [(phase["kind"], phase["steps"], phase["ended_by"]) for phase in written["phases"]] == [
        ("adam", 30, "budget"),
        ("broyden", 40, "budget"),
    ]
    assert all(phase["seconds"] >= 0 for phase in written["phases"])
    assert written["seconds"]["total"] > written["seconds"]["training"] >= 0
    assert written["validation"] == {"mean_square": 2 / LAST, "worst": 3 / LAST}
    assert written["unknowns"]["D"]["standard_error"] == 0.25


def test_the_config_in_the_directory_repeats_the_run(tmp_path: Path) -> None:
    directory = execute.run(load_config("fisher_kpp", ["log_every=10"]), tmp_path).directory
    resolved = load_config(directory / "config.toml")
    assert resolved.phases == PHASES
    assert content(execute.run(resolved, tmp_path / "again").directory)["arrays"] == content(directory)["arrays"]


def test_result_is_the_last_file_and_all_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[str] = []
    original = os.replace

    def recorded(source: Any, target: Any) -> None:
        replaced.append(Path(target).name)
        original(source, target)

    monkeypatch.setattr(os, "replace", recorded)
    execute.run(config(), tmp_path)
    assert replaced[:2] == ["config.toml", "environment.json"]
    assert replaced[-3:] == ["solution.nc", "solution.png", "result.json"]


def test_rows_are_on_the_disk_before_the_checkpoint_that_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def recorded_replace(source: Any, target: Any) -> None:
        calls.append(f"{Path(target).name} in place")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    execute.run(config(), tmp_path)
    kept = [call for call in calls if call == "metrics.jsonl" or call.startswith("latest")]
    assert [call.partition("-")[0] for call in kept] == ["metrics.jsonl", "latest"] * 7


def test_a_complete_run_is_reported(tmp_path: Path) -> None:
    first = execute.run(config(), tmp_path)
    recorder = Recorder()
    second = execute.run(config("execution.wall_limit=5.0"), tmp_path, listener=recorder)
    assert second.reused
    assert second.directory == first.directory
    assert second.result == first.result
    assert recorder.steps == []
    assert execute.resume(first.directory).reused


@pytest.mark.parametrize(
    ("pause", "step"), [*((0.0, step) for step in range(10, LAST + 1, 10)), (1000.0, 20), (1000.0, 50), (1000.0, LAST)]
)
def test_a_crash_after_any_chunk_changes_nothing(tmp_path: Path, undisturbed: dict[str, Any], pause: float, step: int) -> None:
    """`pause` between checkpoints: after every chunk, or only where the phase changes."""
    given = config(f"execution.checkpoint_seconds={pause}")
    with pytest.raises(Crash):
        execute.run(given, tmp_path, listener=Recorder(step, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    recorder = Recorder()
    assert execute.resume(directory, listener=recorder).outcome == Outcome.OK
    saved = [0, *range(10, LAST, 10)] if pause == 0 else [0, 30]
    assert recorder.started_at == [max(each for each in saved if each < step)]
    assert content(directory) == undisturbed


@pytest.mark.parametrize("where", ["sciml.runs.files.write_json", "sciml.figures.write_all", "sciml.runs.report.write"])
def test_a_crash_after_the_last_chunk_repeats_only_the_end(
    tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as patch:
        original = files.write_json

        def fail(*arguments: Any, **named: Any) -> None:
            if where.endswith("write_json") and Path(arguments[0]).name != "result.json":
                return original(*arguments, **named)
            raise Crash

        patch.setattr(where, fail)
        with pytest.raises(Crash):
            execute.run(config(), tmp_path)
    (directory,) = tmp_path.glob("fisher_kpp-*")
    assert not (directory / "result.json").exists()
    recorder = Recorder()
    execute.run(config(), tmp_path, listener=recorder)
    assert recorder.steps == []
    assert content(directory) == undisturbed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR2, 143)])
def test_a_signal_saves_and_stops(tmp_path: Path, undisturbed: dict[str, Any], number: signal.Signals, code: int) -> None:
    recorder = Recorder(20, send(number))
    with pytest.raises(Interrupted, match=rf"stopped by {number.name} at step 20; saved; `sciml resume .*`") as caught:
        execute.run(config("execution.checkpoint_seconds=1000.0"), tmp_path, listener=recorder)
    assert caught.value.exit_code == code
    directory = caught.value.directory
    result = json.loads((directory / "result.json").read_text())
    assert result["outcome"] == "stopped"
    assert [(phase["kind"], phase["steps"], phase["ended_by"]) for phase in result["phases"]] == [("adam", 20, "signal")]
    recorder = Recorder()
    execute.resume(directory, listener=recorder)
    assert recorder.started_at == [20]
    assert content(directory) == undisturbed


def test_a_signal_during_the_last_chunk_lets_the_run_end(tmp_path: Path) -> None:
    assert execute.run(config(), tmp_path, listener=Recorder(LAST, send(signal.SIGTERM))).outcome == Outcome.OK


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        execute.run(config(), tmp_path, listener=Recorder(20, twice))


def test_the_wall_limit_stops_and_the_run_goes_on_later(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    stopped = execute.run(config("execution.wall_limit=1e-6"), tmp_path)
    assert stopped.outcome == Outcome.STOPPED
    assert stopped.result["ended_by"] == "wall limit"
    recorder = Recorder()
    assert execute.run(config(), tmp_path, listener=recorder).outcome == Outcome.OK
    assert recorder.started_at == [10]
    assert content(stopped.directory) == undisturbed


def test_a_run_that_is_lengthened_limit_by_limit_is_the_same_run(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    stopped = execute.run(config("execution.step_limit=15"), tmp_path)
    assert (stopped.outcome, stopped.result["ended_by"], stopped.result["steps"]) == (Outcome.STOPPED, "step limit", 20)
    recorder = Recorder()
    for limit, steps in ((15, 20), (20, 20), (40, 40)):
        longer = execute.resume(stopped.directory, more=[f"execution.step_limit={limit}"], listener=recorder)
        assert (longer.outcome, longer.result["ended_by"], longer.result["steps"]) == (Outcome.STOPPED, "step limit", steps)
    assert recorder.steps == [30, 40], "what is at its limit trains no further"
    assert execute.resume(stopped.directory, more=["execution.step_limit=0"]).outcome == Outcome.OK
    assert content(stopped.directory) == undisturbed


def test_a_step_limit_is_reached_whatever_stopped_the_run_there(tmp_path: Path) -> None:
    stopped = execute.run(config("execution.wall_limit=1e-6"), tmp_path)
    assert (stopped.result["ended_by"], stopped.result["steps"]) == ("wall limit", 10)
    again = execute.resume(stopped.directory, more=["execution.step_limit=10"])
    assert (again.result["ended_by"], again.result["steps"]) == ("step limit", 10)


def test_seconds_add_up_over_sessions(tmp_path: Path) -> None:
    totals = []
    stopped = execute.run(config("execution.wall_limit=1e-6"), tmp_path)
    while stopped.outcome == Outcome.STOPPED:
        totals.append(stopped.result["seconds"]["total"])
        stopped = execute.resume(stopped.directory)
    assert len(totals) == 6
    assert totals[-1] > totals[0]  # what a session spends after its last checkpoint does not count for the next


def target() -> float:
    """An error that is first reached in the middle of the second phase."""
    experiment = FakeExperiment()
    errors = {snapshot.step: experiment.error(snapshot.trainable).rel_l2 for snapshot in experiment.train(every=10)}
    step, error = min(((step, error) for step, error in errors.items() if 30 < step < LAST), key=lambda item: item[1])
    assert all(earlier > error for number, earlier in errors.items() if number < step)
    return error


def test_a_target_error_ends_the_run_early(tmp_path: Path) -> None:
    recorder = Recorder()
    result = execute.run(config(f"stop.target_error={target()}"), tmp_path, listener=recorder)
    assert result.outcome == Outcome.OK
    assert result.result["ended_by"] == "target error"
    assert result.result["phases"][-1]["ended_by"] == "target error"
    assert result.result["error"]["rel_l2"] <= target()
    assert recorder.steps[-1] == result.result["steps"] < LAST
    assert any("the target" in message for message in recorder.messages)
    assert execute.run(config(f"stop.target_error={target()}"), tmp_path).reused
    whole = execute.run(config(), tmp_path)
    assert not whole.reused
    assert whole.result["steps"] == LAST


def test_a_crash_after_the_target_does_not_train_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = config(f"stop.target_error={target()}")
    expected = content(execute.run(given, tmp_path / "undisturbed").directory)
    with monkeypatch.context() as patch:
        patch.setattr("sciml.runs.report.write", lambda *_: crash())
        with pytest.raises(Crash):
            execute.run(given, tmp_path)
    (directory,) = tmp_path.glob("fisher_kpp-*")
    recorder = Recorder()
    execute.resume(directory, listener=recorder)
    assert recorder.steps == []
    assert content(directory) == expected


def test_more_budget_for_a_finished_run(tmp_path: Path) -> None:
    directory = execute.run(config(), tmp_path).directory
    recorder = Recorder()
    result = execute.resume(directory, listener=recorder, more=["phases.1.steps=60"])
    assert recorder.steps == [80, 90]
    assert result.result["steps"] == 90
    assert load_config(directory / "config.toml").phases[1].steps == 60
    longer = execute.run(config("phases.1.steps=60"), tmp_path / "longer")
    assert result.solution.theta.tobytes() == longer.solution.theta.tobytes()
    assert [row["step"] for row in result.solution.history] == list(range(10, 91, 10))
    assert len(result.result["phases"]) == 2
    assert sum(phase["seconds"] for phase in result.result["phases"]) == pytest.approx(result.result["seconds"]["training"])


def test_a_crash_during_more_budget_leaves_an_incomplete_run(tmp_path: Path) -> None:
    directory = execute.run(config(), tmp_path).directory
    with pytest.raises(Crash):
        execute.resume(directory, listener=Recorder(80, crash), more=["phases.1.steps=60"])
    assert not (directory / "result.json").exists()
    assert execute.run(config(), tmp_path).result["steps"] == 90


@pytest.mark.parametrize(
    "more",
    [
        "seed=1",
        "network.width=30",
        "phases.1.steps=10",
        "phases.0.steps=40",
        "phases.0.learning_rate=1.0",
        "phases=auto",
        "points.batch=64",
    ],
)
def test_another_run_needs_another_directory(tmp_path: Path, more: str) -> None:
    directory = execute.run(config(), tmp_path).directory
    with pytest.raises(ConfigError, match="cannot change within a run; `sciml run .* begins another"):
        execute.resume(directory, more=[more])
    assert execute.resume(directory).reused


def test_phases_in_time_slabs_cannot_become_longer(tmp_path: Path) -> None:
    """What a slab began from is not kept: refused before anything is touched."""
    directory = execute.run(config("time_slabs=2"), tmp_path).directory
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="phases of a run in time slabs cannot change within a run"):
        execute.resume(directory, more=["phases.1.steps=60"])
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_divergence_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sciml.runs.build.build", lambda config, problem, begun: FakeExperiment(diverges=True))
    result = execute.run(config(), tmp_path)
    assert result.outcome == Outcome.DIVERGED
    assert execute.run(config(), tmp_path).reused


def test_a_locked_directory_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(40, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    with exclusive(directory):
        for begin in (lambda: execute.run(config(), tmp_path), lambda: execute.resume(directory)):
            with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
                begin()


def test_a_damaged_checkpoint_is_skipped(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    (newest,) = (directory / "checkpoints").glob("latest-000004")
    (newest / "cursor.json").write_text("{")
    recorder = Recorder()
    execute.resume(directory, listener=recorder)
    assert recorder.started_at == [30]
    assert any("latest-000004 is damaged" in message for message in recorder.messages)
    assert content(directory) == undisturbed


def test_without_a_readable_checkpoint_the_way_out_works(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    for cursor in directory.glob("checkpoints/latest-*/cursor.json"):
        cursor.unlink()
    with pytest.raises(RunError, match=r"`rm -r .*checkpoints` and then `sciml resume"):
        execute.resume(directory)
    os.rename(directory / "checkpoints", tmp_path / "removed")
    execute.resume(directory)
    assert content(directory) == undisturbed


def test_a_full_disk_can_be_resumed(tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, os.strerror(28))

    recorder = Recorder(40, lambda: monkeypatch.setattr(os, "fsync", full))
    with pytest.raises(RunError, match=r"no space on disk .*free space and `sciml resume"):
        execute.run(config(), tmp_path, listener=recorder)
    monkeypatch.undo()
    (directory,) = tmp_path.glob("fisher_kpp-*")
    execute.resume(directory)
    assert content(directory) == undisturbed


def test_a_torn_row_is_healed(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "lo')
    execute.resume(directory)
    assert content(directory) == undisturbed


def test_lost_rows_are_told(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    (directory / "metrics.jsonl").unlink()
    recorder = Recorder()
    assert execute.resume(directory, listener=recorder).outcome == Outcome.OK
    assert any("has lost 4 rows" in message for message in recorder.messages)


def test_a_changed_environment_is_told_and_kept(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    path = directory / "environment.json"
    before = json.loads(path.read_text())
    before["versions"]["jax"] = "0.1"
    path.write_text(json.dumps(before))
    recorder = Recorder()
    execute.resume(directory, listener=recorder)
    assert any("jax was 0.1" in message for message in recorder.messages)
    after = json.loads(path.read_text())
    assert after["versions"]["jax"] != "0.1"
    assert [each["versions"]["jax"] for each in after["earlier"]] == ["0.1"]


def test_a_problem_that_has_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    path = directory / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_source": "another"}))
    with pytest.raises(RunError, match="the problem 'fisher_kpp' has changed since .* `sciml run"):
        execute.resume(directory)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.toml", None, "is not a run directory: it has no config.toml; `sciml run`"),
        ("config.toml", "problem = ", "cannot be used: .*config.toml.*begin another run with `sciml run`"),
        ("config.toml", "problem = 'fisher_kpp'\ntypo = 1", "typo.*begin another run with `sciml run`"),
        ("result.json", "{", r"result.json cannot be read.*`rm .*result.json` and `sciml resume"),
        ("result.json", "{}", r"result.json has no outcome; delete it, and `sciml resume"),
        ("environment.json", "\0\0", "environment.json cannot be read"),
    ],
)
def test_a_half_written_directory_is_one_clear_error(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    with pytest.raises(Crash):
        execute.run(config(), tmp_path, listener=Recorder(50, crash))
    (directory,) = tmp_path.glob("fisher_kpp-*")
    (directory / name).unlink(missing_ok=True)
    if text is not None:
        (directory / name).write_text(text)
    with pytest.raises(RunError, match=message):
        execute.resume(directory)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RunError, match="File exists|Not a directory"):
        execute.run(config(), tmp_path / "runs")


def test_a_warm_start_is_part_of_the_name(tmp_path: Path) -> None:
    first = execute.run(config(), tmp_path).directory
    warm = execute.run(config(f'warm_start="{first}"'), tmp_path).directory
    execute.resume(first, more=["phases.1.steps=60"])
    assert execute.run(config(f'warm_start="{first}"'), tmp_path).directory not in (first, warm)


def test_the_arrays_of_a_checkpoint_are_plain(tmp_path: Path) -> None:
    directory = execute.run(config(), tmp_path).directory
    arrays = Store(directory).load_latest().arrays
    assert set(arrays) == {"theta", "train/theta", "train/best", "train/state/memory"}
    assert all(type(array) is np.ndarray for array in arrays.values())
