"""Every array of a checkpoint matters: optimiser state comes back bit by bit, and leaving some out is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sciml.errors import ConfigError
from sciml.runs import catalog
from sciml.runs.store import Store
from sciml.settings import LBFGS, Adam, Broyden, Network, Points
from sciml.solve import Experiment, prepare
from sciml.train import Snapshot

pytestmark = pytest.mark.crash

EVERY = 20
SMALL = {"network": Network(width=6, depth=2), "points": Points(interior=128, boundary=32, initial=32, batch=128, validation=128)}
SECOND = {"lbfgs": LBFGS(steps=120, memory=5, redraw=50), "broyden": Broyden(steps=120, redraw=50)}

Checkpoint = tuple[dict[str, np.ndarray], dict[str, Any]]


@pytest.fixture(scope="module", params=sorted(SECOND))
def experiment(request: pytest.FixtureRequest) -> Experiment:
    phases = (Adam(steps=60, until=()), SECOND[request.param])
    return prepare(catalog.load_problem("fisher_kpp"), phases=phases, **SMALL)


@pytest.fixture(scope="module")
def checkpoints(experiment: Experiment) -> dict[int, Checkpoint]:
    """Of an undisturbed training, by step."""
    return {snapshot.step: copied(snapshot) for snapshot in experiment.train(every=EVERY)}


def copied(snapshot: Snapshot) -> Checkpoint:
    arrays, cursor = snapshot.checkpoint()
    return {path: np.array(array) for path, array in arrays.items()}, cursor


def through_the_disk(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    store = Store(folder)
    store.save("latest", *checkpoint)
    arrays, cursor, _ = store.load_latest()
    return arrays, cursor


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    assert found[1] == expected[1]
    assert sorted(found[0]) == sorted(expected[0])
    for path, array in expected[0].items():
        assert found[0][path].tobytes() == array.tobytes(), path


@pytest.mark.parametrize("step", [20, 60, 100])
def test_resumed_state_is_the_same_bit_by_bit(
    experiment: Experiment, checkpoints: dict[int, Checkpoint], tmp_path: Path, step: int
) -> None:
    resumed = experiment.train(resume=through_the_disk(tmp_path, checkpoints[step]), every=EVERY)
    steps = [snapshot.step for snapshot in resumed if assert_same(copied(snapshot), checkpoints[snapshot.step]) is None]
    assert steps == [each for each in checkpoints if each > step]


def test_the_curvature_memory_is_in_the_checkpoint(checkpoints: dict[int, Checkpoint]) -> None:
    memory = [array for path, array in checkpoints[100][0].items() if path.startswith("state/metric")]
    size = checkpoints[100][0]["theta"].size
    assert sum(array.size for array in memory) >= 2 * 5 * size
    assert max(np.abs(array - np.eye(*array.shape)).max() if array.ndim == 2 else 0.0 for array in memory) > 1e-3


def test_every_array_matters(experiment: Experiment, checkpoints: dict[int, Checkpoint]) -> None:
    """Replacing any floating point array of a checkpoint by zeros changes what follows, or cannot be used at all."""
    arrays, cursor = checkpoints[100]
    unused = []
    for path, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating) or not array.any():
            continue
        resumed = experiment.train(resume=(arrays | {path: np.zeros_like(array)}, cursor), every=EVERY)
        found = copied(next(resumed))[0]
        expected = checkpoints[120][0]
        if all(found[name].tobytes() == expected[name].tobytes() for name in expected):
            unused.append(path)
    assert unused == []


def test_a_missing_array_is_an_error(experiment: Experiment, checkpoints: dict[int, Checkpoint]) -> None:
    arrays, cursor = checkpoints[100]
    memory = {path for path in arrays if path.startswith("state/metric")}
    assert memory
    for missing in memory:
        incomplete = {path: array for path, array in arrays.items() if path != missing}
        with pytest.raises(ConfigError, match=f"holds no {missing}: another version"):
            next(experiment.train(resume=(incomplete, cursor), every=EVERY))
