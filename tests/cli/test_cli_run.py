"""One small run from the command line, from `check` to `predict`, and what a signal or a limit makes of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sciml.runs.store import Store

SMALL = (
    *(
        "--set",
        "network.width=4",
        "--set",
        "network.depth=1",
        "--set",
        "points={interior=64, boundary=32, initial=32, batch=64, validation=64}",
    ),
    *("--set", 'phases=[{kind="adam", steps=20}]', "--set", "log_every=5"),
)
ENDLESS = ("--set", 'phases=[{kind="adam", steps=100000000, until=[]}]')


def command(*arguments):
    return [sys.executable, "-m", "sciml", *map(str, arguments)]


def sciml(*arguments, **variables):
    environment = os.environ | {"COLUMNS": "200"} | variables
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small finished run: its directory and what the command printed."""
    parent = tmp_path_factory.mktemp("out")
    done = sciml("run", "poisson_2d", *SMALL, "--out", parent, "--seed", "3")
    assert done.returncode == 0, done.stderr
    (directory,) = parent.iterdir()
    return directory, done


def test_a_run_tells_its_progress_and_its_end(small):
    directory, done = small
    assert directory.name.startswith("poisson_2d-")
    assert "adam" in done.stderr
    assert "step" in done.stderr
    for expected in ("poisson_2d: ok in", "relative L2", "reference: exact", f"{directory}", "report.html"):
        assert expected in done.stdout
    assert json.loads((directory / "result.json").read_text())["seed"] == 3


