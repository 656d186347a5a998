"""From a problem to a solution: everything resolved and checked, then trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml import checks
from sciml.device import configure, random_key
from sciml.domain import Box
from sciml.errors import Outcome, ProblemError
from sciml.nets.ansatz import Ansatz, build_ansatz
from sciml.nets.features import Features
from sciml.nets.mlp import MLP
from sciml.nets.model import Model
from sciml.objective import Instance, Objective
from sciml.optim.cursor import given_phases
from sciml.optim.runners import Programs
from sciml.problem import Problem
from sciml.reference import Reference
from sciml.reference.of_problem import problem_reference
from sciml.settings import LBFGS, Adam, Broyden, Network, Noise, Phase, Plateau, Points
from sciml.slabs import Slabs, check_slabs
from sciml.solution import Error, Solution, measure_error
from sciml.train import Snapshot, Training, advance_together, train
from sciml.uncertainty import uncertainty

DENSE_LIMIT = 5000
"""Parameters up to which "auto" takes the dense method (its cost per iteration grows with their square)."""


class Experiment:
    """A problem with its model, objective and phases: everything resolved and checked, nothing trained."""

    closing = "writing the results and what they are compared with"
    """What happens after training, in words."""

    def __init__(self, problem: Problem, objective: Objective, phases: tuple[Phase, ...], start: Array, compare: bool = True) -> None:
        self.problem, self.objective, self.phases, self.start = problem, objective, phases, start
        self.programs = Programs(objective)
        self.compare = compare
        """Whether a classical solver is tried where the problem has neither `exact` nor `reference`."""
        self._reference = cache(lambda: problem_reference(problem, compare))
        self._observables = jax.jit(self._observe)

    def seeded(self, objective: Objective, start: Array) -> Experiment:
        """The same experiment with the objective of another seed; the two share what is compiled, and the reference."""
        other = copy(self)
        other.objective, other.start = objective, start
        return other

    @property
    def opening(self) -> str:
        """What happens before training and may take a while, in words; empty where nothing does."""
        known = hasattr(self.problem, "exact") or hasattr(self.problem, "reference") or self.problem.unknowns
        return "" if known or not self.compare else "trying a classical solver, to measure errors by"

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return self.objective.parameters

    @property
    def reference(self) -> Reference | None:
        """The problem's own reference, or a classical solution, computed at the first use; None where there is none."""
        found = self._reference()
        return found if isinstance(found, Reference) else None

    @property
    def error_reason(self) -> str | None:
        """Why no error is known; None where one is."""
        found = self._reference()
        return found if isinstance(found, str) else None

    def recall(self, reference: Callable[[], Reference]) -> None:
        """Take the reference from what was kept of it, so that nothing is solved again."""
        self._reference = cache(reference)

    def train(self, resume: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None, every: int = 100) -> Iterator[Snapshot]:
        """Trains, yielding a Snapshot per chunk; see `sciml.train.train`."""
        return train(self.objective, self.phases, every, resume, self.start, self.programs)

    def training(self, resume: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None, every: int = 100) -> Training:
        """The same training, to be advanced together with those of other seeds; see `sciml.train.advance_together`."""
        training = Training(self.objective, self.phases, every, self.start, self.programs)
        if resume is not None:
            training.restore(*resume)
        return training

    def error(self, trainable: Array) -> Error | None:
        """The error against the reference, None where the problem has none."""
        if self.reference is None:
            return None
        values = np.asarray(self._evaluate(trainable)(self.reference.points())).T.reshape(-1, *self.reference.shape)
        return measure_error(dict(zip(self.problem.observable_names, values, strict=True)), self.reference)

    def baselines(self) -> dict[str, dict[str, Any]]:
        """What a classical solver reaches on this problem; see `sciml.reference.baseline`."""
        from sciml.reference.baseline import baselines

        return baselines(self.problem, self.reference)

    def results(self, trainable: Array) -> dict[str, Any]:
        """What `result.json` holds beside that of any run: nothing."""
        return {}

    def unknowns(self, trainable: Array) -> dict[str, dict[str, Any]]:
        """Each unknown coefficient: `value`, `standard_error`, and the `reason` where it has none. See `sciml.uncertainty`.

        One standard error (68 % of a normal distribution) for independent errors of one unknown variance in all measured values.
        """
        values = {name: float(value) for name, value in self.objective.unknowns(trainable).items()}
        found = uncertainty(self.objective, trainable)
        errors = [None] * len(values) if found is None else found.standard_errors
        reasons = ["no data"] * len(values) if found is None else found.reasons
        return {
            name: {"value": value, "standard_error": error, "reason": reason}
            for (name, value), error, reason in zip(values.items(), errors, reasons, strict=True)
        }

    def solution(self, trainable: Array, history: Sequence[Mapping[str, Any]] = (), result: Mapping[str, Any] | None = None) -> Solution:
        """The trained solution as an object that can be called, plotted and stored."""
        unknowns = {name: float(value) for name, value in self.objective.unknowns(trainable).items()}
        return Solution(
            self.problem,
            self._evaluate(trainable),
            lambda: self.reference,
            unknowns,
            [dict(row) for row in history],
            dict(result or {}),
            trainable,
        )

    def _evaluate(self, trainable: Array) -> Any:
        return lambda points: self._observables(self.objective.instance, trainable, jnp.asarray(points, self.objective.dtype))

    def _observe(self, instance: Instance, trainable: Array, points: Array) -> Array:
        """The observables `(n, observables)` at `points` `(n, d)`."""
        fields = self.objective.at(instance).evaluate_fields(trainable, points)
        found = self.problem.observables(dict(zip(self.problem.field_names, fields.T, strict=True)))
        return jnp.stack(list(found.values()), axis=-1)


