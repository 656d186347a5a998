"""What is kept of a discovery: its part of `result.json`, and the numbers and equations in `solution.nc`, which a run is loaded from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.dynamics import forecast as ahead
from sciml.dynamics.forecast import Band
from sciml.dynamics.library_json import library_from, library_text
from sciml.dynamics.refit import LEVEL
from sciml.dynamics.vector_fields import SparseLibrary, Universal, VectorField
from sciml.labelled import Labelled, Variable

if TYPE_CHECKING:
    import xarray

    from sciml.dynamics.discovered import Discovered


def as_dict(found: Discovered) -> dict[str, Any]:
    """What `result.json` adds for a discovery."""
    return {
        "equations": found.equations(),
        "coefficients": {
            name: each._asdict() | {"level": LEVEL, "inclusion": found.inclusion.get(name)} for name, each in found.coefficients.items()
        },
        "cross_validation": found.cross_validation,
        "noise": dict(zip(found.series.names, found.fit.sigma.tolist(), strict=True)) | {"kind": found.shooting.noise.kind},
        "forecast": _forecast(found),
        "scores": {what: {name: each._asdict() for name, each in rows.items()} for what, rows in found.scores.items()},
        "correlations": {
            name: dict(zip(found.coefficients, row, strict=True))
            for name, row in zip(found.coefficients, found.fit.correlation.tolist(), strict=True)
        },
        "refit": {
            "converged": found.fit.converged,
            "steps": found.fit.steps,
            "seconds": found.seconds,
            "windows": found.shooting.count,
            "joined": found.joined,
        },
        "solver": found.shooting.integrator.solver,
        "warnings": list(found.warnings),
    }


def labelled(found: Discovered) -> Labelled:
    """What `to_xarray` returns, as plain arrays."""
    variables: dict[str, Variable] = {
        "theta": (("parameter",), found.fit.theta, {"long_name": "fitted field and starting states"}),
        "covariance": (("parameter", "parameter_"), found.fit.covariance, {"long_name": "covariance of theta"}),
        "sigma": (("channel",), found.fit.sigma, {"long_name": f"standard deviation of the {found.shooting.noise.kind} noise"}),
        "anchors": (("window", "state"), np.asarray(found.shooting.anchors), {"long_name": "states from which theta counts starts"}),
    }
    coordinates: dict[str, Variable] = {"channel": (("channel",), list(found.series.names), {})}
    for number, times in enumerate(found.series.times):
        axis, future = f"t_{number}", f"t_ahead_{number}"
        band = found.bands[number]
        coordinates |= {axis: ((axis,), times, {}), future: ((future,), band.times, {})}
        variables[f"data_{number}"] = ((axis, "channel"), found.series.values[number], {"long_name": "measured"})
        variables[f"fit_{number}"] = ((axis, "channel"), found.predictions[number], {"long_name": "fitted, without noise"})
        for what in ("values", "lower", "upper"):
            variables[f"forecast_{what}_{number}"] = ((future, "channel"), getattr(band, what), {"long_name": f"forecast, {what}"})
    about = {"title": f"Dynamics of {found.name}", "equations": found.equations(), "level": LEVEL, "source": "sciml, multiple shooting"}
    stored = {
        "intervals": found.shooting.intervals or 0, "continuity": found.shooting.continuity, "steps": found.fit.steps,
        "converged": int(found.fit.converged), "degrees": found.fit.degrees, "seconds": found.seconds,
    }  # fmt: skip
    if (sparse := found.shooting.field.sparse_part) is not None:
        about_start = {"long_name": "coefficients that the fit started from, in units of which theta holds them"}
        variables["coefficients"] = (("term", "state"), np.asarray(sparse.matrix()), about_start)
        if sparse.shares:
            shares = np.zeros(sparse.active.shape)
            shares[np.nonzero(sparse.active)] = sparse.shares
            variables["inclusion"] = (
                ("term", "state"),
                shares,
                {"long_name": "share of simulated data sets that lead to the term"},
            )
        coordinates |= {"term": (("term",), list(sparse.library.names()), {}), "state": (("state",), list(found.states), {})}
        stored |= {"states": json.dumps(found.states)}
        if sparse.cross_validation is not None:
            stored |= {"cross_validation": sparse.cross_validation}
        if all(term.function is None for term in sparse.library.terms):  # a run's library never has functions of the user's
            stored |= {"library": library_text(sparse.library)}
    return Labelled(variables, coordinates, about | stored)


def stored_field(stored: xarray.Dataset, trained: VectorField | None) -> VectorField | None:
    """The sparse vector field of a run's `solution.nc`, beside the known physics of the one that was trained; None for no such field."""
    if "library" not in stored.attrs:
        return None
    states, channels = json.loads(stored.attrs["states"]), tuple(str(name) for name in stored["channel"].values)
    inclusion = stored["inclusion"].values if "inclusion" in stored else None
    unseen = float(stored.attrs["cross_validation"]) if "cross_validation" in stored.attrs else None
    sparse = SparseLibrary(library_from(stored.attrs["library"]), stored["coefficients"].values, tuple(states), channels, inclusion, unseen)
    return Universal(trained.known, sparse) if isinstance(trained, Universal) else sparse


def _forecast(found: Discovered) -> dict[str, Any]:
    """The bands, and how good they are on what was held out."""
    bands: dict[str, Any] = {"level": LEVEL, "trajectories": [_listed(band, found.series.names) for band in found.bands]}
    if found.held_out is None:
        return bands
    within, measured = ahead.inside(found.bands, found.held_out)
    valid, horizon = [], []
    for band, past, future, values in zip(found.bands, found.series.times, found.held_out.times, found.held_out.values, strict=True):
        valid.append(ahead.valid_time(float(past[-1]), future, band.values, values))
        horizon.append(float(future[-1] - past[-1]))
    return {
        "coverage": within / measured if measured else None,
        "valid_time": float(np.mean(valid)),
        "horizon": float(np.mean(horizon)),
        "valid_smape": ahead.VALID,
    } | bands


def _listed(band: Band, names: Sequence[str]) -> dict[str, Any]:
    """A forecast of one trajectory as lists."""
    parts = {"value": band.values, "lower": band.lower, "upper": band.upper}
    channels = {name: {part: array[:, column].tolist() for part, array in parts.items()} for column, name in enumerate(names)}
    return {"times": band.times.tolist(), "channels": channels}
