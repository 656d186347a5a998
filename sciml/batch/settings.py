"""A sweep as one TOML file: a base config, what varies, and how the runs are executed. Every mistake shows before a run starts."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from sciml.batch.axes import Axis, flatten, product, read_axes
from sciml.batch.space import Halving, Search, ends
from sciml.errors import ConfigError
from sciml.runs.config import Config, find_document, parse_config, read_toml, run_name
from sciml.runs.mistakes import Sections, describe_mistakes, printable
from sciml.runs.overrides import apply_overrides, set_value
from sciml.settings import Settings

SCHEMA_VERSION = 1

LARGEST = 100_000
"""Runs of one sweep."""


OURS = frozenset(
    {"array", "cpus-per-task", "error", "gpus-per-node", "job-name", "mem", "open-mode", "output", "partition", "requeue", "signal", "time"}
)
"""What sciml itself says to `sbatch`."""


def _sbatch_value(value: str) -> str:
    """A line of a batch script takes one line of text: what came after it would be carried out."""
    if not value.isprintable():
        raise ValueError("one line of printable characters is allowed")
    return value


def _sbatch_option(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z-]*", name):
        raise ValueError("an option of sbatch is spelled as after its two dashes")
    if name in OURS:
        raise ValueError("sciml sets this one itself")
    return name


SbatchText = Annotated[str, AfterValidator(_sbatch_value)]
SbatchOption = Annotated[str, AfterValidator(_sbatch_option)]


class Slurm(Settings):
    """What each run asks of Slurm."""

    partition: SbatchText | None = Field(default=None, examples=["short"])
    """Where to run; without it, the cluster's default."""
    time: int = Field(default=60, ge=2)
    """Minutes of one job. A run that needs longer saves, is requeued and goes on."""
    memory: SbatchText | None = Field(default=None, examples=["4G"])
    """Memory of one run; without it, the cluster's default."""
    cores: int = Field(default=1, ge=1)
    """CPU cores of one run."""
    gpus: int = Field(default=0, ge=0)
    """GPUs of one run."""
    array: int = Field(default=100, ge=1)
    """Tasks of a job array that run at a time."""
    queue: int = Field(default=1000, ge=1)
    """Tasks of the sweep that wait or run at a time, and the largest array. Slurm allows 1,000 unless it is told otherwise."""
    options: dict[SbatchOption, SbatchText] = Field(default={}, examples=[{"account": "physics"}])
    """Other options of `sbatch` by name; the empty text for one that takes no value."""


class Engine(Settings):
    """How runs are executed. Nothing here changes what they compute, but for `threads` the last digits."""

    dask: str | None = Field(default=None, min_length=1, examples=["local"])
    """Execute on Dask: "local" for workers of this machine, or a scheduler's address; without it, processes of this machine."""
    slurm: Slurm = Field(default=Slurm(), examples=[{"time": 60}])
    """What `--slurm` asks for each run."""
    workers: int | None = Field(default=None, ge=1, le=4096, examples=[2])
    """Runs at a time; without it, as many as the cores allow."""
    ensemble: int = Field(default=1, ge=1, le=1024, examples=[16])
    """Runs that differ in their seed alone and are trained together by one process; equal to single ones but for rounding."""
    threads: int | None = Field(default=None, ge=1, examples=[1])
    """CPU threads of each run; without it, the cores are shared out among the workers."""
    devices: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9:/_-]{1,64}$")], ...] = Field(default=(), examples=[["0", "1"]])
    """CUDA devices to share out, as `CUDA_VISIBLE_DEVICES` names them; without it, all that JAX can use here."""
    retries: int = Field(default=2, ge=0, le=1000)
    """How often a run that died is tried again; it goes on from its last checkpoint. One that diverged is not."""
    time_limit: float | None = Field(default=None, gt=0, examples=[3600.0])
    """Seconds after which an attempt is told to save and end, and is killed if it does not; it goes on in the next one."""
    stall: float = Field(default=3600.0, gt=0)
    """Seconds without a new line of metrics, line in the log or checkpoint after which a run is taken to hang."""
    grace: float = Field(default=30.0, gt=0)
    """Seconds that a run has for saving when it is told to end."""


