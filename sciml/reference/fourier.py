"""Periodic problems in one space dimension, solved by Fourier modes in space and ETDRK4 in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.fft import irfft, rfft

from sciml.errors import ProblemError
from sciml.reference.grid import Reference, relative_l2

Function = Callable[[np.ndarray], np.ndarray]

ORDER = 4
CONTOUR_POINTS = 32
OVERSAMPLING = 8


def fourier_etdrk4(
    linear_symbol: Function,
    nonlinear: Function,
    initial: Function,
    interval: tuple[float, float],
    times: np.ndarray,
    modes: int,
    steps: int,
    *,
    multiplier: Function | None = None,
    points: int | None = None,
    fields: Sequence[str] = ("u",),
) -> Reference:
    r"""Solve $u_t = L u + M n(u)$ on a periodic `interval`, on the grid `times` x `points` equally spaced positions.

    `linear_symbol(k)` gives L and `multiplier(k)` gives M (identity by default) as Fourier multipliers of the wave number k
    ($\partial_x = i k$), for `k` of shape (modes / 2 + 1,); $-\tfrac12 (u^2)_x$ is `nonlinear = u**2`,
    `multiplier = -0.5j * k`. `nonlinear(u)` acts on values; `initial(x)` takes shape (n,). With one field all these have
    the shape of their argument; with several they have one leading row per field. `times` are equally spaced, from the
    initial time on; `steps` is the number of time steps over all of them.

    The error is estimated from four coarser solves: steps / 2 and steps / 4, modes / 2 and modes / 4. Each pair gives the
    rate at which the difference falls, and the remaining error is what a geometric series with this rate still adds.
    The rate is taken as observed but never better than fourth order in time and second order in space, so that a kink in
    the data, whose spectrum falls only algebraically, is not taken for a smooth function. `seconds` is the finest solve alone.

    Raises `ProblemError` for times that are not equally spaced and for counts that do not divide.
    Source: Cox & Matthews (2002), J. Comput. Phys. 176, equations (26)-(29); coefficients by contour integrals as in Kassam &
    Trefethen (2005), SIAM J. Sci. Comput. 26.
    """
    times = np.asarray(times, dtype=np.float64)
    points = modes // 4 if points is None else points
    _check(times, modes, steps, points)
    equation = _Equation(linear_symbol, nonlinear, initial, multiplier, interval, len(fields))

    def solve(modes: int, steps: int) -> dict[str, np.ndarray]:
        values = _solve(equation, times, modes, steps, points)
        return {name: values[:, index] for index, name in enumerate(fields)}

    start = time.perf_counter()
    fine = solve(modes, steps)
    seconds = time.perf_counter() - start
    in_time = _remaining(fine, solve(modes, steps // 2), solve(modes, steps // 4), 2.0**ORDER)
    in_space = _remaining(fine, solve(modes // 2, steps), solve(modes // 4, steps), 4.0)
    error = in_time + in_space + float(np.finfo(np.float64).eps)
    grid = {"t": times, "x": _positions(interval, points)}
    return Reference("fourier_etdrk4", grid, fine, error, seconds)


class _Equation(NamedTuple):
    linear_symbol: Function
    nonlinear: Function
    initial: Function
    multiplier: Function | None
    interval: tuple[float, float]
    fields: int

    def rows(self, values: np.ndarray, count: int) -> np.ndarray:
        """`values` as one row of `count` numbers per field."""
        return np.broadcast_to(values, (self.fields, count))

    def wave_numbers(self, modes: int) -> np.ndarray:
        lower, upper = self.interval
        return 2 * np.pi / (upper - lower) * np.arange(modes // 2 + 1)


class _Coefficients(NamedTuple):
    """What one ETDRK4 step multiplies with, each of shape (fields, modes / 2 + 1)."""

    whole: np.ndarray
    half: np.ndarray
    stage: np.ndarray
    first: np.ndarray
    middle: np.ndarray
    last: np.ndarray


def _solve(equation: _Equation, times: np.ndarray, modes: int, steps: int, points: int) -> np.ndarray:
    """Values of shape (times, fields, points)."""
    between = steps // (len(times) - 1)
    wave_numbers = equation.wave_numbers(modes)
    step = (times[1] - times[0]) / between
    symbol = equation.rows(_real_at_nyquist(equation.linear_symbol(wave_numbers)), len(wave_numbers))
    coefficients = _coefficients(symbol, step)
    factor = 1.0 if equation.multiplier is None else _real_at_nyquist(equation.multiplier(wave_numbers))
    stride = modes // points

    def nonlinear(spectrum: np.ndarray) -> np.ndarray:
        values = irfft(spectrum, modes) if equation.fields > 1 else irfft(spectrum[0], modes)
        return factor * rfft(equation.rows(equation.nonlinear(values), modes))

    spectrum = _initial_spectrum(equation, modes)
    positions = _positions(equation.interval, points)
    outputs = [equation.rows(equation.initial(positions), points)]
    for _ in times[1:]:
        for _ in range(between):
            spectrum = _advance(spectrum, coefficients, nonlinear)
        outputs.append(irfft(spectrum, modes)[:, ::stride])
    return np.stack(outputs)


def _advance(spectrum: np.ndarray, coefficients: _Coefficients, nonlinear: Function) -> np.ndarray:
    whole, half, stage, first, middle, last = coefficients
    at_start = nonlinear(spectrum)
    carried = half * spectrum
    guess = carried + stage * at_start
    at_guess = nonlinear(guess)
    at_corrected = nonlinear(carried + stage * at_guess)
    at_end = nonlinear(half * guess + stage * (2 * at_corrected - at_start))
    return whole * spectrum + first * at_start + middle * (at_guess + at_corrected) + last * at_end


def _coefficients(symbol: np.ndarray, step: float) -> _Coefficients:
    """Divided differences of the exponential, as means over a unit circle around each point: no cancellation near zero."""
    scaled = step * symbol
    circle = np.exp(2j * np.pi * (np.arange(CONTOUR_POINTS) + 0.5) / CONTOUR_POINTS)
    z = scaled[..., None] + circle
    exponential = np.exp(z)

    def mean(values: np.ndarray) -> np.ndarray:
        average = step * values.mean(axis=-1)
        return average if np.iscomplexobj(symbol) else average.real

    return _Coefficients(
        whole=np.exp(scaled),
        half=np.exp(scaled / 2),
        stage=mean((np.exp(z / 2) - 1) / z),
        first=mean((-4 - z + exponential * (4 - 3 * z + z**2)) / z**3),
        middle=2 * mean((2 + z + exponential * (z - 2)) / z**3),
        last=mean((-4 - 3 * z - z**2 + exponential * (4 - z)) / z**3),
    )


def _initial_spectrum(equation: _Equation, modes: int) -> np.ndarray:
    """The first coefficients of the initial values, sampled more finely than the solution to keep aliasing out of them."""
    samples = OVERSAMPLING * modes
    values = equation.rows(equation.initial(_positions(equation.interval, samples)), samples)
    spectrum = rfft(values)[:, : modes // 2 + 1] / OVERSAMPLING
    spectrum[:, -1] = spectrum[:, -1].real
    return spectrum


def _real_at_nyquist(multiplier: np.ndarray) -> np.ndarray:
    """The highest mode has no sine part: odd derivatives of it are zero."""
    changed = np.array(multiplier)
    changed[..., -1] = np.real(changed[..., -1])
    return changed


def _positions(interval: tuple[float, float], count: int) -> np.ndarray:
    lower, upper = interval
    return lower + (upper - lower) * np.arange(count) / count


def _remaining(fine: dict[str, np.ndarray], half: dict[str, np.ndarray], quarter: dict[str, np.ndarray], best: float) -> float:
    """Relative L2 error left in `fine`, from the factor (between 1.5 and `best`) by which a doubling reduces differences."""
    last = relative_l2(fine, half)
    before = relative_l2(half, quarter)
    factor = min(best, max(1.5, before / last)) if last > 0 else best
    return last / (factor - 1)


def _check(times: np.ndarray, modes: int, steps: int, points: int) -> None:
    mistakes = []
    gaps = np.diff(times)
    if times.ndim != 1 or len(times) < 2 or gaps[0] <= 0 or not np.allclose(gaps, gaps[0], rtol=1e-9, atol=0):
        mistakes.append("times must be equally spaced and increasing, for example np.linspace(0.0, 1.0, 101)")
    elif steps < 4 or steps % (4 * (len(times) - 1)):
        mistakes.append(f"steps = {steps} must be a multiple of 4 x {len(times) - 1} (time intervals; two halvings)")
    if modes < 8 or modes % 8 or points < 1 or modes % (4 * points):
        mistakes.append(f"modes = {modes} must be a multiple of 8 and of 4 x {points} (points of the output; two halvings)")
    if mistakes:
        raise ProblemError(mistakes, source="fourier_etdrk4")