def prepare(
    problem: Problem,
    *,
    network: Network | Any = None,
    points: Points | None = None,
    weights: Mapping[str, float] | None = None,
    phases: Literal["auto"] | Sequence[Phase] = "auto",
    seed: int = 0,
    precision: Literal["float64", "float32"] = "float64",
    block: int | None = None,
    warm_start: Solution | Any = None,
    time_slabs: int = 1,
) -> Experiment:
    """Builds and checks an Experiment.

    `network` is a `Network` (settings) or any callable Equinox or Flax NNX module `(inputs,) -> (fields,)`, whose inputs are the
    coordinates, scaled to [-1, 1] (twice `harmonics` sines and cosines for a periodic one, and one or two more where initial values have
    a kink at its ends: `sciml.nets.seam`). `weights` replaces weights of loss terms by name (`equation`, `initial_u`). `phases` are
    settings (`Adam`, `LBFGS`, `Broyden`), or "auto". `block` points are differentiated at a time. `warm_start` is a Solution of the
    same model or its vector of parameters. `time_slabs` windows of time are trained one after the other. Raises `ProblemError` for all
    that can be found before training, and `ConfigError` where this process already computes in another precision: it holds for all of JAX.
    """
    return prepare_seeds(
        problem,
        (seed,),
        network=network,
        points=points,
        weights=weights,
        phases=phases,
        precision=precision,
        block=block,
        warm_start=warm_start,
        time_slabs=time_slabs,
    )[0]


def prepare_seeds(
    problem: Problem,
    seeds: Sequence[int],
    *,
    network: Network | Any = None,
    points: Points | None = None,
    weights: Mapping[str, float] | None = None,
    phases: Literal["auto"] | Sequence[Phase] = "auto",
    precision: Literal["float64", "float32"] = "float64",
    block: int | None = None,
    warm_start: Solution | Any = None,
    time_slabs: int = 1,
    compare: bool = True,
) -> list[Experiment]:
    """An Experiment for each seed, all else equal, as `prepare` makes it; what is compiled for one serves all.

    To `compare`, a classical solver is tried where the problem has neither `exact` nor `reference`.
    """
    configure(precision)
    dtype = jnp.float64 if precision == "float64" else jnp.float32
    settings = network if isinstance(network, Network) else Network()
    checks.check_conditions(problem)
    slabs = Slabs(problem.domain, time_slabs) if time_slabs > 1 and problem.domain.has_time else None
    window = problem.domain if slabs is None else slabs.window
    ansatz, hard, soft = build_ansatz(problem, window)
    if time_slabs > 1:
        check_slabs(problem, ansatz, soft)
    models = [_draw_model(seed, settings, network, window, ansatz, problem) for seed in seeds]
    soft_terms = checks.terms_of(problem, soft)
    first = Objective(problem, models[0], soft_terms, points or Points(), weights or {}, seeds[0], dtype, block, jax.local_devices(), slabs)
    resolved = resolve_phases(phases, first)
    checks.check_memory(resolved, first.parameters, jnp.dtype(dtype).itemsize)
    checks.check_hard_conditions(problem, hard, first)
    objectives = [first, *(first.seeded(model, seed) for model, seed in zip(models[1:], seeds[1:], strict=True))]
    starts = [objective.start if warm_start is None else warm_parameters(warm_start, objective) for objective in objectives]
    checks.check_starts(objectives, starts)
    experiment = Experiment(problem, first, resolved, starts[0], compare)
    return [experiment, *(experiment.seeded(*each) for each in zip(objectives[1:], starts[1:], strict=True))]