class Sweep(Settings):
    """Everything that a sweep is made of."""

    schema_version: Literal[1] = SCHEMA_VERSION
    kind: Literal["sweep"] = "sweep"
    base: str = Field(min_length=1, examples=["fisher_kpp"])
    """A problem, a config, or a config file beside this one."""
    set: dict[str, Any] = Field(default={}, examples=[{"log_every": 50}])
    """What all runs have different from the base."""
    axes: dict[str, Any] = Field(default={}, examples=[{"parameters.D": [0.01, 0.02]}])
    """The values of each key; all their combinations are run."""
    zip: tuple[dict[str, Any], ...] = Field(default=(), examples=[[{"network.width": [10, 20], "network.depth": [2, 3]}]])
    """Keys that move together, each group an axis of its own."""
    seeds: int | None = Field(default=None, ge=1, le=LARGEST, examples=[3])
    """The seeds 0, 1, ... of each combination."""
    search: Search | None = Field(default=None, examples=[{"objective": "error", "trials": 24}])
    """Values that are proposed from the results of others, instead of being listed; each trial is run for all `axes` and `seeds`."""
    engine: Engine = Field(default=Engine(), examples=[{"workers": 2}])


SECTIONS = Sections(Sweep, {"engine": Engine, "slurm": Slurm, "search": Search, "halving": Halving})


class Planning(Settings):
    """A sweep that has been read and found right: its file's text, its base with all defaults spelled out, its axes, its search."""

    text: str
    base: dict[str, Any]
    axes: tuple[Axis, ...]
    search: Search | None = None

    @property
    def engine(self) -> Engine:
        """How the runs are to be executed, as the file says."""
        return parse_sweep(tomllib.loads(self.text)).engine

    def configs(self, trials: Sequence[Mapping[str, Any]] = ({},), problems: Path | None = None) -> list[tuple[dict[str, Any], Config]]:
        """The values and the config of each run, in order: all combinations of the axes, for each of the `trials` of a search.

        Raises `ConfigError` with every mistake.
        """
        found, mistakes = [], {}
        for values in ({**trial, **rest} for trial in trials for rest in product(self.axes)):
            try:
                found.append((values, vary(self.base, values, problems)))
            except ConfigError as error:
                mistakes |= dict.fromkeys(error.mistakes)
        if mistakes:
            raise ConfigError(list(mistakes))
        return found


def read_sweep(path: Path, overrides: Sequence[str] = (), problems: Path | None = None) -> Planning:
    """The sweep in a TOML file; `overrides` are `key.path=value` texts on the base. Raises `ConfigError` with every mistake."""
    document = read_toml(path)
    sweep = parse_sweep(document, str(path))
    axes, mistakes = read_axes(sweep.axes, sweep.zip, sweep.seeds)
    base, wrong = _read_base(sweep, path.parent, overrides, problems)
    mistakes += wrong
    mistakes += _wrong_search(sweep.search, axes, base.get("execution", {}))
    searched = list(ends(sweep.search.ranges())) if sweep.search and not mistakes else []
    runs = math.prod(len(axis.rows) for axis in axes) * (sweep.search.trials if sweep.search else 1)
    if not axes and sweep.search is None and not mistakes:
        mistakes.append(
            'it has no axis, and so there is nothing to sweep over; write [axes] with "parameters.D" = [0.01, 0.02], or seeds = 3'
        )
    if runs > LARGEST:
        mistakes.append(f"{runs:,} runs are more than {LARGEST:,}; leave out some values")
    elif not wrong:
        mistakes += _wrong_values(base, [*axes, *searched], problems) or _without_effect(base, searched, problems)
    if mistakes:
        raise ConfigError([printable(mistake) for mistake in dict.fromkeys(mistakes)], str(path))
    return Planning(text=path.read_text(encoding="utf-8"), base=base, axes=tuple(axes), search=sweep.search)


