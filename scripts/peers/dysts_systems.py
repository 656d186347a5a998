"""The chaotic systems of scripts/dysts_coefficients.py, and weak SINDy on them; runs in an environment with dysts and PySINDy.

    python scripts/peers/dysts_systems.py systems FILE.npz   # writes trajectories and true coefficients
    python scripts/peers/dysts_systems.py sindy              # answers one JSON line per request on its input

Systems: all autonomous three-dimensional flows of dysts 0.95 with polynomial right-hand sides up to degree 4, in alphabetical order;
of these every fifth, from the third on, until there are twelve. Nobody looked at a result before.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import warnings
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

DEGREE, COUNT = 4, 12
POINTS, PER_PERIOD, TRAJECTORIES = 1000, 100, 5
EXPONENTS = [powers for powers in itertools.product(range(DEGREE + 1), repeat=3) if sum(powers) <= DEGREE]


def main() -> None:
    """One of the two commands."""
    warnings.simplefilter("ignore")
    if sys.argv[1] == "systems":
        write_systems(sys.argv[2])
    else:
        answer_requests()


def write_systems(path: str) -> None:
    """Noise-free trajectories `(trajectories, points, 3)`, times and true coefficients `(monomials, 3)` of the chosen systems."""
    import dysts.flows  # pyright: ignore[reportMissingImports]
    from dysts.systems import get_attractor_list  # pyright: ignore[reportMissingImports]

    found = []
    for name in sorted(get_attractor_list("continuous_no_delay")):
        system = getattr(dysts.flows, name)()
        coefficients = polynomial(system)
        if coefficients is not None:
            found.append((name, system, coefficients))
    arrays: dict[str, Any] = {"exponents": np.array(EXPONENTS)}
    for name, system, coefficients in found[2::5][:COUNT]:
        arrays[f"{name}/coefficients"] = coefficients
        arrays[f"{name}/times"], arrays[f"{name}/values"] = trajectories(system, coefficients)
    np.savez_compressed(path, **arrays)


def polynomial(system: Any) -> np.ndarray | None:
    """Coefficients of the right-hand side over all monomials; None where it is not such a polynomial in three variables."""
    points = np.random.default_rng(0).normal(size=(200, 3))
    try:
        values, later = (np.array([system.rhs(point, time) for point in points], dtype=float) for time in (0.0, 7.3))
    except (TypeError, ValueError, IndexError):
        return None
    if values.shape != points.shape or not np.isfinite(values).all() or (values != later).any():
        return None
    terms = monomials(points)
    coefficients = np.linalg.lstsq(terms, values, rcond=None)[0]
    if np.abs(terms @ coefficients - values).max() > 1e-8 * np.abs(values).max():
        return None
    return np.where(np.abs(coefficients) > 1e-9, coefficients, 0.0)


def monomials(points: np.ndarray) -> np.ndarray:
    """All monomials at points `(n, 3)`."""
    return np.stack([np.prod(points ** np.array(powers), axis=1) for powers in EXPONENTS], axis=1)


def trajectories(system: Any, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories on the attractor, 100 points per period, started from points of one long one."""
    period = float(system.period)
    times = np.arange(POINTS) * period / PER_PERIOD

    active = coefficients.any(axis=1)
    powers, factors = np.array(EXPONENTS)[active], coefficients[active]

    def field(_: float, state: np.ndarray) -> np.ndarray:
        return np.prod(state**powers, axis=1) @ factors

    def path(start: np.ndarray, at: np.ndarray) -> np.ndarray:
        return solve_ivp(field, (0, at[-1]), start, "DOP853", at, rtol=1e-10, atol=1e-12).y.T

    starts = path(np.asarray(system.ic, dtype=float).ravel()[:3], np.linspace(0, 30 * period, TRAJECTORIES + 2))[2:]
    return times, np.stack([path(start, times) for start in starts])


def answer_requests() -> None:
    """Weak SINDy with the threshold chosen by AIC on held-out trajectories' weak residuals."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        coefficients = weak_sindy(np.array(request["times"]), [np.array(each) for each in request["values"]])
        print(json.dumps({"coefficients": coefficients.tolist(), "seconds": time.perf_counter() - start}), file=answers)


def weak_sindy(times: np.ndarray, values: list[np.ndarray]) -> np.ndarray:
    """PySINDy's weak form with sequential thresholding; of 30 thresholds per state the one with the least AIC. `(monomials, states)`."""
    import pysindy  # pyright: ignore[reportMissingImports]

    base = pysindy.PolynomialLibrary(degree=DEGREE)
    library = pysindy.WeakPDELibrary(base, spatiotemporal_grid=times, K=500, is_uniform=True)
    library.fit(values)
    features = np.concatenate([np.asarray(each) for each in library.transform(values)])
    targets = np.concatenate([np.asarray(library.convert_u_dot_integral(each)) for each in values])
    order = library_order(base)
    found = np.zeros((len(EXPONENTS), values[0].shape[1]))
    for state in range(values[0].shape[1]):
        target = targets[:, state]
        best = np.inf
        for threshold in np.logspace(-3, 1, 30):
            optimizer = pysindy.STLSQ(threshold=threshold, alpha=1e-5)
            optimizer.fit(features, target[:, None])
            coefficients = np.asarray(optimizer.coef_)[0]
            squares = float(((features @ coefficients - target) ** 2).sum())
            criterion = len(target) * np.log(max(squares, 1e-300) / len(target)) + 2 * np.count_nonzero(coefficients)
            if criterion < best:
                best = criterion
                found[order, state] = coefficients
    return found


def library_order(base: Any) -> list[int]:
    """For every feature of PySINDy's library the index of its monomial in EXPONENTS."""
    return [EXPONENTS.index(tuple(int(power) for power in powers)) for powers in base.powers_]


if __name__ == "__main__":
    main()
