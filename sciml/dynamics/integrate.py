"""A vector field through Diffrax: states at given times, and, where the solver gives up, why and what to do instead of an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jax import Array

from sciml.settings import Integrator

Field = Callable[[Array, Array, Array], Array]
"""A vector field: time, state `(states,)` and controls `(controls,)` to the time derivative of the state."""

NEWTON = diffrax.with_stepsize_controller_tols(optimistix.Newton)
"""Implicit steps are solved with a Jacobian per iteration: systems are small, and a frozen one costs far more steps (decision 038)."""

SOLVERS: dict[str, Callable[[], diffrax.AbstractSolver]] = {
    "tsit5": diffrax.Tsit5,
    "dopri8": diffrax.Dopri8,
    "kvaerno3": lambda: diffrax.Kvaerno3(root_finder=NEWTON()),
    "kvaerno5": lambda: diffrax.Kvaerno5(root_finder=NEWTON()),
    "kencarp5": lambda: diffrax.KenCarp5(root_finder=NEWTON()),
}
EXPLICIT = ("tsit5", "dopri8")
STIFF = "kvaerno5"

FIXED = "rk4"

RUNGE_KUTTA = ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6))
"""Stages of the classical method: place and weight."""

RUNAWAY = 1e6
"""Size of a state, in units of its own and of where it starts, at which a solution is given up: windows that are solved together all wait
for the last."""

LONG = 256
"""Sampling intervals up to which a solution may take `max_steps`; longer ones may take more in proportion."""

STRUGGLE = 20
"""Explicit steps per implicit step beyond which a problem is treated as stiff: an implicit step costs about that much more."""

REACHED, STEPS, BLOW_UP, IMPLICIT = range(4)
"""What `Path.code` says."""

CURES = {
    STEPS: "the steps became too many: the field is stiff there, or the solution grows without bound; "
    "try integrator.solver = 'kvaerno5', or bounds on the coefficients",
    BLOW_UP: "the solution runs to infinity; bound the coefficients, or shorten the forecast",
    IMPLICIT: "the equations of an implicit step could not be solved; try integrator.solver = 'kencarp5' or a larger rtol",
}


class Path(NamedTuple):
    """States at the asked times."""

    states: Array
    """`(n, states)`; from the first time that was not reached on, infinite."""
    steps: Array
    """Steps that the solver took, rejected ones included."""
    code: Array
    """`REACHED` where the last time was reached; else why it was not."""


class Failure(NamedTuple):
    """Why a solution ends early."""

    time: float
    reason: str
    cure: str


def integrate(
    field: Field,
    times: Array,
    start: Array,
    controls: Array,
    scale: Array,
    settings: Integrator,
    adjoint: diffrax.AbstractAdjoint | None = None,
) -> Path:
    """The solution through `start` `(states,)` at `times[0]`, at `times` `(n,)`, which do not decrease.

    `controls` `(n, controls)` are interpolated linearly between `times`. `scale` `(states,)` is the size of each state: the absolute
    tolerance is relative to it. `settings.solver` must not be "auto" here; see `choose_solver`. Never raises: see `Path`.
    """

    def slope(t: Array, state: Array, _: Any) -> Array:
        return field(t, scale * state, interpolate(times, controls, t)) / scale

    far = RUNAWAY * jnp.maximum(1.0, jnp.max(jnp.abs(start / scale)))
    if settings.solver == FIXED:
        return _with_fixed_steps(slope, times, start / scale, scale, far, settings.substeps)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # Diffrax mixes types and ranks
        found = diffrax.diffeqsolve(
            _terms(slope, settings.solver),
            SOLVERS[settings.solver](),
            t0=times[0],
            t1=times[-1],
            dt0=None,
            y0=start / scale,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=settings.rtol, atol=settings.atol),
            adjoint=diffrax.ForwardMode() if adjoint is None else adjoint,
            max_steps=int(settings.max_steps * max(1.0, (times.size - 1) / LONG)),
            event=diffrax.Event(lambda t, y, args, **_: jnp.max(jnp.abs(y)) > far),
            throw=False,
        )
    assert found.ys is not None
    return Path(scale[None] * found.ys, found.stats["num_steps"], _code(found.result, settings.solver))


def _code(result: Any, solver: str) -> Array:
    otherwise = BLOW_UP if solver in EXPLICIT else IMPLICIT
    code = jnp.where(result == diffrax.RESULTS.event_occurred, BLOW_UP, otherwise)
    code = jnp.where(result == diffrax.RESULTS.max_steps_reached, STEPS, code)
    return jnp.where(result == diffrax.RESULTS.successful, REACHED, code)


def _with_fixed_steps(slope: Any, times: Array, start: Array, scale: Array, far: Array, substeps: int) -> Path:
    """The classical Runge-Kutta method, `substeps` between two times: quickly compiled, and quickly differentiated backwards."""
    slope = jax.jit(slope)  # the four stages share one trace

    def step(carry: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        state, alive = carry
        moved = state + runge_kutta(lambda t, state: slope(t, state, None), at[0], at[1], state)
        alive = alive & jnp.all(jnp.abs(moved) < far)
        state = jnp.where(alive, moved, state)  # a dead solution stays where it is: its derivatives are numbers
        return (state, alive), (state, alive)

    lengths = jnp.diff(times) / substeps
    begins = times[:-1, None] + lengths[:, None] * jnp.arange(substeps, dtype=times.dtype)[None]
    (_, reached), path = jax.lax.scan(step, (start, jnp.asarray(True)), (begins.ravel(), jnp.repeat(lengths, substeps)))
    states, alive = (each[substeps - 1 :: substeps] for each in path)
    states = scale[None] * jnp.concatenate([start[None], jnp.where(alive[:, None], states, jnp.inf)])
    return Path(states, jnp.asarray((times.size - 1) * substeps), jnp.where(reached, REACHED, BLOW_UP))


def runge_kutta(slope: Callable[[Any, Any], Any], t: Any, length: Any, state: Any) -> Any:
    """The change of `state` over one step of the classical method, traced or on the host."""
    now, change = 0.0 * state, 0.0 * state
    for place, weight in RUNGE_KUTTA:
        now = length * slope(t + place * length, state + place * now)
        change = change + weight * now
    return change


def _terms(slope: Any, solver: str) -> diffrax.AbstractTerm:
    """A slope as the solver takes it: KenCarp's methods split it in an explicit part, here nothing, and an implicit one."""
    term = diffrax.ODETerm(slope)
    if not solver.startswith("kencarp"):
        return term
    return diffrax.MultiTerm(diffrax.ODETerm(lambda t, state, args: jnp.zeros_like(state)), term)