def parse_sweep(document: Mapping[str, Any], source: str = "") -> Sweep:
    """The settings that a parsed TOML document describes. Raises `ConfigError` with every mistake in it."""
    if document.get("kind", "sweep") != "sweep" or ("problem" in document and "base" not in document):
        raise ConfigError(f'this is the config of one run; `sciml run {source}` runs it, and a sweep has base = "..." and [axes]', source)
    tuples = {key: tuple(value) if key == "zip" and isinstance(value, list) else value for key, value in document.items()}
    if isinstance(engine := tuples.get("engine"), dict) and isinstance(engine.get("devices"), list):
        tuples["engine"] = engine | {"devices": tuple(engine["devices"])}
    try:
        return Sweep.model_validate(tuples, strict=True)
    except ValidationError as error:
        raise ConfigError([printable(text) for text in describe_mistakes(error, document, SECTIONS).values()], source) from error


def vary(base: Mapping[str, Any], values: Mapping[str, Any], problems: Path | None = None) -> Config:
    """The config `base` (a document) with `values` by dotted key. Raises `ConfigError` with every mistake."""
    document = _copied(base)
    mistakes = [wrong for key, value in values.items() if (wrong := set_value(document, key, value, f"axis '{key}'"))]
    if mistakes:
        raise ConfigError(mistakes)
    return parse_config(document, problems=problems)


def _read_base(sweep: Sweep, folder: Path, overrides: Sequence[str], problems: Path | None) -> tuple[dict[str, Any], list[str]]:
    """The base as a document with all defaults spelled out, and what is wrong with it."""
    try:
        beside = folder / sweep.base
        name = beside if sweep.base.endswith(".toml") and not Path(sweep.base).is_absolute() else sweep.base
        document, _ = find_document(name, problems)
    except ConfigError as error:
        return {}, [f"base: {error}"]
    document = _copied(document)
    mistakes = [wrong for key, value in flatten(sweep.set) if (wrong := set_value(document, key, _copied(value), f"set.{key}"))]
    mistakes += apply_overrides(document, overrides)
    try:
        return parse_config(document, problems=problems).model_dump(mode="json", exclude_none=True), mistakes
    except ConfigError as error:
        return {}, mistakes + error.mistakes


def _wrong_values(base: Mapping[str, Any], axes: Sequence[Axis], problems: Path | None) -> list[str]:
    """What is wrong with each value of each axis, the others left as they are in the base."""
    mistakes = []
    for axis in axes:
        for row in axis.rows:
            try:
                vary(base, dict(zip(axis.keys, row, strict=True)), problems)
            except ConfigError as error:
                advice = _coefficient_meant(base, axis, problems)
                mistakes += [
                    text if text.startswith("axis ") else f"axis '{', '.join(axis.keys)}': {advice or text}" for text in error.mistakes
                ]
    return mistakes


def _coefficient_meant(base: Mapping[str, Any], axis: Axis, problems: Path | None) -> str:
    """What to type where the key of an axis is a coefficient of the problem; empty where it is none."""
    key, value = axis.keys[0], axis.rows[0][0]
    if len(axis.keys) > 1 or "." in key or key in base:
        return ""
    try:
        vary(base, {f"parameters.{key}": value}, problems)
    except ConfigError:
        return ""
    return f"unknown key '{key}'; did you mean 'parameters.{key}'?"


def _wrong_search(search: Search | None, axes: Sequence[Axis], execution: Mapping[str, Any]) -> list[str]:
    """What is wrong with a search, and with it beside the axes and `[execution]` of the base."""
    if search is None:
        return []
    limits = [
        f"execution.{name} would end the trials of a search before their objective counts; leave it out ({instead})"
        for name, instead in (("wall_limit", "[engine] has a time_limit"), ("step_limit", "[search.halving] limits steps"))
        if execution.get(name)
    ]
    fixed = {key for axis in axes for key in axis.keys}
    both = [f"'{key}' is both searched for and an axis; keep one of them" for key in search.ranges() if key in fixed]
    return search.mistakes() + both + limits


def _without_effect(base: Mapping[str, Any], searched: Sequence[Axis], problems: Path | None) -> list[str]:
    """Keys of a search of which all values give the same run."""
    mistakes = []
    for axis in searched:
        configs = [vary(base, {axis.keys[0]: row[0]}, problems) for row in axis.rows]
        if len({run_name(config, "", {}) for config in configs}) < len(configs):
            mistakes.append(f"search.space.{axis.keys[0]} changes nothing that defines a result; take it out")
    return mistakes


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(part) for key, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list | tuple) else value
