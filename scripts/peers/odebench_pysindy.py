"""PySINDy on tasks of scripts/odebench.py: settings by prediction of the last 30 %, then all points. One JSON line per task.

Runs in PySINDy's own environment. The search is the paper's (d'Ascoli et al. 2024, appendix), thinned out: polynomial degree 1 to 5
(3 from three states on), thresholds 0.05, 0.1, 0.15, ridge 0.05, differences of order 2 and 4, and smoothed differences where the times
are equally spaced. (On other times its smoothed differences would assume equal steps.)
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import warnings

import numpy as np
import pysindy  # pyright: ignore[reportMissingImports]
from scipy.integrate import solve_ivp

MOST_EVALUATIONS = 100_000
"""Evaluations that the integration of the final model may take; a tenth of it during the search."""


def main() -> None:
    """Answers requests until the input ends; whatever PySINDy prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        model = searched(np.array(request["times"]), np.array(request["values"]))
        seconds = time.perf_counter() - start
        paths = [path(model, np.array(times), np.array(values)[0], MOST_EVALUATIONS) for times, values in request["truths"]]
        print(
            json.dumps({"seconds": seconds, "paths": [each.tolist() for each in paths], "equations": " | ".join(model.equations(6))}),
            file=answers,
        )


def searched(times: np.ndarray, values: np.ndarray) -> pysindy.SINDy:
    """The settings that predict the last 30 % best, fitted to all points."""
    cut = int(0.7 * len(times))
    degrees = range(1, 6) if values.shape[1] < 3 else range(1, 4)
    equal = np.allclose(np.diff(times), times[1] - times[0], rtol=1e-3)
    methods = [pysindy.FiniteDifference(order=order) for order in (2, 4)]
    methods += [pysindy.SmoothedFiniteDifference(smoother_kws={"window_length": 15})] if equal else []
    best, lowest = None, np.inf
    for degree, threshold, method in itertools.product(degrees, (0.05, 0.1, 0.15), methods):
        model = fitted(times[:cut], values[:cut], degree, threshold, method)
        predicted = path(model, times[cut:], values[cut], MOST_EVALUATIONS // 10)
        error = np.mean((predicted - values[cut:]) ** 2) if predicted.shape == values[cut:].shape else np.inf
        if error < lowest or best is None:
            best, lowest = (degree, threshold, method), min(error, lowest)
    assert best is not None
    return fitted(times, values, *best)


def fitted(times: np.ndarray, values: np.ndarray, degree: int, threshold: float, method: object) -> pysindy.SINDy:
    """One fit."""
    optimizer = pysindy.STLSQ(threshold=threshold, alpha=0.05)
    library = pysindy.PolynomialLibrary(degree=degree)
    return pysindy.SINDy(optimizer=optimizer, feature_library=library, differentiation_method=method).fit(values, t=times)


def path(model: pysindy.SINDy, times: np.ndarray, start: np.ndarray, most: int) -> np.ndarray:
    """The model's trajectory; an empty one where the integration fails, runs away or takes too long."""
    evaluations = itertools.count()
    limit = 1e4 * max(float(np.abs(start).max()), 1.0)

    def watched(_: float, state: np.ndarray) -> np.ndarray:
        if next(evaluations) > most or not np.abs(state).max() < limit:
            raise OverflowError
        return np.asarray(model.predict(state[None, :]))[0]

    try:
        return solve_ivp(watched, (times[0], times[-1]), start, "LSODA", times, rtol=1e-6, atol=1e-8).y.T
    except (OverflowError, ValueError):
        return np.zeros((0, len(start)))


if __name__ == "__main__":
    main()
