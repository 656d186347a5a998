"""What `sciml check` finds without training: contradictions, derivatives, the residual of the exact solution, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sciml.checks import memory_bytes
from sciml.derivatives import nested
from sciml.errors import CONVERGED, ConfigError, ProblemError
from sciml.objective import Trainable
from sciml.problem import Problem, call_by_name
from sciml.reference.of_problem import problem_reference
from sciml.runs.build import build
from sciml.runs.config import Config, ProblemConfig
from sciml.settings import Broyden
from sciml.solve import Experiment

if TYPE_CHECKING:
    from sciml.dynamics.discovery import Discovery

_DIRECTIONS = 5
_STEP = 1e-5
_GRADIENT_TOLERANCE = 1e-6
_EXACT_TOLERANCE = 1e-8


class Finding(NamedTuple):
    """One thing that was checked."""

    name: str
    ok: bool
    text: str


def check(problem: Any, config: Config) -> list[Finding]:
    """Everything that can be found without training, in order; stops at the first thing that nothing else can be checked without."""
    free = {"warm_start": None} if isinstance(config, ProblemConfig) else {}
    try:
        experiment = build(config.model_copy(update=free), problem)
    except (ProblemError, ConfigError) as error:
        return [Finding("problem", False, mistake) for mistake in error.mistakes]
    if not isinstance(experiment, Experiment):
        return _discovery(experiment)
    terms = ", ".join(experiment.objective.components)
    found = [
        Finding(
            "problem",
            True,
            f"{problem.domain}; fields {', '.join(problem.field_names)}; {experiment.parameters:,} parameters; terms: {terms}",
        ),
        Finding("conditions", True, "hard conditions agree with each other, corners included"),
        Finding("start", True, "all residuals are finite at the initial parameters"),
        _gradient(experiment.objective, experiment.start),
    ]
    if hasattr(problem, "exact") and not problem.unknowns:
        found.append(_exact(problem))
    return [*found, _reference(problem), _memory(experiment)]


def _discovery(experiment: Discovery) -> list[Finding]:
    series, stage = experiment.series, experiment.stages[0]
    windows = ", then ".join(str(each.count) for each in experiment.stages)
    text = f"{series.points} times of {', '.join(series.names)}; states {', '.join(experiment.field.states)}; {windows} windows"
    solver = stage.integrator.solver
    return [
        Finding("problem", True, f"{text}; {stage.parameters:,} parameters; solver {solver}"),
        Finding("start", True, "the vector field is finite at the start of every window"),
        _gradient(stage, stage.start, step=1e-3, tolerance=1e-2),  # an adaptive solver is smooth only up to its tolerance
    ]


def _gradient(objective: Trainable, theta: jax.Array, step: float = _STEP, tolerance: float = _GRADIENT_TOLERANCE) -> Finding:
    """The gradient against central differences along random directions, relative to its own size."""
    batch = jax.jit(lambda key: objective.prepare(objective.draw(key)))(objective.instance.key)
    evaluate = jax.jit(lambda theta, batch: objective.value_and_gradient(theta, batch))
    gradient = evaluate(theta, batch)[1]
    random = np.random.default_rng(0)
    worst = 0.0
    for _ in range(_DIRECTIONS):
        direction = jnp.asarray(random.standard_normal(theta.size), theta.dtype)
        direction /= jnp.linalg.norm(direction)
        difference = (evaluate(theta + step * direction, batch)[0] - evaluate(theta - step * direction, batch)[0]) / (2 * step)
        worst = max(worst, abs(float(difference - jnp.vdot(gradient, direction))) / float(jnp.linalg.norm(gradient)))
    tolerance = tolerance if theta.dtype == jnp.float64 else 1e-1
    return Finding(
        "gradient", worst < tolerance, f"differs from central differences by {worst:.1e} of its size (tolerance {tolerance:.0e})"
    )


def _exact(problem: Problem) -> Finding:
    """The residual of the exact solution, relative to what the equation gives when each derivative is taken by itself."""
    domain, names = problem.domain, problem.field_names
    random = np.random.default_rng(0).uniform(0.02, 0.98, (200, domain.dimension))
    points = jnp.asarray(np.array(domain.lower) + random * (np.array(domain.upper) - np.array(domain.lower)))

    def fields(point: jax.Array) -> jax.Array:
        result = call_by_name(problem.exact, domain, point, f"exact solution of {problem.name}")  # type: ignore[attr-defined]
        return jnp.stack([jnp.asarray(part) for part in (result if isinstance(result, (tuple, list)) else (result,))])

    jet = jax.jit(lambda points: nested(fields, points, tuple({need.index for need in problem.needs})))(points)
    values = {need: jet[need.index][names.index(need.field)] for need in problem.needs}
    residual = max(float(jnp.max(jnp.abs(part))) for part in problem.residuals(values, points, {}))
    size = max(1.0, *(float(jnp.max(jnp.abs(value))) for value in values.values()))
    tolerance = _EXACT_TOLERANCE if points.dtype == jnp.float64 else 1e-3
    ok = residual <= tolerance * size
    return Finding("exact solution", ok, f"satisfies the equation up to {residual:.1e} (derivatives up to {size:.1e})")


def _reference(problem: Problem) -> Finding:
    """What errors will be measured by."""
    try:
        reference = problem_reference(problem)
    except ProblemError as error:
        return Finding("reference", False, "; ".join(error.mistakes))
    if isinstance(reference, str):
        return Finding("reference", True, f"none, and no error will be known: {reference}")
    own, converged = reference.estimated_error, reference.estimated_error < CONVERGED
    text = f"{reference.kind}, itself good to {own:.1e}" + ("" if converged else ": it has not converged, and says nothing")
    return Finding("reference", converged, f"{text} ({reference.seconds:.1f} s)")


def _memory(experiment: Experiment) -> Finding:
    """What the run will hold at once, roughly: the fixed points with their frames, and a dense matrix if a phase has one."""
    objective = experiment.objective
    each = jnp.dtype(objective.dtype).itemsize
    rows = sum(
        objective.count(term) * sum(len(index) + 1 for index in indices)
        for term, indices in zip(objective.terms, objective.indices, strict=True)
    )
    dense = 3 * objective.parameters**2 if any(isinstance(phase, Broyden) for phase in experiment.phases) else 60 * objective.parameters
    needed = each * (40 * rows + dense) / 2**20
    return Finding(
        "memory",
        needed * 2**20 < memory_bytes() / 2,
        f"about {needed:.0f} MiB beside what JAX itself takes, {memory_bytes() / 2**30:.0f} GiB in this machine",
    )
