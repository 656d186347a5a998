"""metrics.jsonl survives torn lines and goes back to where a checkpoint stands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from sciml.errors import RunError
from sciml.runs.jsonl import BLOCK, last_row
from sciml.runs.metrics import Metrics, read_rows


def write(path: Path, count: int) -> None:
    metrics = Metrics(path)
    for step in range(count):
        metrics.append({"step": step})
    metrics.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_rows_come_back(path: Path) -> None:
    row = {"step": 100, "terms": {"equation": 0.1 + 0.2}, "events": ["switch"], "nsr": None}
    metrics = Metrics(path)
    metrics.append(row)
    metrics.sync()
    assert metrics.rows == 1
    assert read_rows(path) == [row]


def test_numbers_that_json_does_not_have_become_null(path: Path) -> None:
    Metrics(path).append({"loss": math.nan, "worst": jnp.inf, "terms": {"u": np.float64(-np.inf), "v": jnp.ones(())}, "step": np.int64(3)})
    assert path.read_text() == '{"loss": null, "worst": null, "terms": {"u": null, "v": 1.0}, "step": 3}\n'


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step": 3}', "\0\0\0\0\n", "{\n"])
def test_a_torn_end_is_healed(path: Path, torn: str) -> None:
    write(path, 3)
    with path.open("a") as file:
        file.write(torn)
    assert [row["step"] for row in read_rows(path)] == [0, 1, 2]
    metrics = Metrics(path)
    assert metrics.rows == 3
    metrics.append({"step": 3})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]


def test_goes_back_to_a_checkpoint(path: Path) -> None:
    write(path, 5)
    metrics = Metrics(path)
    metrics.truncate(2)
    metrics.append({"step": 100})
    assert [row["step"] for row in read_rows(path)] == [0, 1, 100]
    assert metrics.rows == 3


def test_fewer_rows_than_the_checkpoint_knows(path: Path) -> None:
    write(path, 2)
    metrics = Metrics(path)
    metrics.truncate(7)
    assert metrics.rows == 2


def test_a_file_that_is_not_there_has_no_rows(path: Path) -> None:
    assert read_rows(path) == []


def test_damage_in_the_middle_is_named(path: Path) -> None:
    path.write_text('{"step": 0}\n{"step"\n{"step": 2}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 2 cannot be read"):
        read_rows(path)


@pytest.mark.parametrize("length", [0, BLOCK - 30, 3 * BLOCK])
@pytest.mark.parametrize("torn", ["", '{"step": 9, "lo'])
def test_the_last_row_is_found_however_long(path: Path, length: int, torn: str) -> None:
    metrics = Metrics(path)
    for step in range(3):
        metrics.append({"step": step, "events": ["x" * length]})
    metrics.close()
    with path.open("a") as file:
        file.write(torn)
    assert last_row(path) == read_rows(path)[-1]


def test_no_row_is_no_last_row(path: Path) -> None:
    assert last_row(path) is None
    path.write_text('{"step": 0')
    assert last_row(path) is None