def _draw_model(seed: int, settings: Network, network: Network | Any, window: Box, ansatz: Ansatz, problem: Problem) -> Model:
    """The model with the random numbers of a seed."""
    keys = jax.random.split(jax.random.fold_in(random_key(seed), 1 << 30), 2)
    seams = ansatz.seams if window is problem.domain else ()  # a slab of time sees its own time, not that since the kink
    features = Features(window, ansatz.kinds, settings.harmonics, settings.fourier, settings.fourier_scale, keys[0], seams)
    module = (
        build_network(settings, features.size, len(problem.field_names), keys[1]) if isinstance(network or settings, Network) else network
    )
    _check_network(module, features, problem)
    return Model(features, module, ansatz, settings.output_scale)


def solve(problem: Problem, *, target_error: float | None = None, progress: bool = True, every: int = 100, **settings: Any) -> Solution:
    """Trains and returns the Solution of the best state; `settings` are those of `prepare`.

    The device is JAX's choice: set JAX_PLATFORMS, or call `sciml.device.configure(device="gpu")`, before anything is computed. A row of
    the history, and a line of progress, is made `every` steps. Stops early once the relative L2 error against the reference is below
    `target_error` (`ProblemError` where there is no reference). Warns if training diverged. The Solution's `result` holds `outcome`,
    `phases`, `switch` and, with standard errors, `unknowns`.
    """
    experiment = prepare(problem, **settings)
    if target_error is not None and experiment.error_reason:
        raise ProblemError(f"target_error = {target_error:g} cannot be measured: {experiment.error_reason}")
    history: list[dict[str, Any]] = []
    snapshot = None
    for snapshot in experiment.train(every=every):
        error = experiment.error(snapshot.trainable)
        history.append(row(snapshot, error))
        if progress:
            print(line(snapshot, error), flush=True)
        if target_error is not None and error is not None and error.rel_l2 <= target_error:
            return experiment.solution(snapshot.trainable, history, _result(experiment, snapshot.trainable, snapshot, Outcome.OK))
    assert snapshot is not None
    if snapshot.outcome == Outcome.DIVERGED:
        warnings.warn(f"training of {problem.name} diverged; the best state before that is returned", stacklevel=2)
    return experiment.solution(snapshot.best, history, _result(experiment, snapshot.best, snapshot, snapshot.outcome))


def solve_seeds(problem: Problem, seeds: Sequence[int], *, every: int = 100, **settings: Any) -> list[Solution]:
    """Trains one Solution per seed, all together in this process; `settings` are those of `prepare` but for the seed.

    First-order phases of all seeds are one computation. Each Solution equals that of `solve` with its seed but for rounding, and
    has `result["seed"]`. Warns if a training diverged.
    """
    experiments = prepare_seeds(problem, seeds, **settings)
    going = {number: experiment.training(every=every) for number, experiment in enumerate(experiments)}
    histories: list[list[dict[str, Any]]] = [[] for _ in experiments]
    solutions: dict[int, Solution] = {}
    while going:
        for number, snapshot in zip(list(going), advance_together(list(going.values())), strict=True):
            experiment = experiments[number]
            histories[number].append(row(snapshot, experiment.error(snapshot.trainable)))
            if snapshot.outcome is None:
                continue
            del going[number]
            if snapshot.outcome == Outcome.DIVERGED:
                warnings.warn(f"training of {problem.name} with seed {seeds[number]} diverged; its best state is returned", stacklevel=2)
            result = _result(experiment, snapshot.best, snapshot, snapshot.outcome) | {"seed": seeds[number]}
            solutions[number] = experiment.solution(snapshot.best, histories[number], result)
    return [solutions[number] for number in range(len(experiments))]


