"""plan.jsonl: every run of a sweep, on the disk before the first one starts; after a restart it is read, never decided again."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sciml
from sciml.batch.axes import Axis
from sciml.batch.identity import name_runs
from sciml.batch.propose import propose
from sciml.batch.settings import Planning
from sciml.batch.space import Search
from sciml.errors import ConfigError, RunError, suggest
from sciml.runs import catalog, files
from sciml.runs.config import Config, on_table
from sciml.runs.jsonl import JsonLines, append_row, read_rows

NAME, SWEEP, RUNS, TABLES = "plan.jsonl", "sweep.toml", "runs", "tables"
SCHEMA_VERSION = 1
HEADER = ("runs", "problems", "sources", "base", "axes")
"""What the first line of a plan must say."""


class PlannedRun(NamedTuple):
    """A run of a sweep: its place in the plan, the name of its directory, the values of the axes, and its config."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    name: str
    values: dict[str, Any]
    config: dict[str, Any]
    trial: int | None = None
    """The trial of a search that it belongs to."""
    rung: int = 0
    step_limit: int | None = None
    """The steps of its rung in a search with halving; 0 where it is trained to its end."""


class Plan(NamedTuple):
    """What stands in the plan of the sweep in `directory`."""

    directory: Path
    header: dict[str, Any]
    runs: tuple[PlannedRun, ...]
    search: Search | None = None
    """What is searched for; None where all runs were known from the start."""
    keys: tuple[str, ...] = ()
    """The keys that are searched for."""
    rounds: int = 0
    """Rounds that a search has proposed."""

    @property
    def problems(self) -> Path | None:
        """The folder that `--problems` named."""
        named = self.header["problems"]
        return None if named is None else self.directory / named

    def run_directory(self, run: PlannedRun) -> Path:
        """Where a run lives."""
        return self.directory / RUNS / run.name

    def run_config(self, run: PlannedRun) -> dict[str, Any]:
        """What a run is to be started with: its table is where the sweep is now."""
        series = run.config.get("series")
        if series is None:
            return run.config
        return run.config | {"series": series | {"file": str((self.directory / series["file"]).resolve())}}

    def changed_problems(self) -> list[str]:
        """The problems whose text is no longer that of the plan."""
        return [name for name, source in self.header["sources"].items() if catalog.source_hash(name, self.problems) != source]


def is_sweep(directory: Path) -> bool:
    """Whether a directory is that of a sweep."""
    return (directory / SWEEP).is_file() or (directory / NAME).is_file()


def make_plan(directory: Path, planning: Planning, problems: Path | None) -> Plan:
    """Plan a sweep in its locked directory, or go on with the plan that stands there.

    Raises `ConfigError` for what cannot be run and for a directory with another plan; then nothing in it is touched.
    """
    before = _read(directory)
    if before is not None:
        problems = problems or before.problems
        _refuse_another(before.header, planning, directory)
        if len(before.runs) >= before.header["runs"]:
            files.write_text(directory / SWEEP, planning.text)
            return before
    configs = planning.configs([{}] if planning.search is None else propose(planning, [], 0, problems), problems)
    names = _names(configs, planning.search, problems)
    header = {
        "schema_version": SCHEMA_VERSION,
        "sciml": sciml.__version__,
        "runs": len(configs),
        "problems": None if problems is None else os.path.relpath(problems.resolve(), directory.resolve()),
        "sources": {
            name: catalog.source_hash(name, problems) for name in sorted({each.problem for _, each in configs if not on_table(each)})
        },
    } | _identity(planning)
    files.write_text(directory / SWEEP, planning.text)
    rows = _rows(names, _with_own_tables(configs, directory), 0)
    _write(directory / NAME, [header, *rows] if planning.search is None else [header, _round(planning.search, 0, rows)])
    (directory / RUNS).mkdir(exist_ok=True)
    files.sync_folder(directory)
    return read_plan(directory)