def interpolate(times: Array, controls: Array, t: Array) -> Array:
    """Controls `(controls,)` at time `t`, linear between `times`, constant outside."""
    if controls.shape[-1] == 0:
        return jnp.zeros((0,), controls.dtype)
    return jax.vmap(lambda column: jnp.interp(t, times, column), in_axes=1)(controls)


def choose_solver(solve: Callable[[Integrator], Path], intervals: int, settings: Integrator) -> Integrator:
    """Settings whose solver is not "auto": an explicit one, or an implicit one where the explicit one struggles.

    `solve` gives the paths `(W, m, states)` of typical windows of `intervals` sampling intervals. Both are tried once; stiff is what
    takes the explicit one `STRUGGLE` times as many steps, or where the implicit one gets further.
    """
    if settings.solver != "auto":
        return settings
    explicit, implicit = (settings.model_copy(update={"solver": solver}) for solver in (EXPLICIT[0], STIFF))
    first = solve(explicit)
    if np.all(np.asarray(first.code) == REACHED) and np.max(first.steps) < STRUGGLE * intervals:
        return explicit
    second = solve(implicit)
    reached = [int(np.isfinite(np.asarray(path.states)).all(axis=-1).sum()) for path in (first, second)]
    better = reached[1] > reached[0] or (reached[1] == reached[0] and np.sum(first.steps) > STRUGGLE * np.sum(second.steps))
    return implicit if better else explicit


def failure(path: Path, times: np.ndarray) -> Failure | None:
    """Why a path ends early and after which time it does; None where it does not."""
    if int(path.code) == REACHED:
        return None
    reached = np.flatnonzero(np.isfinite(np.asarray(path.states)).all(axis=1))
    last = float(times[reached[-1]]) if reached.size else float(times[0])
    return Failure(last, *_split(CURES[int(path.code)]))


def _split(text: str) -> tuple[str, str]:
    reason, _, cure = text.partition("; ")
    return reason, cure
