"""A run directory as the Solution that it holds, without training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sciml.errors import RunError
from sciml.runs import build, files
from sciml.runs.config import DiscoveryConfig
from sciml.runs.metrics import NAME as METRICS
from sciml.runs.metrics import read_rows
from sciml.runs.result import read_result

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered
    from sciml.reference import Reference
    from sciml.solution import Solution
    from sciml.solve import Experiment

SOLUTION = "solution.nc"


def load(directory: str | Path, problems: str | Path | None = None) -> Solution | Discovered:
    """The best state of a run, complete or not, as a Solution with its history and result.

    `problems` is a folder to look in first for the problem's file. Sets the precision of the run's config, and so must come
    before other JAX code that needs another one. Raises `RunError` for a directory that cannot be read.
    """
    directory, place = Path(directory), None if problems is None else Path(problems)
    place = place or build.problem_folder(directory)
    config = build.read_config(directory, problems=place)
    from sciml import device

    device.configure(config.precision)
    theta = build.best_parameters(directory)
    if build.has_changed(directory, config, place):
        warnings.warn(f"the problem '{config.problem}' has changed since {directory} was trained", stacklevel=2)
    subject, result = build.load_subject(config, place), read_result(directory) or {}

    import jax.numpy as jnp

    if isinstance(config, DiscoveryConfig):
        stored = files.read_dataset(directory / SOLUTION) if (directory / SOLUTION).exists() else None
        experiment = build.build_discovery(config, subject, stored)
        if stored is not None:
            experiment.restore(jnp.asarray(theta), stored, result)
    else:
        experiment = cast("Experiment", build.build(config, subject, begun=True))
        if theta.shape[-1] != experiment.parameters:
            raise RunError(
                f"{directory} holds {theta.shape[-1]} trainable numbers, but its config now makes a model of {experiment.parameters}: "
                "the problem has changed, or another version of sciml trained it; run it anew"
            )
        if result.get("error") and (directory / SOLUTION).exists():
            experiment.recall(lambda: stored_reference(directory / SOLUTION, result["error"]["reference"]))
    return experiment.solution(jnp.asarray(theta), read_rows(directory / METRICS), result)


def stored_reference(path: Path, about: Mapping[str, Any]) -> Reference:
    """What a run was compared with, from its `solution.nc` and its `result.json`: nothing is solved again."""
    from sciml.reference import Reference

    stored = files.read_dataset(path)
    suffix = "_reference"
    fields = {str(name).removesuffix(suffix): stored[name].values for name in stored.data_vars if str(name).endswith(suffix)}
    axes = stored[next(iter(fields)) + suffix].dims
    coordinates = {str(axis): stored[axis].values for axis in axes}
    return Reference(about["kind"], coordinates, fields, about["estimated_error"], about["seconds"])
