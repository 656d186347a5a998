"""What one sees of a sweep: status, table, report, comparison; read from run directories, and safe to open anywhere."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import sciml
from sciml.batch import attempt, narrate, plan, table
from sciml.batch.settings import read_sweep
from sciml.batch.status import status
from sciml.batch.table import cell, latex
from sciml.batch.under_way import makespan
from sciml.cli import app
from sciml.errors import ConfigError, RunError
from sciml.runs import files
from sciml.runs.config import run_name
from sciml.runs.jsonl import append_row
from sciml.runs.lock import exclusive, find_holder

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A planned sweep of 3 x 3 runs of which nothing is made yet."""
    monkeypatch.setattr(plan, "name_runs", lambda configs, problems: [run_name(config, "", {}) for config in configs])
    file = tmp_path / "speed.toml"
    file.write_text(f'# {HOSTILE}\nbase = "fisher_kpp"\nseeds = 3\n[axes]\n"parameters.D" = [0.01, 0.02, 0.04]\n')
    folder = tmp_path / "speed"
    folder.mkdir()
    plan.make_plan(folder, read_sweep(file), None)
    return folder


def runs(directory: Path) -> list[Path]:
    made = plan.read_plan(directory)
    return [made.run_directory(run) for run in made.runs]


def finish(run: Path, error: float | None, outcome: str = "ok", seconds: float = 10.0) -> None:
    run.mkdir(exist_ok=True)
    result = {"outcome": outcome, "steps": 100, "seconds": {"total": seconds}, "validation": {"mean_square": 1e-9}}
    files.write_json(run / "result.json", result | {"error": None if error is None else {"rel_l2": error}, "unknowns": {}})


def note(run: Path, reason: str, detail: str = "", again: bool = False) -> None:
    run.mkdir(exist_ok=True)
    attempt.append_row(run / attempt.NAME, {"attempt": 1, "reason": reason, "detail": detail, "again": again})


@pytest.fixture
def half(directory: Path) -> Path:
    """A sweep with a run in every state."""
    each = runs(directory)
    for number, error in enumerate((3e-4, 1e-4, 9e-4)):
        finish(each[number], error, seconds=10.0 + number)
    finish(each[3], 2e-3)
    finish(each[4], None, outcome="diverged")
    note(each[5], "out of memory", f"RESOURCE_EXHAUSTED {HOSTILE}")
    note(each[6], "killed by a signal", again=True)
    finish(each[7], 5e-2, outcome="stopped")
    note(each[7], "stopped", "wall limit")
    return directory


def test_status_counts_every_state(half: Path) -> None:
    running = runs(half)[8]
    running.mkdir()
    with exclusive(running):
        found = sciml.status(half)
    assert found["counts"] == {"ok": 4, "diverged": 1, "failed": 1, "stopped": 1, "running": 1, "waiting": 1}
    assert found["reasons"] == {"diverged": 1, "out of memory": 1, "stopped": 1}
    assert found["scheduler"] is None
    assert found["best"][0] == {
        "parameters.D": 0.01,
        "runs": 3,
        "ok": 3,
        "measure": "error",
        "median": 3e-4,
        "worst": 9e-4,
        "best": 1e-4,
        "spread": pytest.approx(4e-4),
    }


def metrics(run: Path, **row: Any) -> None:
    run.mkdir(exist_ok=True)
    append_row(run / "metrics.jsonl", {"step": 50, "kind": "adam", "loss": 1.0, "validation": 2.0, "seconds": 3.0, "error": None} | row)


