"""What the JAX peers of scripts/bench_accuracy.py share: the clock, the error on the reference's grid, the data of the problems.

Imported first by each peer's script, so that its own imports count. Prints JSON lines with seconds since the start and the relative L2
error.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

START = time.perf_counter()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import Array  # noqa: E402

jax.config.update("jax_enable_x64", True)

DIFFUSION, GROWTH = 1e-2, 5.0
VISCOSITY = 0.01 / math.pi
MOBILITY, DEPTH = 1e-4, 5.0


class Judge:
    """The reference's points `(n, 2)`, time first, and the end of the time."""

    def __init__(self, path: Path, seconds: float) -> None:
        stored = np.load(path)
        self.points = jnp.asarray(stored["points"][:, ::-1])
        self.values, self.seconds = np.asarray(stored["u"]), seconds

    def report(self, found: np.ndarray) -> bool:
        """Print the error of values `(n,)` at the points; whether the time is over."""
        now = time.perf_counter() - START
        error = float(np.linalg.norm(np.asarray(found).ravel() - self.values) / np.linalg.norm(self.values))
        print(json.dumps({"seconds": round(now, 2), "rel_l2": error}), flush=True)
        return now > self.seconds


def wave(t: Array, x: Array) -> Array:
    """The exact solution of `fisher_kpp` (Ablowitz & Zeppetella 1979)."""
    speed = 5 / math.sqrt(6) * math.sqrt(GROWTH * DIFFUSION)
    return jax.nn.sigmoid(-math.sqrt(GROWTH / (6 * DIFFUSION)) * (x - speed * t + 0.3)) ** 2


def sine(x: Array) -> Array:
    """The initial values of `burgers`."""
    return -jnp.sin(jnp.pi * x)


def kinked(x: Array) -> Array:
    """The initial values of `allen_cahn`."""
    return x**2 * jnp.cos(jnp.pi * x)
