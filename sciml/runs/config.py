"""A run as one TOML file: what it solves, how, and on which machine. Imports no JAX, so that mistakes show at once."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError

from sciml.errors import ConfigError, suggest
from sciml.runs import catalog
from sciml.runs.mistakes import Sections, describe_mistakes, not_finite, printable, toml
from sciml.runs.overrides import apply_overrides
from sciml.settings import (
    LBFGS,
    Adam,
    Broyden,
    GivenField,
    Integrator,
    LineSearch,
    Network,
    NeuralField,
    Noise,
    Phase,
    Plateau,
    Points,
    Settings,
    Shooting,
    SparseField,
    UniversalField,
    VectorField,
)

NAME = "config.toml"
SCHEMA_VERSION = 1

Phases = Annotated[
    Annotated[Literal["auto"], Tag("name")] | Annotated[tuple[Phase, ...], Field(min_length=1), Tag("list")],
    Discriminator(lambda value: "name" if isinstance(value, str) else "list"),
]


class Stop(Settings):
    """When a run may end before its phases do."""

    target_error: float | None = Field(default=None, gt=0, examples=[1e-6])
    """Relative L2 error against the reference that is good enough."""


class Execution(Settings):
    """Where and how a run computes. Nothing here is part of the run's name."""

    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    threads: int | None = Field(default=None, ge=1, examples=[2])
    """CPU threads; without it, as many as there are cores."""
    devices: int | None = Field(default=None, ge=1, examples=[1])
    """CPU devices that share the points; without it, one. GPUs are shared by all that are visible (CUDA_VISIBLE_DEVICES)."""
    block: int | None = Field(default=None, ge=1, examples=[128])
    """Points whose derivatives are held at a time; without it, chosen for the device."""
    wall_limit: float | None = Field(default=None, gt=0, examples=[3600.0])
    """Seconds after which the run saves and stops."""
    step_limit: int | None = Field(default=None, ge=0, examples=[1000])
    """Optimiser steps at which the run saves and stops, rounded up to its next row of metrics; 0 takes a limit away again."""
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Shortest time between two checkpoints."""
    report: bool = True
    """Whether a classical solver is run for comparison, figures are drawn and report.html is written. `sciml resume RUN --set
    execution.report=true` does it later."""


class Config(Settings):
    """What every run is made of, whatever its kind. What is left out takes its default."""

    schema_version: Literal[1] = SCHEMA_VERSION
    problem: str = Field(pattern=catalog.NAME, examples=["fisher_kpp"])
    """Name of a file in `problems/`; of a run on a table, what it is called."""
    parameters: dict[str, float] = Field(default={}, examples=[{"D": 0.01}])
    """Coefficients of the problem that differ from its defaults."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["float64", "float32"] = "float64"
    phases: Phases = Field(default="auto", examples=[[{"kind": "adam"}, {"kind": "broyden"}]])
    stop: Stop = Field(default=Stop(), examples=[{"target_error": 1e-6}])
    log_every: int = Field(default=100, ge=1)
    """Steps between two rows of metrics."""
    execution: Execution = Field(default=Execution(), examples=[{"threads": 2}])


class ProblemConfig(Config):
    """A run that solves partial differential equations."""

    kind: Literal["pde"] = "pde"
    network: Network = Field(default=Network(), examples=[{"width": 20}])
    points: Points = Field(default=Points(), examples=[{"interior": 2048}])
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={}, examples=[{"equation": 100.0}])
    """Weights of the loss terms, by the names that `sciml check NAME` lists (`equation`, `initial_u`, `dirichlet_u_x-`), in place of the
    conditions' own. Conditions that are built into the network have no term."""
    time_slabs: int = Field(default=1, ge=1, examples=[10])
    """Windows of time that are trained one after the other, each from where the one before has ended."""
    warm_start: str | None = Field(default=None, min_length=1, examples=["runs/fisher_kpp-3f9a1c2e"])
    """Run directory whose best parameters are the starting point."""


class Series(Settings):
    """A table of measurements: a header, then one row per time; the first column is time."""

    file: str = Field(min_length=1, examples=["hare_lynx.csv"])
    controls: tuple[str, ...] = ()
    """Columns that are inputs, not states."""
    unit: Literal["ms", "s", "min", "h", "d", "y"] | None = Field(default=None, examples=["d"])
    """In what to count times that are dates, from the earliest on."""


class DiscoveryConfig(Config):
    """A run that finds the dynamics behind a time series: of a problem with a vector field, or of a table."""

    kind: Literal["discovery"] = "discovery"
    series: Series | None = Field(default=None, examples=[{"file": "hare_lynx.csv"}])
    """A table to learn from in the place of a problem; `problem` is then only the run's name."""
    hold_out: int | None = Field(default=None, ge=0, examples=[5])
    """Last points of each trajectory that are kept from the fit and forecast instead."""
    noise: Literal["gaussian", "lognormal", "counts"] | None = Field(default=None, examples=["lognormal"])
    """How measurements scatter: additively, by a factor, or as counts do; without it as the problem says, or as the data do."""
    vector_field: VectorField | None = Field(default=None, examples=[{"kind": "sparse"}])
    shooting: Shooting = Field(default=Shooting(), examples=[{"intervals": 5}])
    integrator: Integrator = Field(default=Integrator(), examples=[{"solver": "kvaerno5"}])


def on_table(config: Config) -> bool:
    """Whether a run learns from a table and has no problem: `problem` is only its name."""
    return isinstance(config, DiscoveryConfig) and config.series is not None


KINDS: dict[str, type[Config]] = {"pde": ProblemConfig, "discovery": DiscoveryConfig}

