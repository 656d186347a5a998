"""One device and eight give the same training: residuals are sharded, everything else is replicated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sciml

PROBLEMS = Path(sciml.__file__).parent.parent / "problems"

TRAINING = """
import json
import jax
import sciml
from fisher_kpp import FisherKPP

phases = [sciml.Adam(steps=100, until=()), sciml.LBFGS(steps=40, memory=10, redraw=20)]
points = sciml.Points(interior=256, boundary=32, initial=32, batch=256, pool=2, validation=256)
experiment = sciml.prepare(FisherKPP(), network=sciml.Network(width=6, depth=2), points=points, phases=phases)
snapshots = list(experiment.train(every=5))
losses = [snapshot.loss for snapshot in snapshots]
ratios = [snapshot.nsr for snapshot in snapshots if snapshot.nsr is not None]
sharded = len(experiment.objective.prepare(experiment.objective.draw(jax.random.key(0)))[0].points)
print(json.dumps([jax.local_device_count(), sharded, losses, ratios, experiment.error(snapshots[-1].best).rel_l2]))
"""


def train_on(devices: int) -> tuple[int, int, list[float], list[float], float]:
    """Devices, blocks of the equation's points, losses of every fifth step, noise ratios, final error."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    paths = os.pathsep.join([str(PROBLEMS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_and_eight_devices_agree() -> None:
    one, eight = train_on(1), train_on(8)
    assert (one[0], eight[0]) == (1, 8)
    assert (one[1], eight[1]) == (1, 8)
    assert len(one[2]) == 28
    assert eight[2][:20] == pytest.approx(one[2][:20], rel=1e-10)
    assert eight[3] == pytest.approx(one[3], rel=1e-8)
    assert eight[4] == pytest.approx(one[4], rel=1e-8)
    assert eight[2] != one[2] or eight[4] != one[4], "a sum in another order should show in some last digit: was anything sharded?"
