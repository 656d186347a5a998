"""From a config to an Experiment: device, compile cache, problem, warm start; what `run`, `resume` and `load` share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciml.errors import ConfigError, RunError
from sciml.runs import catalog, files
from sciml.runs.config import NAME as CONFIG
from sciml.runs.config import Config, DiscoveryConfig, ProblemConfig, load_config, on_table
from sciml.runs.environment import NAME as ENVIRONMENT
from sciml.runs.store import Store

if TYPE_CHECKING:
    from sciml.dynamics.discovery import Discovery
    from sciml.dynamics.problem import Dynamics
    from sciml.dynamics.series import TimeSeries
    from sciml.problem import Problem
    from sciml.solve import Experiment

SERIES = "series.csv"
"""A run's own copy of the table that it learns from."""
THETA = "theta"
"""Path of the trainable numbers, one flat vector, in a `best` checkpoint."""


def read_config(directory: Path, overrides: Sequence[str] = (), problems: Path | None = None) -> Config:
    """The config of a run directory. Raises `RunError` where there is none that can be used."""
    path = directory / CONFIG
    if not path.is_file():
        raise RunError(f"{directory} is not a run directory: it has no {CONFIG}; `sciml run` makes one")
    try:
        load_config(path, (), problems)
    except ConfigError as error:
        missing = "" if problems else " (a problem of your own is found with `--problems DIR`)"
        raise RunError(f"{directory} cannot be used: {error}; mend {path}{missing}, or begin another run with `sciml run`") from error
    config = load_config(path, overrides, problems)
    if isinstance(config, DiscoveryConfig) and config.series is not None and (directory / SERIES).is_file():
        return config.model_copy(update={"series": config.series.model_copy(update={"file": str(directory / SERIES)})})
    return config


def keep_series(directory: Path, config: Config) -> None:
    """Copy the table that a run learns from into its directory, where there is one and it is not there yet."""
    if isinstance(config, DiscoveryConfig) and config.series is not None and not (directory / SERIES).exists():
        files.write_bytes(directory / SERIES, Path(config.series.file).read_bytes())


def load_subject(config: Config, problems: Path | None) -> Problem | Dynamics | TimeSeries:
    """What a run is about: the problem that its config names, or the table that it reads."""
    if isinstance(config, DiscoveryConfig) and config.series is not None:
        from sciml.dynamics.series import TimeSeries

        return TimeSeries.from_csv(config.series.file, controls=config.series.controls, unit=config.series.unit)
    return catalog.load_problem(config.problem, config.parameters, problems)


def source_text(config: Config, problems: Path | None) -> str:
    """The text of a run's problem; nothing for a run on a table."""
    return "" if on_table(config) else catalog.problem_source(config.problem, problems)


def configure(config: Config) -> None:
    """Set precision, device and threads. Call it before any array exists."""
    from sciml import device

    execution = config.execution
    device.configure(config.precision, execution.device, execution.threads, execution.devices)


def build(config: Config, problem: Problem | Dynamics | TimeSeries, *, begun: bool = False) -> Experiment | Discovery:
    """The experiment that a config describes. Raises `ConfigError` for all that can be found before training.

    One that has `begun` goes on from its own parameters: the run that it was warm-started from may be gone.
    """
    if isinstance(config, DiscoveryConfig):
        return build_discovery(config, problem)
    return build_seeds(config, (config.seed,), problem, begun=begun)[0]


def build_seeds(config: Config, seeds: Sequence[int], problem: Problem | Dynamics | TimeSeries, *, begun: bool = False) -> list[Experiment]:
    """The experiments of several seeds, all else as the config says; they share what is compiled. Raises as `build` does."""
    from sciml.problem import Problem

    if not isinstance(config, ProblemConfig):
        raise ConfigError('kind = "discovery": only runs of kind = "pde" are trained together; resume these one by one')
    if not isinstance(problem, Problem):
        raise ConfigError(f'kind = "pde": \'{config.problem}\' is a vector field and its data; write kind = "discovery"')
    from sciml.solve import prepare_seeds

    target = config.stop.target_error
    experiments = prepare_seeds(
        problem,
        seeds,
        network=config.network,
        points=config.points,
        weights=config.weights,
        phases=config.phases,
        precision=config.precision,
        block=config.execution.block,
        warm_start=None if begun or config.warm_start is None else best_parameters(Path(config.warm_start)),
        time_slabs=config.time_slabs,
        compare=config.execution.report or target is not None,
    )
    if target is not None and experiments[0].error_reason:
        raise ConfigError(f"stop.target_error = {target:g} cannot be measured: {experiments[0].error_reason}; leave it out")
    return experiments


