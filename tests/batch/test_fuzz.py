"""Random configs, overrides and sweeps are read, or refused with a clear config error; nothing else happens.

`SCIML_FUZZ=5000 pytest tests/batch/test_fuzz.py` draws as many of each.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sciml.batch.settings import Sweep, read_sweep
from sciml.errors import ConfigError
from sciml.runs.config import Config, parse_config
from sciml.settings import LBFGS, Adam, Broyden, Network, Points

fuzzed = settings(
    max_examples=int(os.environ.get("SCIML_FUZZ", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="SCIML_FUZZ" not in os.environ,
)

KEYS = sorted({name for cls in (Config, Network, Points, Adam, LBFGS, Broyden, Sweep) for name in cls.model_fields})
numbers = st.integers(-(2**70), 2**70) | st.integers(-1, 70) | st.floats()
words = st.sampled_from(
    ["fisher_kpp", "wave", "auto", "adam", "lbfgs", "broyden", "noise", "tanh", "float32", "../x", "base.toml", ""]
) | st.text(max_size=8)
keys = st.sampled_from([*KEYS, "from", "to", "count", "step", "scale", "kind", "D", "r"]) | st.text(max_size=6)
paths = st.lists(keys | st.integers(0, 3).map(str), min_size=1, max_size=3).map(".".join)


def grown(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(keys | paths, inner, max_size=3)


values = st.recursive(numbers | words | st.booleans(), grown, max_leaves=8)
small = st.integers(0, 5) | st.sampled_from([0.01, 0.1, 1.0, 5.0, "adam", True])
ranges = st.fixed_dictionaries(
    {}, optional={"from": small, "to": small, "count": small, "step": small, "scale": st.sampled_from(["log", "linear", "x"])}
)
axes = st.dictionaries(keys | paths, st.lists(small, max_size=3) | ranges | values, max_size=3)


searches = st.fixed_dictionaries(
    {"objective": st.just("error") | words, "trials": small, "space": axes},
    optional={
        "method": st.sampled_from(["tpe", "sobol", "x"]),
        "round": small,
        "seed": small,
        "halving": st.dictionaries(st.sampled_from(["first", "factor", "x"]), small),
    },
)


def told(error: ConfigError) -> None:
    """The mistakes are sentences: not empty, on one line each, and printable."""
    assert error.mistakes
    for mistake in error.mistakes:
        assert mistake.strip()
        assert mistake.isprintable()
        assert "Traceback" not in mistake


@fuzzed
@given(
    st.fixed_dictionaries(
        {"problem": st.just("fisher_kpp") | values}, optional={name: values for name in Config.model_fields if name != "problem"}
    ),
    st.lists(st.builds("{}={}".format, paths, values.map(repr) | st.text(max_size=12)), max_size=3),
)
def test_a_config_and_overrides(document: dict[str, Any], overrides: list[str]) -> None:
    try:
        parse_config(document, "", overrides)
    except ConfigError as error:
        told(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(
    document=st.fixed_dictionaries(
        {"base": st.just("fisher_kpp") | words, "axes": axes},
        optional={
            "zip": st.lists(axes, max_size=2) | values,
            "seeds": small | values,
            "set": axes | values,
            "search": searches | values,
            "engine": axes | values,
            "stray": values,
        },
    )
)
def test_a_sweep(folder: Path, document: dict[str, Any]) -> None:
    path = folder / "many.toml"
    try:
        path.write_text(tomli_w.dumps(document), encoding="utf-8")
    except (ValueError, TypeError, UnicodeEncodeError):
        return  # no TOML says this
    try:
        read_sweep(path)
    except ConfigError as error:
        told(error)
