"""The command as a user types it: what it prints, what it returns, how long it takes. Nothing here trains."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sciml import __version__, available, new_problem
from sciml import schema as schema_of

SLOW = ("jax", "equinox", "diffrax", "scipy", "xarray", "matplotlib", "orbax", "optuna", "distributed")
"""What `sciml --help` and `sciml list` do not import: all that takes longer than they may."""


def sciml(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "sciml", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    )


def fails(code, *arguments, cwd=None):
    done = sciml(*arguments, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("argument", ["--help", "list"])
def test_fast_commands_import_nothing_slow(argument):
    code = f"import sys, sciml.cli\ntry: sciml.cli.app(['{argument}'])\nexcept SystemExit: print(sorted(set({SLOW}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_names_every_command():
    text = sciml("--help").stdout
    for command in ("run", "resume", "predict", "list", "check", "new", "schema"):
        assert f"\n  {command} " in text


@pytest.mark.parametrize("command", ["run", "resume", "predict", "list", "check", "schema", "new"])
def test_every_command_has_help(command):
    done = sciml(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: sciml {command}")


def test_version():
    assert sciml("--version").stdout == f"sciml {__version__}\n"


def test_nothing_typed_shows_help():
    done = sciml()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_list_shows_problems_and_configs(tmp_path):
    text = sciml("list", cwd=tmp_path).stdout
    for name in ("fisher_kpp", "burgers", "allen_cahn", "poisson_2d", "wave", "heat_2d", "fisher_kpp_lbfgs", "fisher_kpp_flax"):
        assert name in text
    assert "u_t = D u_xx + r u (1 − u)" in text


def test_list_takes_a_directory(user_problems):
    user_problems("mine", 'import sciml\nclass Mine(sciml.Problem):\n    """[bold]Mine[/bold]."""\n')
    assert "[bold]Mine[/bold]." in sciml("list", "--problems", user_problems.folder).stdout


def test_schema_is_json():
    schema = json.loads(sciml("schema").stdout)
    assert {"ProblemConfig", "DiscoveryConfig"} == {kind["$ref"].rsplit("/", 1)[1] for kind in schema["anyOf"]}
    assert "phases" in schema["$defs"]["ProblemConfig"]["properties"]
    assert json.loads(sciml("schema", "sweep", "--json").stdout) == schema_of("sweep")
    assert {"axes", "engine", "search"} <= schema_of("sweep")["properties"].keys()
    assert "there is no schema of 'swep'; did you mean 'sweep'?" in fails(2, "schema", "swep")


def test_what_the_commands_do_python_does_in_one_call(tmp_path):
    shown = json.loads(sciml("list", "--json").stdout)
    assert {kind: [entry.name for entry in entries] for kind, entries in available().items()} == {
        kind: [entry["name"] for entry in entries] for kind, entries in shown.items()
    }
    path = new_problem("my_heat", tmp_path)
    assert [entry.path for entry in available(tmp_path)["problem"] if entry.name == "my_heat"] == [path]


def test_new_problem_is_written_once_and_found(tmp_path):
    done = sciml("new", "problem", "my_heat", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sciml check my_heat --problems problems" in done.stdout
    path = tmp_path / "problems" / "my_heat.py"
    assert "class MyHeat(sciml.Problem):" in path.read_text()
    assert "my_heat" in sciml("list", "--problems", "problems", cwd=tmp_path).stdout
    path.write_text("mine now")
    assert "stays as it is" in fails(2, "new", "problem", "my_heat", cwd=tmp_path)
    assert path.read_text() == "mine now"


@pytest.mark.parametrize("name", ["My_heat", "../my_heat", "2d", ""])
def test_new_problem_refuses_what_is_no_name(tmp_path, name):
    assert "is not a name" in fails(2, "new", "problem", name, cwd=tmp_path)
    assert not list(tmp_path.rglob("*.py"))


def test_new_problem_where_nothing_can_be_written(tmp_path):
    (tmp_path / "problems").write_text("a file")
    assert "problems" in fails(1, "new", "problem", "my_heat", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "fisher_kp"), "there is no config or problem 'fisher_kp'; did you mean 'fisher_kpp'?"),
        (("run", "../fisher_kpp"), "there is no config or problem '../fisher_kpp'"),
        (("run", "missing.toml"), "missing.toml: No such file or directory"),
        (("run", "fisher_kpp", "--set", "network.widht=3"), "unknown key 'network.widht'; did you mean 'width'?"),
        (("run", "fisher_kpp", "--set", "network.width=wide"), 'network.width = "wide" is not a whole number'),
        (("run", "fisher_kpp", "--set", "parameters.d=3"), "the problem fisher_kpp has no such coefficient"),
        (("run", "fisher_kpp", "--set", "schema_version=99"), "later sciml"),
        (("run", "front_speed"), "'front_speed' is a sweep; `sciml sweep front_speed` makes its runs"),
        (("table", "runs", "--to", "latex", "--json"), "--to latex and --json say different things"),
        (("run", "fisher_kpp", "--device", "cuda"), 'execution.device = "cuda" does not exist'),
        (("run", "fisher_kpp", "--precision", "half"), 'precision = "half" does not exist'),
        (("run", "fisher_kpp", "--threads", "0"), "execution.threads = 0 must be at least 1"),
        (("run", "fisher_kpp", "--seed", "-3"), "seed = -3 must be at least 0"),
        (("run", "fisher_kpp", "--seed", "one"), "--seed"),
        (("run", "fisher_kpp", "--problems", "nowhere"), "there is no such directory"),
        (("run", "fisher_kpp", "--fast"), "--fast"),
        (("run",), "NAME|FILE.toml"),
        (("check", "fisher_kp"), "did you mean 'fisher_kpp'?"),
        (("resume", "runs/none"), "runs/none is not a directory"),
        (("resume", "."), "is not a run directory"),
        (("predict", "runs/none", "--at", "points.csv"), "runs/none is not a directory"),
        (("predict", "."), "--at"),
        (("solve", "fisher_kpp"), "solve"),
    ],
)
def test_what_is_typed_wrong_is_answered(tmp_path, arguments, expected):
    text = fails(2, *arguments, cwd=tmp_path)
    assert expected in text
    assert not list(tmp_path.iterdir())


def test_several_mistakes_come_in_one_answer(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('problem = "fisher_kpp"\nsed = 3\n[network]\ndepth = -1\n')
    text = fails(2, "run", path, "--precision", "half", cwd=tmp_path)
    assert "3 mistakes" in text
    assert "did you mean 'seed'?" in text


def test_a_broken_problem_is_one_message(user_problems):
    user_problems("broken", "import sciml\nclass Broken(sciml.Problem):\n    raise RuntimeError('no')\n")
    assert "line 3: RuntimeError: no" in fails(2, "check", "broken", "--problems", user_problems.folder)


def test_a_closed_pipe_is_no_error():
    code = f"{sys.executable} -m sciml schema | head -1"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("seconds", [0.3, 0.7, 1.1, 1.6])
def test_ctrl_c_at_any_instant_of_the_start_is_quiet(tmp_path, seconds):
    """An exception in the middle of an import of JAX would abort the process."""
    command = [sys.executable, "-m", "sciml", "run", "poisson_2d", "--out", str(tmp_path), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130 or (process.returncode == -signal.SIGINT and seconds < 0.5), errors  # Python itself was starting
    assert "Traceback" not in errors or "sciml" not in errors  # Python's own start is not ours


def test_a_mistake_is_json_where_json_is_asked_for(tmp_path):
    done = sciml("status", tmp_path / "gone", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["exit_code"] == 2
    assert "neither a sweep nor a folder of runs" in told["error"]