def test_what_runs_are_doing_and_what_is_left(half: Path) -> None:
    running = runs(half)[8]
    note(running, "out of memory", again=True)
    metrics(running)
    metrics(running, step=1200, kind="broyden", loss=2e-5, error=0.5)
    with exclusive(running), exclusive(half):
        found = sciml.status(half)
        text = CliRunner().invoke(app, ["status", str(half)]).output
    told = {"phase": "broyden", "step": 1200, "loss": 2e-5, "residual": 2.0, "error": 0.5, "seconds": 3.0, "after": "out of memory"}
    assert found["running"] == [{"run": running.name, **told}]
    assert found["median_seconds"] == 11.0
    assert 11.0 <= found["seconds_left"] <= 22.0  # one that runs, and then one that waits
    assert found["again"] == [{"run": runs(half)[6].name, "reason": "killed by a signal", "detail": ""}]
    assert re.search(r"worked on by process \d+ on .*, about [0-9.]+ s left\n", text)
    assert f"{running.name}: broyden, step 1,200, loss 2.0e-05, residual 2.0e+00, error 5.0e-01, 3.0 s, again after: out of memory" in text
    assert "1 died and will be tried again:" in text
    assert f"`sciml sweep {half} --retry-failed` tries what failed again" in text


def test_runs_that_go_on_without_a_scheduler_are_said_to(half: Path) -> None:
    running = runs(half)[8]
    running.mkdir()
    with exclusive(running):
        text = CliRunner().invoke(app, ["status", str(half)]).output
    assert f"1 still runs without a scheduler; `sciml sweep {half}` waits for it and goes on" in text
    assert f"{running.name}: starts" in text
    assert "nobody works on it" not in text
    assert "left" not in text


@pytest.mark.parametrize(
    ("left", "waiting", "expected"), [([3.0], 0, 3.0), ([3.0, 0.0], 1, 10.0), ([3.0, 1.0], 3, 21.0), ([50.0, 0.0], 2, 50.0)]
)
def test_the_rest_is_shared_out(left: list[float], waiting: int, expected: float) -> None:
    assert makespan(left, waiting, 10.0) == expected


