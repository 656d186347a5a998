"""A plan is whole and on the disk before anything starts, and is read back, never decided again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sciml.batch import identity, plan
from sciml.batch.identity import name_runs
from sciml.batch.settings import Planning, read_sweep
from sciml.errors import ConfigError, RunError
from sciml.runs import files
from sciml.runs.catalog import problem_source
from sciml.runs.config import load_config, run_name

TEXT = 'base = "fisher_kpp"\nseeds = 2\n[axes]\n"parameters.D" = [0.01, 0.02]\n'


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without the process that reads the problem's data: one test below is about that."""
    monkeypatch.setattr(plan, "name_runs", lambda configs, problems: [run_name(config, "source", {}) for config in configs])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder comes back."""
    monkeypatch.chdir(Path.cwd())


def planning(folder: Path, text: str = TEXT) -> Planning:
    path = folder / "many.toml"
    path.write_text(text)
    return read_sweep(path)


def made(folder: Path, text: str = TEXT) -> tuple[Path, plan.Plan]:
    directory = folder / "sweep"
    directory.mkdir(exist_ok=True)
    return directory, plan.make_plan(directory, planning(folder, text), None)


def test_names_are_those_of_single_runs() -> None:
    configs = [
        load_config("fisher_kpp", [f"seed={seed}", f"precision={precision}"]) for seed, precision in ((0, "float64"), (1, "float32"))
    ]
    assert name_runs(configs) == [run_name(config, problem_source("fisher_kpp"), {}) for config in configs]


def test_what_cannot_be_trained_is_found_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="there is no term 'intial'"):
        name_runs([load_config("fisher_kpp", ["weights.intial=3.0"])])


def test_a_problem_that_takes_for_ever_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "PATIENCE", 0.01)
    with pytest.raises(RunError, match="could not be named in 0.01 s: building 'fisher_kpp' and reading its data takes too long"):
        name_runs([load_config("fisher_kpp")])


@pytest.mark.usefixtures("quick", "here")
def test_runs_on_a_table_have_no_problem(tmp_path: Path) -> None:
    """`problem` is only their name: there is no text that could change."""
    (tmp_path / "table.csv").write_text("t,x\n0,1\n1,2\n2,4\n")
    base = tmp_path / "growth.toml"
    base.write_text(f'kind = "discovery"\nproblem = "growth"\nseries = {{ file = "{tmp_path}/table.csv" }}\n')
    _, found = made(tmp_path, f'base = "{base}"\n[axes]\nhold_out = [0, 1]\n')
    assert found.header["sources"] == {}
    assert found.changed_problems() == []
    (tmp_path / "table.csv").write_text("t,x\n0,100\n1,200\n2,400\n")
    os.chdir("/")
    tables = {found.run_config(run)["series"]["file"] for run in found.runs}
    assert [Path(each).read_text() for each in tables] == ["t,x\n0,1\n1,2\n2,4\n"], "the sweep's own copy"


@pytest.mark.usefixtures("quick")
def test_a_plan_comes_back_as_it_was(tmp_path: Path) -> None:
    directory, first = made(tmp_path)
    assert [run.values for run in first.runs] == [{"parameters.D": d, "seed": s} for d in (0.01, 0.02) for s in (0, 1)]
    assert plan.read_plan(directory) == first
    assert plan.make_plan(directory, plan.read_planning(directory), None) == first
    assert (directory / "sweep.toml").read_text() == TEXT


@pytest.mark.usefixtures("quick")
def test_a_plan_is_on_the_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_file", lambda path: synced.append(path.name))
    monkeypatch.setattr(files, "sync_folder", lambda path: synced.append(f"{path.name}/"))
    made(tmp_path)
    assert synced[-3:] == [".plan.jsonl.partial", "sweep/", "sweep/"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kept", [0.4, 0.999])
def test_a_torn_plan_is_made_again_with_the_same_runs(tmp_path: Path, kept: float) -> None:
    directory, first = made(tmp_path)
    path = directory / plan.NAME
    whole = path.read_bytes()
    os.truncate(path, int(kept * len(whole)))
    with pytest.raises(RunError, match=r"has \d+ of its \d+ runs; `sciml sweep .*` writes it again"):
        plan.read_plan(directory)
    assert plan.make_plan(directory, plan.read_planning(directory), None).runs == first.runs
    assert path.read_bytes() == whole


@pytest.mark.usefixtures("quick")
def test_a_directory_with_another_plan_stays_as_it_is(tmp_path: Path) -> None:
    directory, _ = made(tmp_path)
    before = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    for text in (TEXT.replace("0.02", "0.03"), TEXT + "[set]\nlog_every = 7\n"):
        with pytest.raises(ConfigError, match="holds another plan .* stays as it is: choose another folder with --out"):
            made(tmp_path, text)
    assert {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()} == before


@pytest.mark.usefixtures("quick")
def test_how_runs_are_executed_is_no_part_of_the_plan(tmp_path: Path) -> None:
    directory, first = made(tmp_path)
    assert made(tmp_path, TEXT + "[engine]\nworkers = 7\n")[1] == first
    assert plan.read_planning(directory).engine.workers == 7


@pytest.mark.usefixtures("quick")
def test_two_runs_that_are_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the runs 0 and 1 are the same run"):
        made(tmp_path, 'base = "fisher_kpp"\n[axes]\n"execution.threads" = [1, 2]\n')


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["../../escape-00000000", "/tmp/x-00000000", "fisher_kpp-0/../x", "", "x", "a b-12345678"])
def test_a_plan_cannot_point_outside_its_sweep(tmp_path: Path, name: str) -> None:
    directory, _ = made(tmp_path)
    path = directory / plan.NAME
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["name"] = name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunError, match="is not the name of a run"):
        plan.read_plan(directory)


def test_a_later_version_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / plan.NAME).write_text('{"schema_version": 99, "runs": 0}\n')
    with pytest.raises(RunError, match="written by a later version"):
        plan.read_plan(tmp_path)


def test_a_plan_without_its_first_line_says_how_to_make_it_again(tmp_path: Path, quick: None) -> None:
    directory, first = made(tmp_path)
    path = directory / plan.NAME
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match=r"its first line, which says what was planned, .* delete .*plan.jsonl and type `sciml sweep`"):
        plan.read_plan(directory)
    path.write_text("[1]\n")
    with pytest.raises(RunError, match=r"line 1 cannot be read: it holds no JSON object; restore it from a copy, or delete"):
        plan.read_planning(directory)
    path.unlink()
    assert made(tmp_path)[1].runs == first.runs
