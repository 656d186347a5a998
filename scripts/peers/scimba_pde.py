"""scimba on one problem of scripts/bench_accuracy.py: self-scaled Broyden on fixed points, strong conditions, float64.

    python scripts/peers/scimba_pde.py PROBLEM REFERENCE.npz SECONDS SEED

Runs in scimba's own environment (`scimba_jax`). Its documentation recommends strong conditions, built in by post-processing, and its
optimiser "SS-Broyden" for small networks; that needs a fixed set of points (`resample=False`), which one key for all calls gives. Its
default optimiser "ENG" ended at a larger error here. Tells the error every 20 iterations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from judge import DEPTH, DIFFUSION, GROWTH, MOBILITY, VISCOSITY, Judge, kinked, sine, wave  # isort: skip

import jax
import jax.numpy as jnp
from jax import Array
from scimba_jax.domains.meshless_domains.domains_1d import Segment1D  # pyright: ignore[reportMissingImports]
from scimba_jax.nonlinear_approximation.approximation_spaces.approximation_spaces import (  # pyright: ignore[reportMissingImports]
    ApproximationSpace,
    default_pre_processing,
)
from scimba_jax.nonlinear_approximation.integration.monte_carlo import (  # pyright: ignore[reportMissingImports]
    DomainSampler,
    TensorizedSampler,
)
from scimba_jax.nonlinear_approximation.integration.monte_carlo_time import UniformTimeSampler  # pyright: ignore[reportMissingImports]
from scimba_jax.nonlinear_approximation.networks.mlp import MLP  # pyright: ignore[reportMissingImports]
from scimba_jax.nonlinear_approximation.numerical_solvers.projectors import Projector  # pyright: ignore[reportMissingImports]
from scimba_jax.physical_models.abstract_physical_model import AbstractPhysicalModel  # pyright: ignore[reportMissingImports]
from scimba_jax.physical_models.abstract_residuals import InteriorResidual  # pyright: ignore[reportMissingImports]

TIMES = (0.0, 1.0)
ITERATIONS = 20
"""Between two looks at the clock: one compiled call."""


def main() -> None:
    """Trains for the given seconds."""
    name, path, seconds, seed = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    judge = Judge(path, seconds)
    equation, strong, before, inputs, count = PROBLEMS[name]
    domain = Segment1D((-1.0, 1.0), is_main_domain=True)
    model = AbstractPhysicalModel(main_domain=domain, time_domain=TIMES)
    model.physical_residuals = {domain.get_label(): Residual(domain, equation)}
    network = MLP(in_size=inputs, out_size=1, hidden_sizes=[20, 20, 20], activation="tanh", key=jax.random.PRNGKey(seed))
    space = ApproximationSpace({"t": 1, "x": 1}, [(network, "scalar", None)], "t_x", pre_processing=before, post_processing=strong)
    sampler = TensorizedSampler([UniformTimeSampler(TIMES), DomainSampler(domain)], "t_x", bc=False, ic=False)
    solver = Projector(model, space, sampler, optimizer="SS-Broyden")
    key = jax.random.PRNGKey(seed + 1000)
    t, x = judge.points[:, :1], judge.points[:, 1:]
    over = False
    while not over:
        _, solver = solver.project(key, solver.space, ITERATIONS, n_colloc=count, scan_chunk=ITERATIONS, resample=False, verbose=False)
        over = judge.report(solver.evaluate(t, x))


class Residual(InteriorResidual):
    """An equation in the form of scimba's own ones."""

    def __init__(self, domain: Segment1D, equation: Callable) -> None:
        super().__init__(domain=domain, size=1, model_type="t_x", time_domain=TIMES)
        self.equation = equation

    def construct_residual(self, *variables: object) -> object:
        """Zero where the equation holds."""
        return self.equation(variables[0])


def periodic(t: Array, x: Array) -> tuple[Array]:
    """Exact periodic features before the network."""
    return (jnp.concatenate([t, jnp.cos(jnp.pi * x), jnp.sin(jnp.pi * x)], axis=-1),)


def strong_wave(u: Array, t: Array, x: Array) -> Array:
    """Initial and boundary values of the exact wave."""
    left, right = jnp.full_like(x, -1.0), jnp.full_like(x, 1.0)
    start = jnp.zeros_like(t)
    lift = wave(start, x)
    lift += (1 - x) / 2 * (wave(t, left) - wave(start, left)) + (1 + x) / 2 * (wave(t, right) - wave(start, right))
    return lift + t * (1 - x**2) * u


def strong_sine(u: Array, t: Array, x: Array) -> Array:
    """Initial values that vanish at both ends, as the solution does."""
    return sine(x) + t * (1 - x**2) * u


def strong_kinked(u: Array, t: Array, x: Array) -> Array:
    """Initial values; the features are periodic."""
    return kinked(x) + t * u


PROBLEMS = {
    "fisher_kpp": (
        lambda u: u.d_t() - DIFFUSION * u.laplacian("x") - GROWTH * (u - u**2),
        strong_wave,
        default_pre_processing,
        2,
        2048,
    ),
    "burgers": (
        lambda u: u.d_t() + ((u**2) / 2.0).gradient("x") - VISCOSITY * u.laplacian("x"),
        strong_sine,
        default_pre_processing,
        2,
        4000,
    ),
    "allen_cahn": (
        lambda u: u.d_t() - MOBILITY * u.laplacian("x") - DEPTH * (u - u**3),
        strong_kinked,
        periodic,
        3,
        4096,
    ),
}

if __name__ == "__main__":
    main()