_PHASES = {
    "execution": Execution,
    "stop": Stop,
    "line_search": LineSearch,
    "adam": Adam,
    "lbfgs": LBFGS,
    "broyden": Broyden,
    "noise": Noise,
    "plateau": Plateau,
}
SECTIONS = {
    ProblemConfig: Sections(ProblemConfig, {"network": Network, "points": Points, **_PHASES}),
    DiscoveryConfig: Sections(
        DiscoveryConfig,
        {
            "series": Series,
            "shooting": Shooting,
            "integrator": Integrator,
            "given": GivenField,
            "sparse": SparseField,
            "neural": NeuralField,
            "universal": UniversalField,
            **_PHASES,
        },
    ),
}
"""Where each kind of config has its settings."""


def load_config(name: str | Path, overrides: Sequence[str] = (), problems: Path | None = None) -> Config:
    """The config in the file `name` (ending in .toml), or the shipped one of that name, or the default for the problem `name`.

    `overrides` are `key.path=value` texts; `problems` is a directory to look in first. Raises `ConfigError` with every mistake.
    """
    document, source = find_document(name, problems)
    return parse_config(document, source, overrides, problems)


def find_document(name: str | Path, problems: Path | None = None) -> tuple[dict[str, Any], str]:
    """The TOML document that `name` stands for, as `load_config` finds it, and what to call it in a message."""
    path = Path(name)
    if path.suffix == ".toml":
        return read_toml(path), str(path)
    if found := catalog.find_config(str(name), problems):
        return read_toml(found), found.name
    return {"problem": str(name)}, ""


def parse_config(data: Mapping[str, Any], source: str = "", overrides: Sequence[str] = (), problems: Path | None = None) -> Config:
    """The config that `data`, a parsed TOML document, describes. Raises `ConfigError` with every mistake in it."""
    if "base" in data and "problem" not in data:
        raise ConfigError('this is the file of a sweep; `sciml sweep FILE.toml` makes its runs, and a config has problem = "..."', source)
    document = _lists(data)
    mistakes = apply_overrides(document, overrides)
    _refuse_later_version(document, source)
    places: dict[tuple[str | int, ...], str] = {}
    config = None
    kind = _kind(document, source, problems)
    try:
        config = kind.model_validate(_tuples(document), strict=True)
    except ValidationError as error:
        places = describe_mistakes(error, document, SECTIONS[kind])
    places = dict(not_finite(document)) | places
    if ("problem",) not in places and "problem" in document and "series" not in document:
        mistakes += catalog.parameter_mistakes(document["problem"], document.get("parameters", {}), problems)
    mistakes += places.values()
    if mistakes or config is None:
        raise ConfigError([printable(mistake) for mistake in mistakes], source)
    return config


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a TOML file. Raises `ConfigError` that shows the line where the file is not TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{reason}; `sciml list` shows the configs that exist", str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start}); a config is a TOML text file", str(path)) from error
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(_syntax_mistake(str(error), text), str(path)) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply; a config has tables and lists at most three deep", str(path)) from error


def dump_config(config: Config) -> str:
    """The config as TOML, every default spelled out; reading it gives an equal config."""
    return tomli_w.dumps(_without_none(config.model_dump(mode="python")))


def run_name(config: Config, problem_source: str, data_hashes: Mapping[str, str]) -> str:
    """The directory name of a run, `fisher_kpp-3f9a1c2e`: the problem and a hash of all that defines the result.

    `problem_source` is the text of the problem's file, `data_hashes` the content hash of each file that it reads.
    `[execution]` and `[stop]` are outside the hash.
    """
    left_out = {"schema_version": True, "execution": True, "stop": True, "series": {"file"}}
    settings = config.model_dump(mode="json", exclude=left_out)
    identity = {"config": settings, "source": problem_source, "data": dict(data_hashes)}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
    return f"{config.problem}-{digest[:8]}"


def json_schema() -> dict[str, Any]:
    """JSON Schema of a config of any kind, for editors that complete TOML."""
    schema = TypeAdapter(ProblemConfig | DiscoveryConfig).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _kind(document: Mapping[str, Any], source: str, problems: Path | None) -> type[Config]:
    """The class of configs that a document belongs to; where it does not say, what its problem is."""
    named = document.get("kind")
    if named is None:
        named = "discovery" if "series" in document or catalog.is_dynamics(document.get("problem"), problems) else "pde"
    if isinstance(named, str) and named in KINDS:
        return KINDS[named]
    raise ConfigError(printable(f"kind = {toml(named)} does not exist; {suggest(str(named), list(KINDS))}"), source)


def _refuse_later_version(document: Mapping[str, Any], source: str) -> None:
    version = document.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ConfigError(
            f"schema_version = {version} was written by a later sciml (this one reads up to {SCHEMA_VERSION}); "
            "type: pip install --upgrade sciml-jax",
            source,
        )


def _syntax_mistake(message: str, text: str) -> str:
    found = re.search(r"at line (\d+)", message)
    lines = text.splitlines()
    number = int(found.group(1)) if found else len(lines)
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return f"not TOML at line {number} (`{printable(line[:80])}`): {message}; write key = value, with text in quotes, each key once"


def _lists(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _lists(value) for key, value in data.items()}
    return [_lists(value) for value in data] if isinstance(data, list | tuple) else data


def _tuples(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(_tuples(value) for value in data) if isinstance(data, list) else data


def _without_none(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_none(value) for key, value in data.items() if value is not None}
    return [_without_none(value) for value in data] if isinstance(data, list | tuple) else data