def test_a_second_run_reports_the_first(small):
    directory, _ = small
    before = (directory / "result.json").read_bytes()
    done = sciml("run", directory / "config.toml", "--out", directory.parent, "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert json.loads(done.stdout)["directory"] == str(directory)
    assert (directory / "result.json").read_bytes() == before
    assert list(directory.parent.iterdir()) == [directory]


def test_predict_evaluates_the_solution(small, tmp_path):
    directory, _ = small
    points = tmp_path / "points.csv"
    points.write_text("x,y\n0.5,0.25\n2.0,0.5\n")
    done = sciml("predict", directory, "--at", points, "--out", tmp_path / "fields.csv")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 points are outside" in done.stderr
    header, first, _ = (tmp_path / "fields.csv").read_text().splitlines()
    assert header == "x,y,u"
    assert first.startswith("0.5,0.25,")
    assert sciml("predict", directory, "--at", points).stdout == (tmp_path / "fields.csv").read_text()
    refused = sciml("predict", directory, "--at", points, "--out", points)
    assert refused.returncode == 2
    assert points.read_text().startswith("x,y\n")


def test_predict_refuses_points_without_a_coordinate(small, tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("x,z\n0.5,0.25\n")
    done = sciml("predict", small[0], "--at", points)
    assert done.returncode == 2
    assert "there is no column 'y'" in done.stderr


def test_discover_makes_a_run_of_a_table(tmp_path):
    times = np.linspace(0.0, 4.0, 21)
    values = 3 * np.exp(-0.5 * times) + 0.01 * np.random.default_rng(0).standard_normal(21)
    table = tmp_path / "cooling.csv"
    table.write_text("t,x\n" + "".join(f"{t},{x}\n" for t, x in zip(times, values, strict=True)))
    options = ("--noise", "gaussian", "--hold-out", "3", "--threads", "1", "--set", "vector_field.degree=2", "--quiet", "--json")
    done = sciml("discover", table, *options, "--out", tmp_path / "runs", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["coefficients"]
    assert set(found) == {"x': x"}
    assert found["x': x"]["value"] == pytest.approx(-0.5, abs=4 * found["x': x"]["standard_error"])
    (directory,) = (tmp_path / "runs").iterdir()
    assert (directory / "series.csv").read_bytes() == table.read_bytes()
    assert "threads = 1" in (directory / "config.toml").read_text()
    kept = [path.name for path in (tmp_path / "cache").rglob("jit_*-cache")]
    for through_the_solver in ("advance", "linearise", "predictions"):
        assert any(name.startswith(f"jit_{through_the_solver}-") for name in kept)


def test_a_run_goes_on_without_the_run_it_was_warmed_by(small, tmp_path):
    gone = tmp_path / "gone"
    shutil.copytree(small[0], gone)
    warm = ("--set", f'warm_start="{gone}"', "--set", "execution.wall_limit=0.01", *ENDLESS)
    parent = tmp_path / "warm"
    assert sciml("run", "poisson_2d", *SMALL, *warm, "--out", parent, "--quiet").returncode == 1
    shutil.rmtree(gone)
    (directory,) = parent.iterdir()
    done = sciml("resume", directory, "--set", "stop.target_error=1e9", "--quiet")
    assert done.returncode == 0, done.stderr


def test_a_problem_of_ones_own_is_found_again(user_problems, tmp_path):
    text = (
        "import sciml\nclass Mine(sciml.Problem):\n    domain = sciml.Box(x=(0.0, 1.0))\n"
        "    def equation(self, u_xx):\n        return u_xx - 1\n"
        "    def conditions(self):\n        return [sciml.Dirichlet(0.0, on='x')]\n"
    )
    user_problems("mine", text + "    def reference(self):\n        return None\n")
    given = ("--problems", user_problems.folder, "--out", tmp_path / "mine", "--quiet")
    refused = sciml("run", "mine", *SMALL, "--set", "stop.target_error=1e-3", *given)
    assert refused.returncode == 2
    assert "cannot be measured: `reference` of Mine returns None" in refused.stderr
    assert not list((tmp_path / "mine").iterdir())
    assert sciml("run", "mine", *SMALL, *ENDLESS, "--set", "execution.wall_limit=0.01", *given).returncode == 1
    (directory,) = (path.parent for path in (tmp_path / "mine").glob("*/config.toml"))
    done = sciml("resume", directory, "--set", "execution.wall_limit=0.02", "--quiet")
    assert done.returncode == 1, done.stderr
    assert "stopped" in done.stdout


def test_validation_is_that_of_the_returned_state(run_parent):
    """Whatever is logged: the best state need not stand in a row."""
    phases = 'phases=[{kind="adam", steps=250, until=[], learning_rate=0.1}]'
    results = []
    for every in (40, 100):
        done = sciml(
            "run", "poisson_2d", *SMALL, "--set", phases, "--set", f"log_every={every}", "--out", run_parent / str(every), "--json"
        )
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    assert results[0]["validation"] == results[1]["validation"]
    assert results[0]["error"]["rel_l2"] == results[1]["error"]["rel_l2"]


def test_single_precision_trains(run_parent):
    """In a process of its own: precision is settled once per process."""
    phases = 'phases=[{kind="adam", steps=100, until=[]}, {kind="broyden", steps=100}]'
    done = sciml("run", "poisson_2d", *SMALL, "--set", phases, "--set", "precision=float32", "--out", run_parent, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["precision"] == "float32"
    assert result["error"]["rel_l2"] < 0.1
    (directory,) = run_parent.iterdir()
    assert {array.dtype for array in Store(directory).load_best().arrays.values()} == {np.dtype("float32")}


def test_check_passes_what_is_right(tmp_path):
    done = sciml("check", "poisson_2d", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok" in done.stdout
    assert "wrong" not in done.stdout


def test_check_finds_what_is_wrong(user_problems):
    user_problems(
        "wrong",
        "import sciml\nclass Wrong(sciml.Problem):\n    domain = sciml.Box(x=(0.0, 1.0))\n"
        "    def equation(self, u_xx):\n        return u_xx\n"
        "    def conditions(self):\n        return [sciml.Dirichlet(0.0, on='x')]\n"
        "    def exact(self, x):\n        return x * (1 - x)\n",
    )
    done = sciml("check", "wrong", *SMALL, "--problems", user_problems.folder)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "wrong" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_run_that_stops_at_its_wall_limit_says_how_to_go_on(run_parent):
    done = sciml("run", "poisson_2d", *SMALL, *ENDLESS, "--set", "execution.wall_limit=0.01", "--out", run_parent, "--quiet")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "sciml resume" in done.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_save_and_have_their_exit_codes(run_parent, number, code):
    started = subprocess.Popen(command("run", "poisson_2d", *SMALL, *ENDLESS, "--out", run_parent), stderr=subprocess.PIPE, text=True)
    try:
        wait_for_rows(run_parent)
        started.send_signal(number)
        _, errors = started.communicate(timeout=120)
    finally:
        started.kill()
    assert started.returncode == code, errors
    assert "sciml resume" in errors
    assert "Traceback" not in errors
    (directory,) = run_parent.iterdir()
    assert any((directory / "checkpoints").iterdir())


def wait_for_rows(parent: Path) -> None:
    for _ in range(2400):
        if any(path.stat().st_size for path in parent.glob("*/metrics.jsonl")):
            return
        time.sleep(0.05)
    pytest.fail("no row of metrics after two minutes")