OPENINGS = {
    "sparse": "smoothing the data, and choosing terms by them",
    "given": "smoothing the data",
    "neural": "smoothing the data, and matching a network to their slopes",
    "universal": "smoothing the data, and matching a network to what is missing in the known slopes",
}
"""What is done before a vector field of each kind is trained."""


def opening(config: Config, problem: Any) -> str:
    """What takes seconds before a run can say anything of its training; nothing for equations on a domain."""
    from sciml.dynamics.series import TimeSeries

    if not isinstance(config, DiscoveryConfig):
        return ""
    kind = config.vector_field.kind if config.vector_field is not None else "sparse" if isinstance(problem, TimeSeries) else "given"
    return OPENINGS[kind]


def build_discovery(config: DiscoveryConfig, problem: Any, stored: Any = None) -> Discovery:
    """The discovery that a config describes; with what a complete run has `stored`, nothing is searched for again."""
    from sciml.dynamics.noise import NOISES
    from sciml.dynamics.preparing import prepare
    from sciml.dynamics.stored import stored_field
    from sciml.problem import Problem

    if isinstance(problem, Problem):
        raise ConfigError(f'kind = "discovery": \'{config.problem}\' is an equation on a domain; write kind = "pde"')
    if config.stop.target_error is not None:
        raise ConfigError("stop.target_error: the truth behind measured data is not known, so that there is no error; leave it out")
    chosen = config.vector_field is None or config.vector_field.kind == "sparse"
    found = stored_field(stored, None) if stored is not None and chosen else None
    return prepare(
        problem if found is None else getattr(problem, "measured", problem),
        vector_field=config.vector_field if found is None else found,
        noise=getattr(problem, "noise", None) if config.noise is None else NOISES[config.noise],
        hold_out=getattr(problem, "hold_out", None) if config.hold_out is None else config.hold_out,
        shooting=config.shooting,
        integrator=config.integrator,
        phases=config.phases,
        seed=config.seed,
        precision=config.precision,
        name=config.problem,
    )


def best_parameters(directory: Path) -> np.ndarray:
    """The trainable numbers of the best state of a run, one flat vector. Raises `RunError` where there are none."""
    if not directory.is_dir():
        raise RunError(f"{directory} does not exist; name the directory of a run")
    store = Store(directory)
    try:
        checkpoint = store.load_best()
    except RunError:
        checkpoint = store.load_latest()  # it holds the best state too
    if checkpoint is None:
        raise RunError(f"{directory} has no trained state yet; `sciml resume {directory}` trains it")
    return checkpoint.arrays[THETA]


def problem_folder(directory: Path) -> Path | None:
    """The folder that `--problems` named when the run in `directory` began, if it did and the folder is still there."""
    path = directory / ENVIRONMENT
    named = files.read_json(path).get("problems") if path.exists() else None
    folder = None if named is None else directory / named
    return folder if folder is not None and folder.is_dir() else None


def source_hash(config: Config, problems: Path | None) -> str:
    """The SHA-256 of the problem's text."""
    return hashlib.sha256(source_text(config, problems).encode()).hexdigest()


def has_changed(directory: Path, config: Config, problems: Path | None) -> bool:
    """Whether the problem's text differs from the one that the run in `directory` began with."""
    path = directory / ENVIRONMENT
    return path.exists() and files.read_json(path).get("problem_source") != source_hash(config, problems)


def data_hashes(problem: Problem | Dynamics | TimeSeries, config: Config) -> dict[str, str]:
    """A hash of each set of numbers from outside that a run depends on: measured data, and the parameters it starts from."""
    from sciml.data import Data
    from sciml.problem import Problem, conditions_of

    if not isinstance(problem, Problem):
        from sciml.dynamics.problem import Dynamics

        series = problem.measured if isinstance(problem, Dynamics) else problem
        rows = zip(series.times, series.values, series.controls, strict=True)
        return {"series": _hash({str(number): np.column_stack(parts) for number, parts in enumerate(rows)})}
    data = [condition for condition in conditions_of(problem) if isinstance(condition, Data)]
    hashes = {f"data_{number}": _hash(each.coordinates | each.values) for number, each in enumerate(data, 1)}
    if isinstance(config, ProblemConfig) and config.warm_start is not None:
        hashes["warm_start"] = _hash({THETA: best_parameters(Path(config.warm_start))})
    return hashes


def _hash(columns: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, column in sorted(columns.items()):
        array = np.ascontiguousarray(column, np.float64)
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()
