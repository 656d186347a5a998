"""Hares and lynxes, all 21 years: a fit through the solver and its intervals beside a published Bayesian posterior of the same model.

    python scripts/hare_lynx_posterior.py

The posterior is the reference of posteriordb (Magnusson et al. 2024), data `hudson_lynx_hare`, model `lotka_volterra`: Carpenter's (2018)
equations with lognormal errors of a size per species, weak priors, sampled by Stan. Means and standard deviations are those of its stored
summary. Ours has no priors and is the maximum of the likelihood with a normal interval around it. Prints Markdown.
"""

from __future__ import annotations

import time

import sciml
from sciml.dynamics.problem import Dynamics
from sciml.runs.catalog import load_problem

POSTERIOR = {
    "alpha": (0.54686, 0.0631),
    "beta": (0.027747, 0.00415),
    "gamma": (0.80010, 0.0894),
    "delta": (0.024086, 0.00353),
}
"""Mean and standard deviation, the latter from the stored means of the squares."""


def main() -> None:
    """One fit, one row per coefficient."""
    began = time.perf_counter()
    problem = load_problem("hare_lynx")
    assert isinstance(problem, Dynamics)
    found = sciml.discover(problem, hold_out=0, progress=False)
    print(f"{time.perf_counter() - began:.0f} s\n")
    heads = ("", "ours", "standard error", "posterior mean", "standard deviation", "difference in standard deviations", "ratio of widths")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name, (mean, deviation) in POSTERIOR.items():
        each = found.coefficients[name]
        width = "" if each.standard_error is None else f"{each.standard_error:.2g}"
        ratio = "" if each.standard_error is None else f"{each.standard_error / deviation:.2f}"
        difference = (each.value - mean) / deviation
        print(f"| `{name}` | {each.value:.4g} | {width} | {mean:.4g} | {deviation:.2g} | {difference:+.2f} | {ratio} |")


if __name__ == "__main__":
    main()