def add_round(plan: Plan, trials: Sequence[Mapping[str, Any]]) -> Plan:
    """Further trials of a search: one line, on the disk when this returns. Raises `ConfigError` for what cannot be run."""
    search, planning = plan.search, read_planning(plan.directory)
    assert search is not None
    configs = planning.configs(trials, plan.problems)
    rows = _rows(_names(configs, search, plan.problems), _with_own_tables(configs, plan.directory), len(plan.runs))
    append_row(plan.directory / NAME, _round(search, plan.rounds, rows))
    return read_plan(plan.directory)


def add_rung(plan: Plan, rung: int, step_limit: int, runs: Sequence[int]) -> Plan:
    """Runs that go on to the next rung of a search, by index: one line, on the disk when this returns."""
    append_row(plan.directory / NAME, {"rung": rung, "step_limit": step_limit, "runs": list(runs)})
    return read_plan(plan.directory)


def read_plan(directory: Path) -> Plan:
    """The plan that stands in a sweep's directory. Raises `RunError` where there is none, or not the whole of one."""
    plan = _read(directory)
    if plan is None:
        raise RunError(f"{directory} is not a sweep: it has no {NAME}; `sciml sweep FILE.toml` makes one")
    if len(plan.runs) < plan.header["runs"]:
        raise RunError(
            f"{directory / NAME} has {len(plan.runs)} of its {plan.header['runs']} runs; `sciml sweep {directory}` writes it again"
        )
    return plan


def read_planning(directory: Path) -> Planning:
    """What a sweep's directory was planned from."""
    plan = _read(directory)
    if plan is None:
        raise RunError(f"{directory} is not a sweep: it has no {NAME}; `sciml sweep FILE.toml` makes one")
    axes = tuple(Axis(tuple(axis["keys"]), tuple(tuple(row) for row in axis["rows"])) for axis in plan.header["axes"])
    text = (directory / SWEEP).read_text(encoding="utf-8")
    return Planning(text=text, base=plan.header["base"], axes=axes, search=plan.search)


def read_search(directory: Path) -> Search | None:
    """What the sweep in a directory searches for; None where it does not search, or where the directory is none of a sweep."""
    plan = _read(directory)
    return None if plan is None else plan.search


def _read(directory: Path) -> Plan | None:
    path = directory / NAME
    cure = f"restore it from a copy, or delete {path} and type `sciml sweep` with the sweep's file: what is complete is found again"
    rows = read_rows(path, cure)
    if not rows:
        return None
    header, *rest = rows
    version = header.get("schema_version", 0)
    if version > SCHEMA_VERSION:
        raise RunError(f"{path} was written by a later version of sciml; `pip install --upgrade sciml-jax` reads it")
    if any(key not in header for key in HEADER):
        raise RunError(f"{path} cannot be read: its first line, which says what was planned, is missing or damaged; {cure}")
    try:
        search = None if header.get("search") is None else Search.model_validate(header["search"])
        if search is None:
            return Plan(directory, header, tuple(_planned(row, path) for row in rest))
        return Plan(directory, header, _searched(header, rest, path), search, tuple(search.ranges()), sum("round" in row for row in rest))
    except KeyError as error:
        raise RunError(f"{path} cannot be read: a line has no {error}; {cure}") from error


def _planned(row: Mapping[str, Any], path: Path) -> PlannedRun:
    return PlannedRun(row["index"], _checked(row["name"], path), row["values"], row["config"])


