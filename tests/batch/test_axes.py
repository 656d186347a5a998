"""Axes are what a scientist means by them, and a sweep's file is refused with all its mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sciml.batch.axes import product, read_axes
from sciml.batch.settings import read_sweep
from sciml.errors import ConfigError


def values(single=None, together=(), seeds=None):
    axes, mistakes = read_axes(single or {}, together, seeds)
    assert not mistakes
    return list(product(axes))


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ([1, 2.5, "a"], [1, 2.5, "a"]),
        ({"from": 1, "to": 9, "step": 4}, [1, 5, 9]),
        ({"from": 0.1, "to": 0.35, "step": 0.1}, [0.1, 0.2, 0.3]),
        ({"from": 0.0, "to": 1.0, "count": 5}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"from": 1e-3, "to": 1e-1, "count": 3, "scale": "log"}, [1e-3, 1e-2, 1e-1]),
        ({"from": 2, "to": 2, "count": 1}, [2]),
        ({"from": 512, "to": 4096, "count": 4, "scale": "log"}, [512, 1024, 2048, 4096]),
    ],
)
def test_values_of_an_axis(axis, expected):
    assert [each["a"] for each in values({"a": axis})] == expected


def test_keys_may_be_dotted_or_nested():
    nested = values({"parameters": {"D": [1.0, 2.0], "r": {"from": 1, "to": 2, "step": 1}}})
    dotted = values({"parameters.D": [1.0, 2.0], "parameters.r": [1, 2]})
    assert nested == dotted
    assert list(nested[0]) == ["parameters.D", "parameters.r"]


def test_the_product_varies_the_last_axis_fastest_and_zipped_keys_together():
    found = values({"a": [1, 2]}, [{"b": [3, 4], "c": [5, 6]}], seeds=2)
    assert [tuple(each.values()) for each in found] == [
        *((1, 3, 5, 0), (1, 3, 5, 1), (1, 4, 6, 0), (1, 4, 6, 1)),
        *((2, 3, 5, 0), (2, 3, 5, 1), (2, 4, 6, 0), (2, 4, 6, 1)),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": []}, (), None), "axes.a is empty, and so no run would be made"),
        (({"a": 3}, (), None), r"axes.a = 3 is not an axis.*belongs into \[set\]"),
        (({"a": {"from": 1, "to": 3}}, (), None), "either count or step"),
        (({"a": {"from": 3, "to": 1, "count": 2}}, (), None), "to = 1 is below from = 3"),
        (({"a": {"from": 0, "to": 1, "count": 2, "scale": "log"}}, (), None), "a log range has a positive from"),
        (({"a": {"from": 0, "to": 1, "cuont": 2}}, (), None), "unknown key 'cuont'; did you mean 'count'"),
        (({"a": {"from": 0.0, "to": float("inf"), "count": 2}}, (), None), "not a finite number"),
        (({"a": {"from": 0.0, "to": 1.0, "step": 1e-9}}, (), None), "more than 100,000 values"),
        (({"a": [1, 2, 1]}, (), None), "the axis 'a' has 1 twice"),
        (({"a": {"too": 3, "from": 1}}, (), None), "unknown key 'too'; did you mean 'to'"),
        (({"a": [1.0, float("nan")]}, (), None), "axes.a.1 = nan is not a finite number; write for example axes.a.1 = 1.0"),
        (({"seed": [1]}, (), 2), "seeds = 2 and an axis both set 'seed'"),
        (({"a": [1]}, ({"a": [2]},), None), "two axes set 'a'"),
        (({}, ({"a": [1, 2], "b": [1]},), None), "'a' has 2, 'b' has 1"),
    ],
)
def test_mistakes(arguments, message):
    _, mistakes = read_axes(*arguments)
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(mistakes)


def written(folder: Path, text: str) -> Path:
    path = folder / "many.toml"
    path.write_text(text)
    return path


def test_a_sweep_tells_all_its_mistakes_at_once(tmp_path: Path) -> None:
    text = """
base = "fisher_kpp"
[set]
network.widht = 8
[axes]
"parameters.r" = []
"network.depth" = 7
"""
    with pytest.raises(ConfigError) as caught:
        read_sweep(written(tmp_path, text))
    told = "\n".join(caught.value.mistakes)
    assert len(caught.value.mistakes) == 3
    for part in (
        "unknown key 'network.widht'; did you mean 'width'",
        "axes.parameters.r is empty",
        "axes.network.depth = 7 is not an axis",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ('"parameters.E" = [1.0]', "the problem fisher_kpp has no such coefficient"),
        ('"network.widht" = [1, 2]', "unknown key 'network.widht'; did you mean 'width'"),
        ('"nonsense" = [1, 2]', "unknown key 'nonsense'"),
        ('"network.width" = [4, 0]', "network.width = 0 must be at least 1"),
        ('"phases.0.steps" = [4, 8]', "list the phases first"),
        ("", "nothing to sweep over"),
    ],
)
def test_an_axis_that_names_no_key_or_a_wrong_value(tmp_path: Path, axes: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_sweep(written(tmp_path, f'base = "fisher_kpp"\n[axes]\n{axes}\n'))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "fisher_kp"\nseeds = 2', "did you mean 'fisher_kpp'"),
        ('base = "gone.toml"\nseeds = 2', "gone.toml: No such file or directory"),
        ('base = "../../etc/passwd"\nseeds = 2', "there is no config or problem"),
        ('problem = "fisher_kpp"', "the config of one run; `sciml run"),
        ('base = "fisher_kpp"\nseeds = 0', "seeds = 0 must be at least 1"),
        ('base = "fisher_kpp"\nseeds = 2\nengin.workers = 2', "unknown key 'engin'; did you mean 'engine'"),
        ('base = "fisher_kpp"\nseeds = 2\nengine.workers = 0', "engine.workers = 0 must be at least 1"),
        ('base = "fisher_kpp"\nseeds = 2\nengine.devices = ["0; rm -rf /"]', "engine.devices"),
        ('base = "fisher_kpp"\nseeds = 1000\naxes.seed2 = 3\naxes.log_every = {from=1,to=90000,step=1}', "90,000,000 runs are more than"),
    ],
)
def test_a_sweep_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_sweep(written(tmp_path, text))


def test_a_base_beside_the_sweep_and_what_is_set_for_all(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('problem = "fisher_kpp"\nnetwork.width = 5\nlog_every = 7\n')
    path = written(tmp_path, 'base = "base.toml"\n[set]\n"network.depth" = 2\nlog_every = 9\n[axes]\nparameters.D = [0.01, 0.02]\n')
    configs = read_sweep(path, ["points.interior=64"]).configs()
    assert [config.parameters for _, config in configs] == [{"D": 0.01}, {"D": 0.02}]
    assert {(config.network.width, config.network.depth, config.log_every, config.points.interior) for _, config in configs} == {
        (5, 2, 9, 64)
    }


def test_every_shipped_sweep_is_right() -> None:
    files = sorted((Path(__file__).parents[2] / "configs" / "sweeps").glob("*.toml"))
    assert files
    for path in files:
        found = read_sweep(path)
        assert found.search is not None or len(found.configs()) > 1