def _result(experiment: Experiment, trainable: Array, snapshot: Snapshot, outcome: Outcome | None) -> dict[str, Any]:
    """Of `result.json` what a training tells."""
    phases, unknowns = [record._asdict() for record in snapshot.phases], experiment.unknowns(trainable)
    return {"outcome": str(outcome), "phases": phases, "switch": snapshot.switch, "unknowns": unknowns}


def row(snapshot: Snapshot, error: Error | None) -> dict[str, Any]:
    """A snapshot as a row of metrics: numbers, names and text."""
    names = (
        "step",
        "phase",
        "kind",
        "evaluations",
        "loss",
        "terms",
        "nsr",
        "nsr_bound",
        "nsr_terms",
        "gradient_norm",
        "validation",
        "worst",
        "level",
        "unknowns",
        "events",
    )
    windows = [window._asdict() for window in snapshot.nsr_windows]
    found = {name: getattr(snapshot, name) for name in names} | {"nsr_windows": windows}
    return found | {"error": None if error is None else error.rel_l2}


def line(snapshot: Snapshot, error: Error | None) -> str:
    """A snapshot as one line of text."""
    parts = [f"{snapshot.kind:8s} step {snapshot.step:6d}", f"loss {snapshot.loss:.2e}", f"validation {snapshot.validation:.2e}"]
    parts += [f"error {error.rel_l2:.2e}"] if error is not None else []
    return "  ".join([*parts, *snapshot.events])


def build_network(settings: Network, inputs: int, outputs: int, key: Array) -> Any:
    """The network that the settings describe."""
    mlp = MLP(inputs, outputs, settings.width, settings.depth, settings.activation, key=key)
    if settings.kind == "mlp":
        return mlp
    from sciml.nets.flax import FlaxMLP

    return FlaxMLP(mlp)


def resolve_phases(phases: Literal["auto"] | Sequence[Phase], objective: Objective) -> tuple[Phase, ...]:
    """ "auto" as explicit phases.

    The dense method up to `DENSE_LIMIT` parameters, L-BFGS beyond. More first-order steps in more dimensions; a smaller learning rate for
    derivatives of order three and more. Where some terms are fixed data, whose share of the gradient has no noise, a plateau may
    also end the first phase.
    """
    if phases != "auto":
        return given_phases(phases)
    order = max(len(index) for index in objective.indices[0])
    first = Adam(
        steps=1000 * max(1, objective.problem.domain.dimension - 1),
        learning_rate=1e-3 if order <= 2 else 5e-4,
        until=(Noise(),) if all(objective.stochastic()) else (Noise(), Plateau()),
    )
    if objective.parameters <= DENSE_LIMIT:
        return (first, Broyden(steps=20000))
    return (first, LBFGS(steps=20000))


def warm_parameters(source: Solution | Any, objective: Objective) -> Array:
    """Parameters to start from. Raises `ProblemError` if the sizes differ."""
    source = source.parameters if isinstance(source, Solution) else source
    theta = jnp.asarray(source, objective.dtype)
    if theta.shape != objective.start.shape:
        raise ProblemError(
            f"warm start: it has {theta.size} trainable numbers, this model {objective.parameters}; use the same [network] in both runs"
        )
    return theta


def _check_network(network: Any, features: Features, problem: Problem) -> None:
    inputs, fields, kinks = features.size, len(problem.field_names), sum(seam.size for seam in features.seams)
    seam = f", {kinks} of them for the kink of the initial values where the period closes" if kinks else ""
    if not callable(network):
        raise ProblemError(
            f"network: {type(network).__name__} is not callable; give sciml.Network(...) or a module that maps ({inputs},) to ({fields},)"
        )
    try:
        output = jax.eval_shape(network, jax.ShapeDtypeStruct((inputs,), jnp.zeros(()).dtype))
    except (TypeError, ValueError) as error:
        raise ProblemError(
            f"network: it fails on an input of shape ({inputs},): {error}; the model feeds it {inputs} scaled coordinates or features{seam}"
        ) from error
    shape = getattr(output, "shape", f"a {type(output).__name__}")
    if shape != (fields,) and not (shape == () and fields == 1):
        raise ProblemError(
            f"network: it maps ({inputs},) to {shape}, but {problem.name} has {fields} field(s) ({', '.join(problem.field_names)}); "
            f"make it return shape ({fields},)"
        )


__all__ = ["Ansatz", "Experiment", "build_network", "prepare", "resolve_phases", "solve"]