def _searched(header: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], path: Path) -> tuple[PlannedRun, ...]:
    """The runs of a search as its lines, rounds of new ones and rungs that old ones go on to, have left them."""
    runs: list[PlannedRun] = []
    each = math.prod(len(axis["rows"]) for axis in header["axes"])
    for line in lines:
        if "round" in line:
            planned = [_planned(row, path) for row in line["runs"]]
            runs += [run._replace(trial=run.index // each, step_limit=line["step_limit"]) for run in planned]
        else:
            for index in line["runs"]:
                runs[index] = runs[index]._replace(rung=line["rung"], step_limit=line["step_limit"])
    return tuple(runs)


def _names(configs: Sequence[tuple[dict[str, Any], Config]], search: Search | None, problems: Path | None) -> list[str]:
    only = [config for _, config in configs]
    names = name_runs(only, problems) if search is None else name_runs(only, problems, search.key)
    _refuse_twins(names, configs)
    return names


def _rows(names: Sequence[str], configs: Sequence[tuple[dict[str, Any], Config]], first: int) -> list[dict[str, Any]]:
    return [
        {"index": index, "name": name, "values": values, "config": config.model_dump(mode="json", exclude_none=True)}
        for index, (name, (values, config)) in enumerate(zip(names, configs, strict=True), first)
    ]


def _with_own_tables(configs: Sequence[tuple[dict[str, Any], Config]], directory: Path) -> list[tuple[dict[str, Any], Config]]:
    """The configs with copies of their tables, kept in the sweep's directory: what happens to the originals changes no run."""
    return [(values, _with_own_table(config, directory) if on_table(config) else config) for values, config in configs]


def _with_own_table(config: Any, directory: Path) -> Config:
    content = Path(config.series.file).read_bytes()
    copy = directory / TABLES / f"{hashlib.sha256(content).hexdigest()[:16]}.csv"
    if not copy.exists():
        copy.parent.mkdir(exist_ok=True)
        files.write_bytes(copy, content)
    return config.model_copy(update={"series": config.series.model_copy(update={"file": str(copy.relative_to(directory))})})


def _round(search: Search, number: int, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The line of one round: all of its trials, or, where a crash tears it, none."""
    limit = None if search.halving is None else search.halving.step_limit(0, search.trials)
    return {"round": number, "step_limit": limit, "runs": rows}


def _checked(name: str, path: Path) -> str:
    """A run's name is one folder's name: a plan cannot point outside its sweep."""
    problem, dash, digest = name.rpartition("-")
    if not (dash and digest.isalnum() and problem.replace("_", "").isalnum()):
        raise RunError(f"{path}: {name!r} is not the name of a run; restore the file from a copy, or begin another sweep")
    return name


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All at once, and on the disk when it returns."""
    with files.replacing(path, crash_point="plan:before-rename") as temporary:
        temporary.unlink(missing_ok=True)
        lines = JsonLines(temporary)
        try:
            for row in rows:
                lines.append(row)
        finally:
            lines.close()


def _identity(planning: Planning) -> dict[str, Any]:
    axes = [{"keys": list(axis.keys), "rows": [list(row) for row in axis.rows]} for axis in planning.axes]
    searched = {} if planning.search is None else {"search": planning.search.model_dump(mode="json", exclude_none=True)}
    return {"base": planning.base, "axes": axes} | searched


def _refuse_another(header: Mapping[str, Any], planning: Planning, directory: Path) -> None:
    asked = _identity(planning)
    changed = [what for what in ("base", "axes", "search") if header.get(what) != asked.get(what)]
    if changed:
        raise ConfigError(
            f"{directory} holds another plan ({header['runs']} runs; different: {', '.join(changed)}; base includes [set] and --set); "
            "it stays as it is: choose another folder with --out, or give the sweep's file another name"
        )


def _refuse_twins(names: Sequence[str], configs: Sequence[tuple[dict[str, Any], Config]]) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            raise ConfigError(
                f"the runs {first[name]} and {index} are the same run ({configs[first[name]][0]} and {configs[index][0]}): "
                "an axis of [execution] or [stop] changes nothing that defines a result; take it out of [axes]"
            )
        first[name] = index


def find_sweep(name: str, problems: Path | None = None) -> Path:
    """The file of a sweep: a path ending in .toml, or the name of a shipped one. Raises `ConfigError` that names the closest."""
    path = Path(name)
    if path.suffix == ".toml" and path.is_file():
        return path
    if path.is_file():
        raise ConfigError(f"{path} is not a sweep's file: its name does not end in .toml; rename it, or give another")
    known = {entry.name: entry.path for entry in catalog.list_sweeps(problems)}
    if name not in known:
        raise ConfigError(f"there is no sweep '{name}', and no such directory or file; {suggest(name, sorted(known))}")
    return known[name]
