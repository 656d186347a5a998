"""Doubts: what a reader must know of a discovery before believing any of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import bdtr

from sciml.dynamics import forecast as ahead
from sciml.dynamics import vector_fields
from sciml.dynamics.first_look import on_scale
from sciml.dynamics.refit import LEVEL
from sciml.dynamics.undersampling import sampling

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered

UNCERTAIN = 0.5
"""Share of simulated data sets that lead to a term again, below which it is doubted."""

PATTERN, PAIRS = 0.6, 12
"""Correlation between neighbouring residuals beyond which they are no noise, and the fewest pairs that tell."""

LOUD = 3.0
"""Standard deviation of held-out data, in those of the noise, beyond which they do more than scatter."""

BY_CHANCE = 0.01
"""Probability of so few held-out values inside the band, were it right and they independent, below which it is called too narrow."""

SMALL = 0.01
"""Size of residuals, as a share of the data's spread, below which a pattern in them is no reason for doubt."""


def doubts(discovered: Discovered) -> tuple[str, ...]:
    """A sentence each; none where nothing is known that speaks against it."""
    found = []
    if discovered.failure is not None:
        where = f"after {discovered.series.time_name} = {discovered.failure.time:.4g}"
        found.append(f"the solver does not get through the fitted windows, {where}: {discovered.failure.reason}; {discovered.failure.cure}")
    if not discovered.fit.converged:
        found.append("the refit did not converge: treat coefficients and intervals as provisional")
    network = vector_fields.has_network(discovered.vector_field)
    if network:
        why = "no sparse model fits nearly as well as the network" if discovered.vector_field.stands_in else "a network has no symbols"
        known = "" if np.any(discovered.fit.covariance) else ". The band holds noise only, not what is not known"
        found.append(f"no equations: {why}{known}")
    if unexplained := _unexplained(discovered):
        found.append(
            f"no equation for {', '.join(unexplained)}: no candidate term explains how it changes; if a state is missing in the data, "
            "try --field neural --set vector_field.hidden=1, or write the equations that you expect as a sciml.Dynamics"
        )
    if discovered.fit.degrees < 1 and not network:
        found.append("as many numbers are fitted as were measured: such a fit is always good, and says nothing about the equations")
    missed = sampling(on_scale(discovered.series, discovered.shooting.noise), discovered.fit.sigma)
    if missed.undersampled:
        worst = int(np.argmax(missed.missed))
        found.append(
            f"undersampled: {100 * missed.missed[worst]:.0f} % of the values of {discovered.series.names[worst]} are far from what their "
            "neighbours in time suggest; if these are no outliers, what happens between them rests on the model alone"
        )
    if not discovered.joined:
        found.append(
            "no single solution follows a whole trajectory as well as solutions on windows do: the dynamics are chaotic, disturbed, "
            "or more than this vector field, or the fit did not get there"
        )
    found += [f"{name}: {each.reason}" for name, each in discovered.coefficients.items() if each.reason]
    found += [
        f"{name}: only {100 * share:.0f} % of data sets simulated by this model would lead to the term again"
        for name, share in discovered.inclusion.items()
        if share < UNCERTAIN
    ]
    by_factor = "; if errors are not by a factor, state gaussian noise" if discovered.shooting.noise.kind == "lognormal" else ""
    found += [
        f"what the fit of {name} leaves over is a pattern, not noise (neighbours correlate by {correlation:.2f}): "
        "the vector field lacks something, perhaps a state that was not measured (--field neural --set vector_field.hidden=1), or it is "
        f"not noise alone that disturbs the data{by_factor}"
        for name, correlation in _patterns(discovered)
    ]
    flat = ahead.flat_channels(discovered.series, discovered.predictions)
    found += [f"the fit of {name} is a flat line although the data vary: nothing was learned about it" for name in flat]
    found += [f"the forecast of {name} is a flat line although the held-out data vary" for name in _flat_forecasts(discovered)]
    for band in discovered.bands:
        if band.failure is not None:
            found.append(f"the forecast ends at {band.failure.time:.4g}: {band.failure.reason}; {band.failure.cure}")
        elif band.lost > 0.05:
            found.append(f"{100 * band.lost:.0f} % of the draws run to infinity and are left out of the band: it is too narrow")
    if narrow := _coverage(discovered):
        found.append(f"only {100 * narrow:.0f} % of the held-out values lie in the {100 * LEVEL:.0f} % band: it is too narrow")
    scores = discovered.scores.get("held_out", {})
    better = [
        name for name, each in scores.items() if name != "model" and np.isfinite(each.nrmse) and not scores["model"].nrmse < each.nrmse
    ]
    if better:
        found.append(f"on the held-out data {' and '.join(better)} predicts at least as well: do not use this forecast")
    return tuple(found)


def _unexplained(discovered: Discovered) -> list[str]:
    """States whose equation has no term, although they vary by more than their noise."""
    sparse = discovered.vector_field.sparse_part
    if sparse is not discovered.vector_field or sparse is None:
        return []
    measured = on_scale(discovered.series, discovered.shooting.noise)
    vary = np.nanstd(np.concatenate(measured.values), axis=0) > LOUD * sampling(measured).noise
    return [name for name, column, varies in zip(sparse.states, sparse.active.T, vary, strict=True) if varies and not np.any(column)]


def _coverage(discovered: Discovered) -> float | None:
    """The share of held-out values inside the band, where so few are hardly chance."""
    if discovered.held_out is None:
        return None
    within, count = ahead.inside(discovered.bands, discovered.held_out)
    return within / count if count and bdtr(within, count, LEVEL) < BY_CHANCE else None


def _flat_forecasts(discovered: Discovered) -> tuple[str, ...]:
    """Channels of which nothing is predicted where much happens; a steady state among noise is no such thing."""
    held_out, shown = discovered.held_out, [band.values for band in discovered.bands]
    if held_out is None or not all(np.isfinite(values).all() for values in shown):
        return ()
    noise = discovered.shooting.noise
    predicted = on_scale(replace(held_out, values=tuple(shown)), noise).values
    return ahead.flat_channels(on_scale(held_out, noise), predicted, LOUD * discovered.fit.sigma)


def _patterns(discovered: Discovered) -> list[tuple[str, float]]:
    """Channels whose residuals go on from one measured time to the next, and how much that correlates; small residuals are left alone."""
    noise, series = discovered.shooting.noise, discovered.series
    measured, shown = on_scale(series, noise), on_scale(replace(series, values=discovered.predictions), noise)
    rest = [values - fitted for values, fitted in zip(measured.values, shown.values, strict=True)]
    spread = np.nanstd(np.concatenate(measured.values), axis=0)
    found = []
    for channel, name in enumerate(series.names):
        each = [column[np.isfinite(column)] for column in (block[:, channel] for block in rest)]
        squares, pairs = sum(float(one @ one) for one in each), sum(max(one.size - 1, 0) for one in each)
        if pairs < PAIRS or squares < (SMALL * spread[channel]) ** 2 * pairs:
            continue
        correlation = sum(float(one[1:] @ one[:-1]) for one in each) / squares
        if correlation > PATTERN:
            found.append((name, correlation))
    return found
