"""A run directory as the Solution that it holds, without training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sciml.runs import build, catalog
from sciml.runs.metrics import NAME as METRICS
from sciml.runs.metrics import read_rows
from sciml.runs.result import read_result

if TYPE_CHECKING:
    from sciml.solution import Solution


def load(directory: str | Path, problems: str | Path | None = None) -> Solution:
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
    if build.has_changed(directory, config.problem, place):
        warnings.warn(f"the problem '{config.problem}' has changed since {directory} was trained", stacklevel=2)
    problem = catalog.load_problem(config.problem, config.parameters, place)
    experiment = build.build(config, problem, begun=True)

    import jax.numpy as jnp

    return experiment.solution(jnp.asarray(theta), read_rows(directory / METRICS), read_result(directory) or {})
