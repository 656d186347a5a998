"""From a series to its dynamics: everything resolved, then windows that grow, then a refit through the solver and a forecast."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from sciml.device import configure
from sciml.dynamics import levenberg_marquardt, vector_fields
from sciml.dynamics.discovered import Discovered, library_from
from sciml.dynamics.integrate import choose_solver
from sciml.dynamics.library import Factor, Library, Term, functions, polynomials
from sciml.dynamics.noise import Gaussian, LogNormal, Noise
from sciml.dynamics.problem import Dynamics
from sciml.dynamics.refit import QUIETEST, Refit, as_it_is, noise_level, recall, refit
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting, cut
from sciml.dynamics.smoothing import FEWEST, smooth_channel
from sciml.dynamics.sparse import SparseModel, affordable, discover_sparse
from sciml.dynamics.vector_fields import Given, NeuralODE, Scaling, SecondOrder, SparseLibrary, Universal, VectorField
from sciml.errors import Outcome, ProblemError
from sciml.nets.model import trainable_mask
from sciml.optim.cursor import PhaseRecord
from sciml.settings import LBFGS, Adam, Broyden, GivenField, Integrator, NeuralField, Phase, Plateau, SparseField, UniversalField
from sciml.settings import Noise as NoiseTrigger
from sciml.settings import Shooting as ShootingSettings
from sciml.solve import line, row
from sciml.train import Snapshot, train

if TYPE_CHECKING:
    import xarray

FieldSettings = GivenField | SparseField | NeuralField | UniversalField

DENSE_LIMIT = 1500
"""Trainable numbers up to which "auto" takes the dense second-order method."""

FEW = 100
"""Trainable numbers of a field up to which the Gauss-Newton refit is the second phase."""

TIGHT = 0.03
"""Tolerance for gaps between windows in a refit that needs several, in standard deviations of the noise."""

UNEVEN = 1e3
"""Ratio of the largest to the smallest time step beyond which no spline in time can follow both."""

PULL = 0.03
"""Weight of a network's distance from its start where slopes are matched."""

LOOSE = Integrator(rtol=1e-4, atol=1e-6)
"""Tolerances while a network is trained."""

DENSE = 40
"""Times per window at which a trained network is read out."""

WORSE = 1.5
"""A read-out is taken where it raises the noise level by less than this factor over the network's."""

ACCEPTED = 1.3
"""A fit with fewer, longer windows is kept where it raises the noise level by less than this factor."""


@dataclass(frozen=True)
class Start:
    """A first look at the data, on the noise's scale: where states are, how large, how noisy, how fast."""

    states: tuple[np.ndarray, ...]
    """`(n, states)` per trajectory, at the measured times."""
    scale: np.ndarray
    sigma: np.ndarray
    rate: float
    """Root mean square of a state's relative change per unit of time."""
    slopes: tuple[np.ndarray, ...]
    """`(n, states)` per trajectory: time derivatives; NaN for states that nobody measured."""


