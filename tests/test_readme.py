"""What the README shows: its Python block runs (with fewer steps), its settings are accepted, its names exist."""

import re
import shlex
from pathlib import Path

import pytest

import sciml
from sciml.runs.config import load_config

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_the_problem_is_solved(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert code.count("seed=0)") == 1
    monkeypatch.chdir(tmp_path)
    steps = "seed=0, phases=[sciml.Adam(steps=100, until=()), sciml.Broyden(steps=300)])"
    exec(compile(code.replace("seed=0)", steps), "README.md", "exec"), found := {})
    assert found["solution"].error().rel_l2 < 0.05
    assert (tmp_path / "fisher_kpp.png").stat().st_size > 10_000
    assert "rel-L2" in capsys.readouterr().out


@pytest.mark.parametrize("command", [line for line in COMMANDS if "sciml run" in line])
def test_the_settings_of_a_command_are_accepted(command):
    words = shlex.split(command[command.index("sciml run") :])[2:]
    overrides = [word for flag, word in zip(words, words[1:], strict=False) if flag == "--set"]
    assert load_config(words[0], overrides).problem == "fisher_kpp"


def test_both_set_up_commands_are_there():
    for name in ("run", "tests"):
        block = re.search(rf"<!-- command: {name} -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
        assert block
        assert len(block[1].strip().splitlines()) == 1


def test_every_problem_of_the_table_has_a_config():
    names = re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)
    assert names
    assert set(names) <= {path.stem for path in (ROOT / "configs").glob("*.toml")}


def test_the_public_names_it_uses_exist():
    assert set(re.findall(r"\bsciml\.(\w+)\(", TEXT)) <= set(dir(sciml))
