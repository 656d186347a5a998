"""From a series to a Discovery: everything resolved and checked before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from sciml.device import configure
from sciml.dynamics import vector_fields
from sciml.dynamics.discovered import Discovered
from sciml.dynamics.discovery import Discovery
from sciml.dynamics.first_look import choose_noise, look
from sciml.dynamics.integrate import EXPLICIT, choose_solver
from sciml.dynamics.noise import NOISES, Noise
from sciml.dynamics.problem import Dynamics
from sciml.dynamics.series import TimeSeries
from sciml.dynamics.shooting import Shooting
from sciml.dynamics.stages import check_start, fixed_steps, lengths, resolve_phases, stage_of
from sciml.dynamics.starting_fields import FieldSettings, build_field, match, names_of_states
from sciml.dynamics.starting_terms import own_libraries
from sciml.dynamics.vector_fields import VectorField
from sciml.errors import ConfigError, Outcome, ProblemError
from sciml.settings import GivenField, Integrator, NeuralField, Phase, SparseField, UniversalField
from sciml.settings import Shooting as ShootingSettings
from sciml.solve import line, row

LOOSE = Integrator(rtol=1e-4, atol=1e-6)
"""Tolerances while a network is trained."""


def prepare(
    subject: TimeSeries | Dynamics | str | Path,
    *,
    vector_field: FieldSettings | VectorField | Any = None,
    network: Any = None,
    noise: Noise | str | None = None,
    hold_out: int | None = None,
    shooting: ShootingSettings | None = None,
    integrator: Integrator | None = None,
    phases: Literal["auto"] | Sequence[Phase] = "auto",
    seed: int = 0,
    precision: Literal["float64", "float32"] = "float64",
    name: str | None = None,
) -> Discovery:
    """Builds and checks a Discovery from a series or a `Dynamics`.

    `vector_field` is one of `sciml.settings`' fields, a library of candidate terms or several (`sciml.polynomials(("x", "y"), 3)`) for a
    series, or a module: a `VectorField` of the user's own, or any Equinox or Flax NNX module that maps scaled states and controls to
    scaled derivatives; with a `Dynamics`, a module is what its vector field lacks. `network` is such a module for a `NeuralField` or a
    `UniversalField`, in the place of the one that these describe. `precision` has to be float64. Raises `ProblemError` for all that can
    be found before training.
    """
    if precision != "float64":
        raise ConfigError(
            f'precision = "{precision}": terms are chosen, and fits refined, to digits that it has not; a discovery needs float64'
        )
    configure(precision)
    if isinstance(subject, str | Path):
        name, subject = name or Path(subject).stem, TimeSeries.from_csv(subject)
    if not isinstance(subject, TimeSeries | Dynamics):
        raise ProblemError(
            f"{type(subject).__name__}: dynamics are found behind a sciml.TimeSeries, a CSV file or a sciml.Dynamics; give one"
        )
    problem = subject if isinstance(subject, Dynamics) else None
    series = problem.measured if problem is not None else subject
    assert isinstance(series, TimeSeries)
    hold_out = hold_out if hold_out is not None else problem.hold_out if problem is not None else 0
    train_series, held_out = series.split(hold_out) if hold_out else (series, None)
    noise = _noise(noise) or (problem.noise if problem is not None else choose_noise(train_series))
    noise.check(np.concatenate(series.values), series.names)
    libraries = own_libraries(vector_field, train_series)
    settings, module = _described(None if libraries else vector_field, network, problem)
    if libraries and problem is not None:
        raise ProblemError("vector_field: a library is for a series alone; give the problem vector_field=sciml.UniversalField()")
    states = names_of_states(settings, module, problem, train_series)
    begin = look(train_series, noise, states, problem)
    field, begin = build_field(settings, module, problem, train_series, noise, states, begin, seed, libraries)
    if vector_fields.has_network(field):
        field = match(field, train_series, begin)
    integrator, windows = integrator or Integrator(), shooting or ShootingSettings()
    if vector_fields.has_network(field):
        integrator = integrator.model_copy(update={"rtol": max(integrator.rtol, LOOSE.rtol), "atol": max(integrator.atol, LOOSE.atol)})
    stages = [
        stage_of(field, train_series, noise, integrator, begin, length, windows.continuity, seed)
        for length in lengths(train_series, windows, begin.brief)
    ]
    training = fixed_steps(stages[-1]) if vector_fields.has_network(field) and integrator.solver == "auto" else None
    if training is None:
        training = integrator = choose(stages[0], integrator)
    else:
        integrator = integrator.model_copy(update={"solver": EXPLICIT[0]})
    stages = [stage.with_integrator(training) for stage in stages]
    check_start(stages[0])
    return Discovery(
        name or (problem.name if problem is not None else "series"),
        train_series, held_out, field, noise, stages, resolve_phases(phases, stages), settings, integrator,
    )  # fmt: skip


def _described(given: Any, network: Any, problem: Dynamics | None) -> tuple[FieldSettings, Any]:
    """The settings of a vector field, and the user's own module in it. Raises `ProblemError` for what does not go together."""
    if given is not None and not isinstance(given, FieldSettings):
        if network is not None:
            raise ProblemError("network: vector_field is a module itself; give one of the two")
        return UniversalField() if problem is not None else NeuralField(), given
    settings = given or (GivenField() if problem is not None else SparseField())
    if isinstance(settings, GivenField | UniversalField) and problem is None:
        raise ProblemError(f'vector_field.kind = "{settings.kind}" needs a problem with a vector field of its own; a series alone has none')
    if network is not None and not isinstance(settings, NeuralField | UniversalField):
        raise ProblemError(
            f'network: vector_field.kind = "{settings.kind}" has none; write vector_field=sciml.NeuralField() or sciml.UniversalField()'
        )
    return settings, network


def _noise(given: Any) -> Noise | None:
    """A noise, also by its name. Raises `ProblemError` for what is none."""
    if given is None or isinstance(given, Noise):
        return given
    if isinstance(given, str) and given in NOISES:
        return NOISES[given]
    shown = repr(given) if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
    raise ProblemError(f"noise: {shown} is not a noise; write 'gaussian', 'lognormal' or 'counts', or for example sciml.Gaussian()")


def discover(subject: TimeSeries | Dynamics | str | Path, *, progress: bool = True, every: int = 100, **settings: Any) -> Discovered:
    """Finds the dynamics behind a series, or a CSV file of one, or the coefficients of a user's own `Dynamics`; returns what was found.

    `settings`: `hold_out` (last rows of each trajectory, forecast instead of fitted), `noise` (`Gaussian()`, `LogNormal()`, `Counts()`, or
    their names), `vector_field` (settings such as `sciml.NeuralField(hidden=1)`, a library of candidate terms, or a module of your own: a
    `sciml.VectorField` or a network), `network` (a module for such settings), `shooting`, `integrator`, `phases`, `seed`, `name`: those
    of `sciml.dynamics.preparing.prepare`. Warns if training diverged. Raises `ProblemError` for all that can be found before training, and
    `ConfigError` where this process already computes in another precision.
    """
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


def choose(stage: Shooting, settings: Integrator) -> Integrator:
    """Settings with a solver chosen on the windows that training begins with, from the field's start."""
    solve = lambda integrator: jax.jit(stage.with_integrator(integrator).paths)(stage.start)  # noqa: E731
    return choose_solver(solve, stage.windows.times.shape[1] - 1, settings)