class Discovery:
    """A series with its vector field, windows and phases: everything resolved and checked, nothing trained. No files."""

    reference = None
    closing = "fitting through the solver, then forecasting"
    """What happens after training, in words."""

    def __init__(
        self,
        name: str,
        series: TimeSeries,
        held_out: TimeSeries | None,
        field: VectorField,
        noise: Noise,
        stages: Sequence[Shooting],
        phases: tuple[Phase, ...],
        settings: FieldSettings,
    ) -> None:
        self.name, self.series, self.held_out, self.field, self.noise = name, series, held_out, field, noise
        self.stages, self.phases, self.settings = tuple(stages), phases, settings
        self._found: tuple[bytes, Discovered] | None = None

    @property
    def problem(self) -> Discovery:
        """What a run calls its problem: its name is all that is asked of it."""
        return self

    @property
    def objective(self) -> Shooting:
        return self.stages[-1]

    @property
    def parameters(self) -> int:
        return self.stages[-1].parameters

    def train(self, resume: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None, every: int = 100) -> Iterator[Snapshot]:
        """Trains stage after stage, each window state starting where the stage before has it; yields a Snapshot per chunk."""
        first, before, at, start = 0, _Before(), None, None
        if resume is not None:
            arrays, cursor = resume
            first, before, at = int(cursor["stage"]), _Before.of(cursor["before"]), (arrays, cursor["training"])
        for number in range(first, len(self.stages)):
            for snapshot in train(self.stages[number], self.phases, every, at, start):
                at = snapshot.checkpoint()
                yield self._joined(snapshot, number, before)
            assert at is not None  # what a resumed stage began with, where it was over already
            arrays, cursor = at
            if cursor["outcome"] != Outcome.OK or number + 1 == len(self.stages):
                return
            start = carry(self.stages[number], jnp.asarray(arrays["best"]), self.stages[number + 1])
            before, at = before.after(cursor), None

    def error(self, trainable: Array) -> None:
        """There is no reference: the truth behind measured data is not known."""

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Those of a forecast stand beside it, in `results`."""
        return {}

    def unknowns(self, trainable: Array) -> dict[str, dict[str, Any]]:
        """The unknown coefficients of a given vector field; see `Discovered.coefficients`."""
        found = self.solution(trainable)
        named = self.field.coefficients()
        return {name: {"value": each.value, "standard_error": each.standard_error, "lower": each.lower, "upper": each.upper,
                       "reason": each.reason} for name, each in found.coefficients.items() if name in named}  # fmt: skip

    def results(self, trainable: Array) -> dict[str, Any]:
        """What `result.json` holds beside that of any run."""
        return self.solution(trainable).as_dict()

    def solution(self, trainable: Array, history: Sequence[Mapping[str, Any]] = (), result: Mapping[str, Any] | None = None) -> Discovered:
        """What was found: refitted through the solver, read out and forecast at the first call for a state."""
        key = np.asarray(trainable).tobytes()
        if self._found is None or self._found[0] != key:
            self._found = (key, self._finish(trainable))
        return self._found[1].with_history(history, result or {})

    def restore(self, trainable: Array, stored: xarray.Dataset, result: Mapping[str, Any]) -> None:
        """Takes what was found for a state from a run's `solution.nc` and `result.json`, so that `solution` computes nothing."""
        about = stored.attrs
        shooting = self._stage(trainable).with_windows(int(about["intervals"]) or None)
        shooting = shooting.with_noise(stored["sigma"].values, float(about["continuity"]))
        if (sparse := stored_field(stored, self.field)) is not None:
            shooting = shooting.with_field(sparse)
        fit = recall(shooting, stored["theta"].values, stored["covariance"].values, result["coefficients"], bool(about["converged"]))
        found = Discovered(self.name, self.series, self.held_out, shooting, fit, float(about["seconds"]))
        self._found = (np.asarray(trainable).tobytes(), found)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _stage(self, theta: Array) -> Shooting:
        return next(stage for stage in reversed(self.stages) if stage.parameters == theta.size)

    def _finish(self, theta: Array) -> Discovered:
        stage = self._stage(theta)
        began = time.perf_counter()
        shooting, fit = (read_out if vector_fields.has_network(self.field) else join)(stage, theta)
        return Discovered(self.name, self.series, self.held_out, shooting, fit, time.perf_counter() - began)

    def _joined(self, snapshot: Snapshot, number: int, before: _Before) -> Snapshot:
        last = number + 1 == len(self.stages)
        over = snapshot.outcome == Outcome.OK and not last

        def checkpoint() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            arrays, cursor = snapshot.checkpoint()
            return arrays, {"stage": number, "before": before.as_dict(), "training": cursor}

        return snapshot._replace(
            step=before.steps + snapshot.step,
            phase=len(before.records) + snapshot.phase,
            evaluations=before.evaluations + snapshot.evaluations,
            phases=(*before.records, *snapshot.phases),
            switch=before.switch or snapshot.switch,
            outcome=None if over else snapshot.outcome,
            budget=len(self.stages) * snapshot.budget,
            checkpoint=checkpoint,
        )


