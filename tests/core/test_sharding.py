"""One device and eight give the same training: residuals are sharded, everything else is replicated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import sciml

PROBLEMS = Path(sciml.__file__).parent.parent / "problems"

TRAINING = """
import json
import jax
import sciml
from fisher_kpp import FisherKPP
from sciml.train import Training

phases = [sciml.Adam(steps=100, until=()), sciml.LBFGS(steps=20, memory=10, redraw=0)]
points = sciml.Points(interior=256, boundary=32, initial=32, batch=256, pool=2, validation=256)
experiment = sciml.prepare(FisherKPP(), network=sciml.Network(width=6, depth=2), points=points, phases=phases)
training, snapshots = Training(experiment.objective, phases, 5, None), []
while training.cursor.outcome is None:
    snapshots.append(training.advance())
losses = [snapshot.loss for snapshot in snapshots]
ratios = [snapshot.nsr for snapshot in snapshots if snapshot.nsr is not None]
sharded = len(experiment.objective.prepare(experiment.objective.draw(jax.random.key(0)))[0].points)
compiled = max(runner._advance._cache_size() for runner in map(training.programs.runner, phases))
print(json.dumps([jax.local_device_count(), sharded, losses, ratios, experiment.error(snapshots[-1].best).rel_l2, compiled]))
"""


def start_training(devices: int) -> subprocess.Popen:
    paths = os.pathsep.join([str(PROBLEMS), os.environ.get("PYTHONPATH", "")])
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, "-c", TRAINING], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Outcome(NamedTuple):
    """What a training printed."""

    devices: int
    blocks: int
    """Blocks of the equation's points."""
    losses: list[float]
    """Of every fifth step: 20 of Adam, 4 of L-BFGS."""
    ratios: list[float]
    error: float
    compilations: int
    """Of one phase's steps, at most."""


def finish(training: subprocess.Popen) -> Outcome:
    output, errors = training.communicate(timeout=500)
    assert training.returncode == 0, errors
    return Outcome(*json.loads(output))


def test_one_and_eight_devices_agree() -> None:
    both = [start_training(devices) for devices in (1, 8)]
    try:
        one, eight = (finish(training) for training in both)
    finally:
        for training in both:
            training.kill()
    assert (one.devices, eight.devices) == (1, 8)
    assert (one.blocks, eight.blocks) == (1, 8)
    assert (one.compilations, eight.compilations) == (1, 1)
    assert len(one.losses) == 24
    assert eight.losses[:20] == pytest.approx(one.losses[:20], rel=1e-10)
    assert eight.ratios == pytest.approx(one.ratios, rel=1e-8)
    assert eight.error == pytest.approx(one.error, rel=1e-8)
    assert eight.losses != one.losses, "a sum in another order should show in some last digit: was anything sharded?"