@pytest.mark.parametrize("as_json", [False, True])
def test_watching_through_a_pipe_tells_each_change(half: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    looks = [status(half) for _ in range(4)]
    for look, ok in zip(looks, (4, 4, 5, 6), strict=True):
        look["counts"]["ok"] = ok
    for look in looks[:3]:
        look["scheduler"] = "process 1"
    monkeypatch.setattr(narrate, "status", lambda directory: looks.pop(0))
    monkeypatch.setattr(narrate, "PAUSE", 0.0)
    lines = CliRunner().invoke(app, ["status", str(half), "--watch", *(["--json"] if as_json else [])]).output.splitlines()
    if as_json:
        assert [json.loads(line)["counts"]["ok"] for line in lines] == [4, 5, 6]
        return
    assert [re.findall(r"\d ok", line) for line in lines[:3]] == [["4 ok"], ["5 ok"], ["6 ok"]]
    assert "nobody works on it" in lines[3]


def test_a_seed_that_failed_shows_in_the_worst(half: Path) -> None:
    rows = {row["parameters.D"]: row for row in sciml.load(half).over_seeds}
    assert (rows[0.02]["ok"], rows[0.02]["best"], rows[0.02]["median"], rows[0.02]["worst"]) == (1, 2e-3, None, None)


def test_who_works_on_it_is_said(half: Path) -> None:
    with exclusive(half):
        assert "process " in sciml.status(half)["scheduler"]
    text = CliRunner().invoke(app, ["status", str(half)]).output
    assert "nobody works on it; `sciml sweep" in text
    assert "1 x out of memory" in text


def test_the_table_has_a_row_per_run_in_the_plans_order(half: Path) -> None:
    rows = sciml.table(half)
    assert [row["run"] for row in rows] == [run.name for run in runs(half)]
    assert [row["state"] for row in rows] == ["ok"] * 4 + ["diverged", "failed", "waiting", "stopped", "waiting"]
    assert json.loads(str(sciml.table(half, "json"))) == rows
    read = list(csv.DictReader(io.StringIO(str(sciml.table(half, "csv")))))
    assert [float(row["error"]) for row in read[:4]] == [3e-4, 1e-4, 9e-4, 2e-3]
    assert read[5]["detail"] == f"RESOURCE_EXHAUSTED {HOSTILE}"
    assert r"$3 \times 10^{-4}$" not in str(sciml.table(half, "latex"))
    assert "0.0003" in str(sciml.table(half, "latex"))


@pytest.mark.parametrize("to", ["csv", "latex", "json"])
def test_the_table_over_seeds_has_a_row_per_combination(half: Path, to: str) -> None:
    rows = sciml.table(half, over_seeds=True)
    assert rows == sciml.load(half).over_seeds
    assert len(rows) == 3
    done = CliRunner().invoke(app, ["table", str(half), "--over-seeds", "--to", to, "--columns", "parameters.D, ok,median"])
    lines = [r"parameters.D & ok & median \\", r"\hline", r"0.01 & 3 & 0.0003 \\", r"0.02 & 1 &  \\", r"0.04 & 0 &  \\"]
    chosen = [{column: row[column] for column in ("parameters.D", "ok", "median")} for row in rows]
    expected = {
        "csv": "parameters.D,ok,median\n0.01,3,0.0003\n0.02,1,\n0.04,0,\n",
        "latex": "\n".join([r"\begin{tabular}{rrr}", r"\hline", *lines, r"\hline", r"\end{tabular}", ""]),
        "json": json.dumps(chosen, indent=2) + "\n",
    }
    assert done.output == expected[to]


def test_a_column_that_was_asked_for_is_there_even_where_it_is_empty(half: Path) -> None:
    assert "detail" not in str(sciml.table(half, "latex"))
    assert "run & detail" in str(sciml.table(half, "latex", columns=["run", "detail"]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("run,eror", "there is no column 'eror'; there are: run, parameters.D, seed"),
        (",", "no column was chosen; there are: run, "),
    ],
)
def test_a_column_that_is_not_there_is_refused(half: Path, columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sciml.table(half, columns=[column for column in columns.split(",") if column])
    assert CliRunner().invoke(app, ["table", str(half), "--columns", columns]).exit_code == 2


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_cells_are_no_formulas(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(-1.5) == "-1.5"


def test_latex_carries_nothing_out() -> None:
    assert latex(r"\input{/etc/passwd} 50% of $x_1$") == r"\textbackslash{}input\{/etc/passwd\} 50\% of \$x\_1\$"
    assert latex(1.5e-9) == r"$1.5 \times 10^{-9}$"


def test_the_report_is_one_file_that_escapes_what_it_prints(half: Path) -> None:
    text = sciml.report(half).read_text()
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    assert "Content-Security-Policy" in text
    assert text.count("data:image/png") == 2
    for part in ("out of memory: 1 runs", "diverged: 1 runs", "3 of 3", "Median error", "Spread"):
        assert part in text


def test_the_report_leads_to_the_reports_of_its_runs(half: Path) -> None:
    run = runs(half)[5]
    (run / "report.html").write_text("a run")
    text = sciml.report(half).read_text()
    assert re.findall(r'href="([^"]*)"', text) == [f"runs/{run.name}/report.html"] * 2, "among all runs, and among those that failed"
    assert (half / f"runs/{run.name}/report.html").is_file()


def test_a_link_leads_nowhere_else_whatever_a_folder_is_called(tmp_path: Path) -> None:
    folder = tmp_path / 'javascript:x"><script>'
    folder.mkdir()
    (folder / "config.toml").write_text('problem = "fisher_kpp"\nseed = 4\n')
    finish(folder, 1e-3)
    (folder / "report.html").write_text("a run")
    text = sciml.report(tmp_path).read_text()
    assert re.findall(r'href="([^"]*)"', text) == ["javascript%3Ax%22%3E%3Cscript%3E/report.html"]
    assert "<script>" not in text


def test_a_sweep_over_seeds_alone_has_no_empty_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "name_runs", lambda configs, problems: [run_name(config, "", {}) for config in configs])
    (tmp_path / "many.toml").write_text('base = "fisher_kpp"\nseeds = 2\n')
    folder = tmp_path / "many"
    folder.mkdir()
    plan.make_plan(folder, read_sweep(tmp_path / "many.toml"), None)
    for run in runs(folder):
        finish(run, 3e-4)
    text = CliRunner().invoke(app, ["status", str(folder)]).output
    assert text.endswith("  lowest error (median over 2 seeds): 3.00e-04\n")
    assert "median over 2 seeds" in sciml.report(folder).read_text()


def test_a_report_before_anything_is_made(directory: Path) -> None:
    assert "9 waiting" in sciml.report(directory).read_text()


def test_a_folder_of_runs_is_seen_as_well(half: Path) -> None:
    for run in runs(half)[:2]:
        (run / "config.toml").write_text('problem = "fisher_kpp"\nseed = 4\n')
    assert sciml.status(half / "runs")["counts"] == {"ok": 2}
    with pytest.raises(ConfigError, match="neither a sweep nor a folder of runs"):
        sciml.status(half / "nothing")


def test_a_sweep_comes_back_as_objects(half: Path) -> None:
    sweep = sciml.load(half)
    assert len(sweep) == 9
    assert sweep.runs[1].values == {"parameters.D": 0.01, "seed": 1}
    assert sweep.runs[1].result["error"]["rel_l2"] == 1e-4
    assert sweep.runs[5].reason == "out of memory"
    assert not sweep.complete
    assert "4 ok" in repr(sweep)
    assert repr(sweep.runs[1]) == f"{runs(half)[1].name}: ok, parameters.D=0.01  seed=1"
    assert "failed, out of memory, parameters.D=0.02" in repr(sweep.runs[5])
    assert all(math.isclose(row["error"], run.result["error"]["rel_l2"]) for row, run in zip(sweep.table, sweep.runs[:4], strict=False))


def test_the_best_combination_is_that_of_the_lowest_median(directory: Path) -> None:
    each = runs(directory)
    for number, error in enumerate((1e-3, 2e-3, 3e-3, 1e-9, 5e-1, None)):
        finish(each[number], error, "diverged" if error is None else "ok")
    assert sciml.load(directory).best.directory == each[0], "the lowest median is not that of the luckiest run"
    assert sciml.status(directory)["best"][0]["parameters.D"] == 0.01


def test_where_no_combination_has_a_median_the_best_run_is_the_best(directory: Path) -> None:
    with pytest.raises(RunError, match="no run that ended well"):
        _ = sciml.load(directory).best
    finish(runs(directory)[4], 1e-2)
    finish(runs(directory)[7], 1e-3)
    assert sciml.load(directory).best.directory == runs(directory)[7]


def test_a_result_that_cannot_be_read_spoils_only_its_own_run(half: Path) -> None:
    (runs(half)[0] / "result.json").write_text("{")
    found = sciml.status(half)
    assert found["counts"]["ok"] == 3
    assert found["counts"]["failed"] == 2
    assert any("result.json cannot be read" in each["detail"] for each in found["failures"])


def test_two_runs_side_by_side(half: Path) -> None:
    one, other = runs(half)[:2]
    for run, seed in ((one, 0), (other, 1)):
        (run / "config.toml").write_text(f'problem = "fisher_kpp"\nseed = {seed}\n')
    found = sciml.compare(one, other)
    assert found["config"] == {"seed": {"values": [0, 1]}}
    assert found["results"]["error.rel_l2"] == {"values": [3e-4, 1e-4], "ratio": pytest.approx(1 / 3)}
    done = CliRunner().invoke(app, ["compare", str(one), str(other)])
    assert re.search(r"\n  error +0.0003 +0.0001 +x 0.333\n", done.output)
    assert re.search(r"\n  residual +1e-09 +1e-09\n", done.output)
    assert json.loads(CliRunner().invoke(app, ["compare", str(one), str(other), "--json"]).output) == found
    with pytest.raises(ConfigError, match="is not a run directory"):
        sciml.compare(one, half)


@pytest.mark.parametrize("arguments", [["status"], ["table", "--to", "json"], ["table", "--json"]])
def test_what_is_seen_as_json(half: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(app, [arguments[0], str(half), *arguments[1:], *(["--json"] if arguments == ["status"] else [])])
    assert done.exit_code == 0
    assert json.loads(done.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "{half}", "--to", "exel"], "--to exel does not exist"),
        (["status", "{half}/gone"], "neither a sweep nor a folder of runs"),
        (["sweep", "gone"], "there is no sweep 'gone'"),
        (["sweep", "{half}/.."], "is not a sweep"),
        (["sweep", "{half}", "--set", "seed=3"], "--set cannot change it"),
    ],
)
def test_mistakes_have_exit_code_2(half: Path, arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sciml", *(part.format(half=half) for part in arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_row_of_a_table_looks_at_its_own_run_alone(half: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else ten thousand rows would take a hundred million looks."""
    looks, look = [], table._is_halved
    monkeypatch.setattr(table, "_is_halved", lambda states: looks.append(1) or look(states))
    assert len(sciml.table(half)) == 9
    assert len(looks) == 1


def test_a_sweep_does_not_mind_when_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(Console, "on_broken_pipe", lambda self: sys.exit(1))
    narrator = narrate.Narrator(Console(file=Closed()))
    narrator.message("one")
    narrator.message("two")


def test_looking_imports_no_jax(half: Path) -> None:
    code = "import sys, sciml; sciml.status(sys.argv[1]); sciml.table(sys.argv[1], 'csv'); assert not {'jax', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(half)], check=True)


def task(run: Path, **more: Any) -> attempt.Task:
    given = {"directory": str(run), "config": "", "problem": "fisher_kpp", "source": "", "problems": None, "version": sciml.__version__}
    given |= {"failures": 1, "time_limit": None, "grace": 1.0, "stop": str(run.parent / "stop")}
    return attempt.Task(**(given | more))


def test_a_worker_with_another_version_does_nothing(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "fisher_kpp-00000000"
    ended = attempt.attempt(task(run, version="0.0.1"))
    assert ended["reason"] == "wrong version"
    assert "whoever submits the runs has 0.0.1" in ended["detail"]
    assert sorted(path.name for path in run.iterdir()) == ["attempts.jsonl"]


def test_a_run_directory_that_leads_elsewhere_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    run = tmp_path / "runs" / "fisher_kpp-00000000"
    run.symlink_to(tmp_path / "elsewhere")
    ended = attempt.attempt(task(run))
    assert ended["reason"] == "config"
    assert "leads outside the sweep by a link" in ended["detail"]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_folder_of_runs_that_leads_elsewhere_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "elsewhere")
    ended = attempt.attempt(task(tmp_path / "runs" / "fisher_kpp-00000000"))
    assert ended["reason"] == "config"
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("killed", [True, False])
def test_a_run_of_a_dead_scheduler_that_dies_is_a_failed_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    run = tmp_path / "runs" / "fisher_kpp-00000000"
    run.mkdir(parents=True)
    code = "import sys; from sciml.runs.lock import exclusive, Path\nwith exclusive(Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", code, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdout.readline()

        def seen(directory: Path) -> Any:
            if holder := find_holder(directory):
                if not killed:
                    (run / "result.json").write_text('{"outcome": "ok"}')
                orphan.kill()
            return holder

        monkeypatch.setattr(attempt, "find_holder", seen)
        ended = attempt.attempt(task(run, failures=2))
    expected = ("error", True) if killed else ("done", False)
    assert (ended["reason"], ended["again"], ended["adopted"]) == (*expected, True)
    assert [row["reason"] for row in attempt.read_attempts(run)] == [expected[0]]


def test_a_sweep_whose_directory_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "speed.toml").write_text('base = "fisher_kpp"\nseeds = 2\n')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "speed").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a link"):
        sciml.sweep(tmp_path / "speed.toml", out=tmp_path)


@pytest.mark.parametrize("name", ["..toml", "a b.toml", "-rf.toml", "x" * 70 + ".toml"])
def test_a_sweeps_name_names_one_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('base = "fisher_kpp"\nseeds = 2\n')
    with pytest.raises(ConfigError, match="cannot name a directory"):
        sciml.sweep(tmp_path / name, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