@dataclass(frozen=True)
class _Before:
    """What the stages that are over have used up."""

    steps: int = 0
    evaluations: int = 0
    records: tuple[PhaseRecord, ...] = ()
    switch: dict[str, Any] | None = None

    def after(self, cursor: Mapping[str, Any]) -> _Before:
        """With the stage that ended at a cursor of `train`."""
        records = tuple(PhaseRecord(**record) for record in cursor["records"])
        return _Before(
            self.steps + cursor["step"],
            self.evaluations + cursor["evaluations"],
            (*self.records, *records),
            self.switch or cursor["switch"],
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "evaluations": self.evaluations,
            "records": [each._asdict() for each in self.records],
            "switch": self.switch,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> _Before:
        return cls(stored["steps"], stored["evaluations"], tuple(PhaseRecord(**each) for each in stored["records"]), stored["switch"])


def prepare(
    subject: TimeSeries | Dynamics,
    *,
    vector_field: FieldSettings | VectorField | Any = None,
    noise: Noise | None = None,
    hold_out: int | None = None,
    shooting: ShootingSettings | None = None,
    integrator: Integrator | None = None,
    phases: Literal["auto"] | Sequence[Phase] = "auto",
    seed: int = 0,
    precision: Literal["float64", "float32"] = "float64",
    name: str | None = None,
) -> Discovery:
    """Builds and checks a Discovery from a series or a `Dynamics`.

    `vector_field` is one of `sciml.settings`' fields, or a module: a `VectorField`, or any Equinox or Flax NNX module that maps scaled
    states and controls to scaled derivatives. Raises `ProblemError` for all that can be found before training.
    """
    configure(precision)
    problem = subject if isinstance(subject, Dynamics) else None
    series = problem.measured if problem is not None else subject
    assert isinstance(series, TimeSeries)
    hold_out = hold_out if hold_out is not None else problem.hold_out if problem is not None else 0
    train_series, held_out = series.split(hold_out) if hold_out else (series, None)
    noise = noise or (problem.noise if problem is not None else choose_noise(train_series))
    noise.check(np.concatenate(series.values), series.names)
    settings = vector_field if isinstance(vector_field, FieldSettings) else GivenField() if problem is not None else SparseField()
    if isinstance(settings, GivenField | UniversalField) and problem is None:
        raise ProblemError(f'vector_field.kind = "{settings.kind}" needs a problem with a vector field of its own; a series alone has none')
    states = _states(settings, problem, train_series)
    begin = look(train_series, noise, states, problem)
    module = None if vector_field is None or isinstance(vector_field, FieldSettings) else vector_field
    field = build_field(settings, module, problem, train_series, noise, states, begin, seed)
    if vector_fields.has_network(field):
        field = match(field, train_series, begin)
    integrator = choose(field, train_series, begin, integrator or Integrator())
    if vector_fields.has_network(field):
        integrator = integrator.model_copy(update={"rtol": max(integrator.rtol, LOOSE.rtol), "atol": max(integrator.atol, LOOSE.atol)})
    stages = [
        _shooting(field, train_series, noise, integrator, begin, length, (shooting or ShootingSettings()).continuity, seed)
        for length in lengths(train_series, shooting or ShootingSettings())
    ]
    for stage in stages:
        _check_start(stage)
    return Discovery(
        name or (problem.name if problem is not None else "series"),
        train_series, held_out, field, noise, stages, resolve_phases(phases, stages), settings,
    )  # fmt: skip


def discover(subject: TimeSeries | Dynamics, *, progress: bool = True, every: int = 100, **settings: Any) -> Discovered:
    """Finds the dynamics behind a series, or the coefficients of a user's own; `settings` are those of `prepare`."""
    experiment = prepare(subject, **settings)
    history: list[dict[str, Any]] = []
    snapshot = None
    for snapshot in experiment.train(every=every):
        history.append(row(snapshot, None))
        if progress:
            print(line(snapshot, None), flush=True)
    assert snapshot is not None
    if snapshot.outcome == Outcome.DIVERGED:
        warnings.warn(f"training on {experiment.name} diverged; the best state before that is refitted", stacklevel=2)
    result = {"outcome": str(snapshot.outcome), "phases": [record._asdict() for record in snapshot.phases], "switch": snapshot.switch}
    return experiment.solution(snapshot.best, history, result)


def lengths(series: TimeSeries, settings: ShootingSettings) -> tuple[int, ...]:
    """Sampling intervals per window of each stage."""
    longest = max(len(times) for times in series.times) - 1
    total = sum(len(times) - 1 for times in series.times)
    first = settings.intervals or int(np.clip(total // 8, 2, 16))
    last = settings.longest or max(first, longest // 4)
    found = [min(first, longest)]
    while found[-1] * settings.growth <= last:
        found.append(found[-1] * settings.growth)
    return tuple(found)


def look(series: TimeSeries, noise: Noise, states: tuple[str, ...], problem: Dynamics | None) -> Start:
    """Smooths each channel on the noise's scale; states that nobody measured start at their stated value or size."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in states}
    derivatives: dict[str, list[np.ndarray]] = {name: [] for name in states}
    sigma, rates = np.zeros(series.channels), []
    for channel, name in enumerate(series.names):
        levels, weights = [], []
        for times, values in zip(series.times, series.values, strict=True):
            smooth, slope, level, degrees = _smooth(times, np.asarray(noise.scale(jnp.asarray(values[:, channel]))))
            levels.append(level)
            weights.append(max(degrees, 1e-3))
            rates.append(np.sqrt(np.mean(slope**2)) / max(float(np.std(smooth)), 1e-12))
            shown, change = (np.asarray(each) for each in jax.jvp(noise.inverse, (jnp.asarray(smooth),), (jnp.asarray(slope),)))
            if name in columns:
                columns[name].append(shown)
                derivatives[name].append(change)
            if velocity(name) in columns:
                columns[velocity(name)].append(change)
        size = np.nanstd(np.asarray(noise.scale(jnp.asarray(np.concatenate(series.values)[:, channel]))))
        sigma[channel] = np.clip(np.sqrt(np.average(np.square(levels), weights=weights)), 1e-3 * size, size)
    stated = _stated(problem)
    typical = dict(problem.sizes) if problem is not None else {}
    for name, found in columns.items():
        if not found:
            value = stated.get(name, typical.get(name, 1.0 if problem is not None or noise.positive else 0.0))
            columns[name] = [np.full(len(times), float(value)) for times in series.times]
    if noise.positive:
        columns = {name: [np.maximum(each, 1e-6 * np.max(np.abs(each))) for each in found] for name, found in columns.items()}
    arrays = tuple(np.stack([columns[name][index] for name in states], axis=1) for index in range(len(series.times)))
    spread = np.std(np.concatenate(arrays), axis=0)
    size = np.max(np.abs(np.concatenate(arrays)), axis=0)
    scale = np.where(spread > 1e-9 * size, spread, np.where(size > 0, size, [typical.get(name, 1.0) for name in states]))
    unknown = [np.full(len(times), np.nan) for times in series.times]
    slopes = tuple(np.stack([(derivatives[name] or unknown)[i] for name in states], axis=1) for i in range(len(series.times)))
    return Start(arrays, scale, sigma, float(np.median(rates)), slopes)


def build_field(
    settings: FieldSettings,
    module: Any,
    problem: Dynamics | None,
    series: TimeSeries,
    noise: Noise,
    states: tuple[str, ...],
    begin: Start,
    seed: int,
) -> VectorField:
    """The vector field that the settings, or a module, describe."""
    if isinstance(module, VectorField):
        return module
    scaling = _scaling(series, begin)
    inputs = len(states) + len(series.control_names)
    key = jax.random.fold_in(jax.random.key(seed), 1 << 30)
    if module is not None:
        _check_module(module, inputs, len(states))
        return NeuralODE(network=module, scaling=scaling, states=states, channels=series.names)
    if isinstance(settings, GivenField):
        assert problem is not None
        return Given(problem)
    if isinstance(settings, SparseField):
        return SparseLibrary(*sparse_start(series, noise, settings), states, series.names)
    if isinstance(settings, NeuralField) and settings.second_order:
        net = vector_fields.network(inputs, len(states) // 2, settings.width, settings.depth, settings.activation, key)
        return SecondOrder(network=net, scaling=scaling, states=states, channels=series.names)
    net = vector_fields.network(inputs, len(states), settings.width, settings.depth, settings.activation, key)
    neural = NeuralODE(network=net, scaling=scaling, states=states, channels=series.names)
    if isinstance(settings, UniversalField):
        assert problem is not None
        return Universal(Given(problem), neural)
    return neural


def choose(field: VectorField, series: TimeSeries, begin: Start, settings: Integrator) -> Integrator:
    """Settings with a solver chosen on the longest trajectory, from the field's start."""
    longest = int(np.argmax([times[-1] - times[0] for times in series.times]))
    free = jnp.asarray(begin.states[longest][0])
    controls = jnp.asarray(series.controls[longest])
    return choose_solver(field, jnp.asarray(series.times[longest]), field.start(free), controls, jnp.asarray(begin.scale), settings)


def match(field: VectorField, series: TimeSeries, begin: Start, steps: int = 40) -> VectorField:
    """The field whose slopes match those of the smoothed data: a start for shooting that no trajectory has to be integrated for.

    Gauss-Newton on the slopes at the measured times, relative to each state's typical slope, with a weak pull to the start.
    """
    trainable, fixed = eqx.partition(field, trainable_mask(field))
    start, unravel = ravel_pytree(trainable)
    rows = [jnp.asarray(np.concatenate(parts)) for parts in (series.times, begin.states, series.controls, begin.slopes)]
    known = jnp.isfinite(rows[3])
    size = jnp.asarray(np.std(np.nan_to_num(np.asarray(rows[3])), axis=0))
    size = jnp.where(size > 0, size, 1.0)

    def misfit(theta: Array, t: Array, state: Array, controls: Array, slope: Array, there: Array) -> Array:
        model = eqx.combine(unravel(theta), fixed)
        return jnp.where(there, (model(t, state, controls) - jnp.where(there, slope, 0.0)) / size, 0.0)

    def linearise(theta: Array) -> tuple[Array, Array]:
        residuals, jacobian = jax.vmap(lambda *row: (misfit(theta, *row), jax.jacrev(misfit)(theta, *row)))(*rows, known)
        pull = PULL * jnp.eye(theta.size, dtype=theta.dtype)
        return (
            jnp.concatenate([residuals.ravel(), PULL * (theta - start)]),
            jnp.concatenate([jacobian.reshape(-1, theta.size), pull]),
        )

    found = jax.jit(lambda theta: levenberg_marquardt.minimise(linearise, theta, steps, 1e-4))(start)
    return eqx.combine(unravel(found.theta), fixed)


def carry(before: Shooting, theta: Array, after: Shooting, paths: Array | None = None) -> Array:
    """Parameters of a stage from those of another with other windows: each new window starts on the old one's path."""
    known = np.asarray(jax.jit(lambda theta: before.paths(theta).states)(theta) if paths is None else paths)
    old, new = before.windows, after.windows
    states = np.empty((after.count, after.states))
    for window, (trajectory, begin) in enumerate(zip(new.trajectory, new.begin, strict=True)):
        source = np.flatnonzero((old.trajectory == trajectory) & (old.begin <= begin))[-1]
        states[window] = known[source, begin - old.begin[source]]
    states = np.where(np.isfinite(states), states, np.asarray(after.anchors))
    raw = after.raw_of(jnp.asarray(states))
    return jnp.concatenate([theta[: before.field_size], raw.ravel()])


def join(stage: Shooting, theta: Array) -> tuple[Shooting, Refit]:
    """The refit through the solver: one solution per trajectory where that fits about as well as the windows did, else on windows."""
    paths = jax.jit(lambda theta: stage.paths(theta).states)(theta)
    own = noise_level(stage, stage.unscaled(theta, paths), float(stage.measured - stage.parameters))
    whole = stage.with_windows(None)
    fit = refit(whole.with_noise(np.asarray(own)), carry(stage, theta, whole, paths))
    if whole.count == stage.count or (fit.converged and np.all(fit.sigma <= ACCEPTED * np.asarray(own))):
        return whole, fit
    tight = stage.with_noise(np.asarray(own), continuity=TIGHT)
    return tight, refit(tight, theta)


def read_out(stage: Shooting, theta: Array) -> tuple[Shooting, Refit]:
    """The sparse model behind a trained network, refitted to the data; the network itself where that fits clearly worse.

    The network's own trajectories, dense and without noise, take the place of the data in the search for terms. States that
    nobody measured have no units that symbols could be given in: the network stays.
    """
    own = as_it_is(stage, theta, stage.unscaled(theta, jax.jit(lambda theta: stage.paths(theta).states)(theta)))
    trained = stage.with_noise(np.maximum(own.sigma, QUIETEST * np.asarray(stage.channel_size)))
    field = stage.field_of(theta)
    if set(field.states) != set(field.channels) or not np.isfinite(own.sigma).all():
        return trained, own
    sparse = _read(field, _dense(stage, theta), stage.states)
    candidate = trained.with_field(sparse)
    shooting, fit = join(candidate, jnp.concatenate([candidate.field_start, theta[stage.field_size :]]))
    if np.all(fit.sigma <= np.maximum(WORSE * own.sigma, 0.02 * np.asarray(stage.channel_size))):
        return shooting, fit
    return trained, own


def _read(field: VectorField, dense: TimeSeries, states: int) -> VectorField:
    """The sparse model of a network's dense trajectories, beside the known physics where there is some."""
    if not isinstance(field, Universal):
        model = discover_sparse(dense, resamples=0)
        return SparseLibrary(model.library, model.coefficients, field.states, field.channels)

    def known(variables: Array) -> Array:
        rows = variables.reshape(-1, variables.shape[-1])
        slopes = jax.vmap(lambda row: field.known(jnp.zeros((), row.dtype), row[:states], row[states:]))(rows)
        return slopes.reshape(*variables.shape[:-1], states)

    model = discover_sparse(dense, known=known, resamples=0)
    return Universal(field.known, SparseLibrary(model.library, model.coefficients, field.states, field.channels))


def _dense(stage: Shooting, theta: Array) -> TimeSeries:
    """The fitted trajectories of all windows at evenly spaced times, as a series of their own."""
    windows = stage.windows
    fine = np.stack([np.linspace(times[0], times[-1], DENSE) for times in windows.times])
    states = np.asarray(jax.jit(stage.paths_at)(theta, jnp.asarray(fine)))
    inputs = [
        np.stack([np.interp(at, times, column) for column in controls.T], axis=1) if controls.shape[1] else np.zeros((DENSE, 0))
        for at, times, controls in zip(fine, windows.times, windows.controls, strict=True)
    ]
    return TimeSeries(tuple(fine), tuple(states), stage.field.states, tuple(inputs), stage.series.control_names, stage.series.time_name)


def sparse_start(series: TimeSeries, noise: Noise, settings: SparseField) -> tuple[Library, np.ndarray]:
    """The terms that the data choose, and their coefficients `(terms, states)`: what shooting and the refit begin with.

    Where errors are factors, logarithms are what has normal errors, and their derivatives are growth rates: terms are then chosen
    for x'/x as a polynomial of the states, of degree one or, where there are enough data, two, if nothing else is asked for.
    """
    if not isinstance(noise, LogNormal):
        model = discover_sparse(series, _library(settings, series), resamples=0)
        return model.library, model.coefficients
    logarithms = replace(series, values=tuple(np.log(values) for values in series.values))
    degrees = (1, 2) if settings.degree is None else (max(settings.degree - 1, 1),)
    model = discover_sparse(logarithms, affordable([_growth_terms(series, degree) for degree in degrees], series), resamples=0)
    return _from_growth_rates(model, series)


def _growth_terms(series: TimeSeries, degree: int) -> Library:
    """Monomials of the states (and controls, which have no logarithm) as functions of the states' logarithms."""
    count = series.channels

    def written(factor: Factor) -> Factor:
        variable = factor.weights[0][0]
        return factor if variable >= count else Factor("exp", ((variable, float(factor.power)),))

    variables = (*series.names, *series.control_names)
    return Library(variables, tuple(Term(tuple(map(written, term.factors))) for term in polynomials(variables, degree).terms))


def _from_growth_rates(model: SparseModel, series: TimeSeries) -> tuple[Library, np.ndarray]:
    """x' = x g(x) as a library of its own, from the growth rates g of the logarithms."""

    def powers(term: Term, state: int) -> tuple[tuple[int, int], ...]:
        found: dict[int, int] = {state: 1}
        for factor in term.factors:
            variable, weight = factor.weights[0]
            found[variable] = found.get(variable, 0) + (round(weight) if factor.function == "exp" else factor.power)
        return tuple(sorted(found.items()))

    entries = {
        (powers(model.library.terms[row], state), state): float(model.coefficients[row, state])
        for row, state in np.argwhere(model.coefficients != 0)
    }
    terms = sorted({key for key, _ in entries}, key=lambda key: (sum(power for _, power in key), key)) or [((0, 1),)]
    library = Library(
        (*series.names, *series.control_names),
        tuple(Term(tuple(Factor("", ((index, 1.0),), power) for index, power in key)) for key in terms),
    )
    matrix = np.array([[entries.get((key, state), 0.0) for state in range(series.channels)] for key in terms])
    return library, matrix.reshape(len(terms), series.channels)


def choose_noise(series: TimeSeries) -> Noise:
    """Normal errors, or errors by a factor: on whichever scale a value is predicted better by its two neighbours in time.

    Compared is the likelihood of the values, that of the logarithms with its Jacobian.
    """
    values = np.concatenate(series.values)
    if not np.all(values[~np.isnan(values)] > 0):
        return Gaussian()

    def deviance(noise: Noise) -> float:
        total = 0.0
        for channel in range(series.channels):
            misses, stretch = [], 0.0
            for times, block in zip(series.times, series.values, strict=True):
                there = ~np.isnan(block[:, channel])
                t, y = times[there], np.asarray(noise.scale(jnp.asarray(block[there, channel])))
                share = (t[1:-1] - t[:-2]) / (t[2:] - t[:-2])
                misses.append((y[1:-1] - (1 - share) * y[:-2] - share * y[2:]) / np.sqrt(1 + share**2 + (1 - share) ** 2))
                stretch += float(np.sum(np.log(block[there, channel][1:-1]))) if noise.positive else 0.0
            miss = np.concatenate(misses)
            total += miss.size * float(np.log(np.sqrt(np.mean(miss**2)) + np.finfo(float).tiny)) + stretch if miss.size else 0.0
        return total

    return min((Gaussian(), LogNormal()), key=deviance)


def _library(settings: SparseField, series: TimeSeries) -> Library | None:
    if settings.degree is None and not settings.functions:
        return None
    variables = (*series.names, *series.control_names)
    found = polynomials(variables, settings.degree or 3)
    return found + functions(variables, settings.functions) if settings.functions else found


def stored_field(stored: xarray.Dataset, trained: VectorField | None) -> VectorField | None:
    """The sparse vector field of a run's `solution.nc`, beside the known physics of the one that was trained; None for no such field."""
    if "library" not in stored.attrs:
        return None
    states, channels = json.loads(stored.attrs["states"]), tuple(str(name) for name in stored["channel"].values)
    sparse = SparseLibrary(library_from(stored.attrs["library"]), stored["coefficients"].values, tuple(states), channels)
    return Universal(trained.known, sparse) if isinstance(trained, Universal) else sparse


def resolve_phases(phases: Literal["auto"] | Sequence[Phase], stages: Sequence[Shooting]) -> tuple[Phase, ...]:
    """ "auto" as explicit phases: Adam until the spread over the windows says so (a plateau where there are fewer than eight).

    A field with few numbers then goes to the refit, which is Gauss-Newton; a network first to the dense second-order method, or to
    L-BFGS where it is large.
    """
    if phases != "auto":
        return tuple(phases)
    few = stages[0].field_size <= FEW
    first = Adam(
        steps=300 if few else 1500,
        learning_rate=0.02 if few else 3e-3,
        decay="cosine",
        clip=100.0,
        until=(NoiseTrigger(window=16), Plateau(window=100)) if stages[0].stochastic()[0] else (Plateau(window=100),),
    )
    if few:
        return (first,)
    until = (Plateau(window=200, improvement=0.02),)
    dense = max(stage.parameters for stage in stages) <= DENSE_LIMIT
    return (first, Broyden(steps=1000, redraw=0, until=until) if dense else LBFGS(steps=1000, redraw=0, until=until))


def _states(settings: FieldSettings, problem: Dynamics | None, series: TimeSeries) -> tuple[str, ...]:
    if isinstance(settings, GivenField | UniversalField):
        assert problem is not None
        return problem.states
    if isinstance(settings, NeuralField) and settings.second_order:
        return (*series.names, *(velocity(name) for name in series.names))
    hidden = settings.hidden if isinstance(settings, NeuralField) else 0
    return (*series.names, *(f"hidden_{number}" for number in range(1, hidden + 1)))


def velocity(name: str) -> str:
    """What the time derivative of a position is called."""
    return f"{name}_velocity"


def _stated(problem: Dynamics | None) -> dict[str, float]:
    """Initial values of states as far as they are known, at the starting values of the coefficients."""
    if problem is None:
        return {}
    start = {name: jnp.asarray(unknown.start) for name, unknown in problem.unknowns.items()}
    return {name: float(value) for name, value in problem.bind(start).initial().items()}


def _smooth(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """A channel, its slope, its noise level and the degrees of freedom behind that; a line where there are too few values."""
    there = np.isfinite(values)
    if there.sum() >= FEWEST:
        steps = np.diff(times)
        even = steps.max() <= UNEVEN * steps.min()
        grid = times if even else np.arange(len(times), dtype=float)  # a spline in the row number, where times span many decades
        spline = smooth_channel(grid, values)
        return spline(grid), spline(grid, 1) * np.gradient(grid, times), spline.noise, spline.degrees
    filled = np.interp(times, times[there], values[there]) if there.any() else np.zeros(len(times))
    return filled, np.gradient(filled, times) if len(times) > 1 else np.zeros(len(times)), float(np.std(filled)), 0.0


def _scaling(series: TimeSeries, begin: Start) -> Scaling:
    states, controls = np.concatenate(begin.states), np.concatenate(series.controls)
    spread = np.std(controls, axis=0)
    as_tuple = lambda array: tuple(float(value) for value in array)  # noqa: E731
    return Scaling(
        as_tuple(states.mean(axis=0)), as_tuple(begin.scale), as_tuple(controls.mean(axis=0)),
        as_tuple(np.where(spread > 0, spread, 1.0)), 1.0 / max(begin.rate, 1e-12),
    )  # fmt: skip


def _shooting(
    field: VectorField,
    series: TimeSeries,
    noise: Noise,
    integrator: Integrator,
    begin: Start,
    length: int | None,
    continuity: float,
    seed: int,
) -> Shooting:
    windows = cut(series, length)
    anchors = np.stack([begin.states[index][row] for index, row in zip(windows.trajectory, windows.begin, strict=True)])
    return Shooting(field, series, noise, integrator, length, anchors, begin.scale, begin.sigma, continuity, seed)


def _check_module(module: Any, inputs: int, states: int) -> None:
    if not callable(module):
        raise ProblemError(f"vector_field: {type(module).__name__} is not callable; give a module that maps ({inputs},) to ({states},)")
    try:
        shape = jax.eval_shape(module, jax.ShapeDtypeStruct((inputs,), jnp.zeros(()).dtype)).shape
    except (TypeError, ValueError) as error:
        raise ProblemError(f"vector_field: it fails on {inputs} scaled states and controls: {error}") from error
    if shape != (states,):
        raise ProblemError(f"vector_field: it maps ({inputs},) to {shape}; make it return one derivative per state, ({states},)")


def _check_start(stage: Shooting) -> None:
    """Raises `ProblemError` where the field cannot even be evaluated at the data."""
    field, anchors = stage.field, stage.anchors
    controls = jnp.asarray(stage.windows.controls[:, 0])
    slopes = np.asarray(jax.vmap(field)(jnp.asarray(stage.windows.times[:, 0]), anchors, controls))
    if not np.isfinite(slopes).all():
        window = int(np.argwhere(~np.isfinite(slopes).all(axis=1))[0, 0])
        at = ", ".join(f"{name} = {float(value):.4g}" for name, value in zip(field.states, anchors[window], strict=True))
        raise ProblemError(
            f"the vector field is not finite at t = {stage.windows.times[window, 0]:g}, {at}; guard its divisions and logarithms"
        )
