"""Runs a config in its own directory: trains, saves, survives, measures, reports. The only place that ties these together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sciml.errors import ConfigError, RunError
from sciml.runs import build, files
from sciml.runs.compile_cache import use_compile_cache
from sciml.runs.config import Config, dump_config, run_name
from sciml.runs.interrupt import Interrupted, watched
from sciml.runs.listener import Listener
from sciml.runs.lock import NAME as LOCK
from sciml.runs.lock import exclusive
from sciml.runs.result import NAME as RESULT
from sciml.runs.result import TARGET_ERROR, Result, is_complete, read_result
from sciml.runs.session import Session
from sciml.runs.stopwatch import CompileTime, Stopwatch
from sciml.runs.store import Store
from sciml.runs.together import train_together


def run(config: Config, out: str | Path, *, listener: Listener | None = None, problems: Path | None = None) -> Result:
    """Train what `config` says in a directory below `out`, named by what defines the result.

    A complete directory is only reported (`Result.reused`); an incomplete one is resumed, with the `[execution]` and `[stop]`
    of `config`. Raises `ConfigError` and `ProblemError` for what cannot be trained, `RunError` for a directory that cannot be
    used, and `Interrupted` after a signal, once all is saved. Sets JAX's precision and device for the whole process.
    """
    started, listener = time.perf_counter(), listener or Listener()
    _prepare_machine(config, listener)
    problem = build.load_subject(config, problems)
    source = build.source_text(config, problems)
    directory = Path(out) / run_name(config, source, build.data_hashes(problem, config))
    with files.disk_errors(directory), _gone_if_refused(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with exclusive(directory):
            result = _readable_result(directory)
            if is_complete(result) and _as_far(result, config):
                return _reused(directory, result, listener)
            if (directory / build.CONFIG).exists():
                stored = build.read_config(directory, problems=problems)
                config = stored.model_copy(update={"execution": config.execution, "stop": config.stop})
            return _train(directory, config, problem, problems, started, listener)


def resume(directory: str | Path, *, listener: Listener | None = None, more: Sequence[str] = (), problems: Path | None = None) -> Result:
    """Go on with a run; the config in its directory rules.

    `more` are `key=value` texts that give a run, even a complete one, more to do: longer or additional phases
    (`phases.1.steps=20000`), another `[stop]` or `[execution]`. Raises as `run` does.
    """
    started, directory, listener = time.perf_counter(), Path(directory), listener or Listener()
    problems = problems or build.problem_folder(directory)
    before = build.read_config(directory, problems=problems)
    config = build.read_config(directory, more, problems)
    _refuse_another_run(before, config, directory)
    if not is_complete(_readable_result(directory)) or config != before:
        _prepare_machine(config, listener)
    with files.disk_errors(directory), exclusive(directory):
        result = _readable_result(directory)
        if is_complete(result) and config == before:
            return _reused(directory, result, listener)
        _refuse_changed(directory, config, problems)
        problem = build.load_subject(config, problems)
        return _train(directory, config, problem, problems, started, listener)


def resume_together(
    directories: Sequence[str | Path], *, listener: Listener | None = None, more: Sequence[str] = (), problems: Path | None = None
) -> list[Result]:
    """Go on with runs that differ in their seed alone, in one process: first-order phases are one computation.

    Each directory is that of an ordinary run, and ends as if it had been resumed by itself but for rounding. Complete ones are
    only reported; `more` is as for `resume`. Raises as `resume` does, and `ConfigError` for runs that differ in anything else, before
    anything starts.
    """
    started, listener = time.perf_counter(), listener or Listener()
    folders = [Path(directory) for directory in directories]
    problems = problems or build.problem_folder(folders[0])
    before = {folder: build.read_config(folder, problems=problems) for folder in folders}
    configs = {folder: build.read_config(folder, more, problems) for folder in folders}
    for folder, config in configs.items():
        _refuse_another_run(before[folder], config, folder)
    _refuse_strangers(configs)
    _prepare_machine(configs[folders[0]], listener)
    with ExitStack() as held:
        for folder in folders:
            held.enter_context(files.disk_errors(folder))
            held.enter_context(exclusive(folder))
        complete = {
            folder: result for folder in folders if is_complete(result := _readable_result(folder)) and configs[folder] == before[folder]
        }
        results = {folder: _reused(folder, result, listener) for folder, result in complete.items()}
        left = {folder: config for folder, config in configs.items() if folder not in complete}
        for folder, config in left.items():
            _refuse_changed(folder, config, problems)
        if left:
            results |= _train_together(left, problems, started, listener)
    return [results[folder] for folder in folders]


def _train(directory: Path, config: Config, problem: Any, problems: Path | None, started: float, listener: Listener) -> Result:
    compile_time = CompileTime()
    if opening := build.opening(config, problem):
        listener.message(opening)
    with compile_time.measured(), watched() as interrupt:
        experiment = build.build(config, problem, begun=Store(directory).has_begun())
        watch = Stopwatch(compile_time, started)
        with _session(Session(directory, config, experiment, watch, interrupt, listener), problems) as session:
            session.train()
            return session.finish()


def _train_together(configs: Mapping[Path, Config], problems: Path | None, started: float, listener: Listener) -> dict[Path, Result]:
    """Every run is finished as soon as it has ended. Raises `Interrupted` after a signal, once all are saved."""
    compile_time, results = CompileTime(), {}
    first = next((config for config in configs.values() if config.phases != "auto"), next(iter(configs.values())))
    with compile_time.measured(), watched() as interrupt, ExitStack() as open_sessions:
        begun = all(Store(directory).has_begun() for directory in configs)
        problem = build.load_subject(first, problems)
        experiments = build.build_seeds(first, [config.seed for config in configs.values()], problem, begun=begun)
        _refuse_longer_phases(configs, experiments[0])
        sessions = []
        for (directory, config), experiment in zip(configs.items(), experiments, strict=True):
            watch = Stopwatch(compile_time, started, 1 / len(configs))
            session = Session(directory, config, experiment, watch, interrupt, listener)
            sessions.append(open_sessions.enter_context(_session(session, problems, len(configs))))
        stopped = None
        for session in train_together(sessions):
            try:
                results[session.directory] = session.finish()
            except Interrupted as error:
                stopped = stopped or error
        if stopped is not None:
            raise stopped
    return results


@contextmanager
def _session(session: Session, problems: Path | None, together: int = 1) -> Iterator[Session]:
    """The session, standing where its run stood, with its config as it is executed."""
    directory = session.directory
    session.config = session.config.model_copy(update={"phases": session.experiment.phases})
    (directory / RESULT).unlink(missing_ok=True)  # before the config says more than the result holds
    files.sync_folder(directory)
    files.write_text(directory / build.CONFIG, dump_config(session.config))
    build.keep_series(directory, session.config)
    with session:
        session.note_environment(build.source_hash(session.config, problems), problems, together)
        session.restore()
        yield session


@contextmanager
def _gone_if_refused(directory: Path) -> Iterator[None]:
    """A directory in which no run has begun, because its config or problem was refused, does not stay."""
    try:
        yield
    except ConfigError:
        left = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
        if left == {LOCK}:
            (directory / LOCK).unlink()
            directory.rmdir()
        raise


def _prepare_machine(config: Config, listener: Listener) -> None:
    build.configure(config)
    if message := use_compile_cache():
        listener.message(message)


def _readable_result(directory: Path) -> dict | None:
    try:
        return read_result(directory)
    except RunError as error:
        raise RunError(f"{error}; `rm {directory / RESULT}` and `sciml resume {directory}` write it anew") from error


def _as_far(result: dict | None, config: Config) -> bool:
    """Whether a complete run went as far as `config` asks: one that a target error ended early may not have."""
    if result is None or result.get("ended_by") != TARGET_ERROR:
        return True
    target = config.stop.target_error
    return target is not None and result["error"]["rel_l2"] <= target


def _reused(directory: Path, result: dict | None, listener: Listener) -> Result:
    reused = Result(directory, result or {}, reused=True)
    listener.message(f"{directory} is complete; `sciml resume {directory}` with longer phases trains on")
    listener.finished(reused)
    return reused


def _refuse_changed(directory: Path, config: Config, problems: Path | None) -> None:
    if build.has_changed(directory, config, problems):
        raise RunError(
            f"the problem '{config.problem}' has changed since {directory} began; undo that, "
            f"or `sciml run {directory / build.CONFIG}` to begin anew"
        )


def _refuse_strangers(configs: Mapping[Path, Config]) -> None:
    """Runs that are trained together have the same settings and each another seed. Phases are "auto" until a run has begun."""
    first, *others = configs
    for other in others:
        one, two = configs[first].model_dump(mode="json"), configs[other].model_dump(mode="json")
        own = {"seed"} | ({"phases"} if "auto" in (one["phases"], two["phases"]) else set())
        different = [name for name in dict.fromkeys([*one, *two]) if name not in own and one.get(name) != two.get(name)]
        if different:
            raise ConfigError(f"{first} and {other} differ in {', '.join(different)}; runs are resumed together if only their seeds differ")
    seeds = [config.seed for config in configs.values()]
    if len(set(seeds)) < len(seeds):
        raise ConfigError("two of these runs have the same seed; name each directory once")


def _refuse_longer_phases(configs: Mapping[Path, Config], experiment: Any) -> None:
    """Of runs that have begun and been given more to do, and others that have not begun."""
    from sciml.solve import resolve_phases

    fresh = [directory for directory, config in configs.items() if config.phases == "auto"]
    if fresh and resolve_phases("auto", experiment.objective) != experiment.phases:
        raise ConfigError(f"{fresh[0]} has other phases than those of these runs that have begun; resume it by itself")


def _refuse_another_run(before: Config, after: Config, directory: Path) -> None:
    """More of the same run may be asked for, but not another one: that belongs in another directory."""
    free = {"execution": after.execution, "stop": after.stop, "phases": after.phases}
    changed = [name for name in type(after).model_fields if getattr(before.model_copy(update=free), name) != getattr(after, name)]
    old, new = before.phases, after.phases
    if old != "auto" and (new == "auto" or not _extends(old, new)):
        changed.append("phases (the last one may become longer, and more may follow)")
    elif old not in ("auto", new) and getattr(after, "time_slabs", 1) > 1:
        changed.append("phases of a run in time slabs")
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} cannot change within a run; `sciml run {directory / build.CONFIG} --set ...` begins another"
        )


def _extends(old: Sequence, new: Sequence) -> bool:
    if len(new) < len(old):
        return False
    last, longer = old[-1], new[len(old) - 1]
    same_but_longer = longer.steps >= last.steps and longer == last.model_copy(update={"steps": longer.steps})
    return tuple(old[:-1]) == tuple(new[: len(old) - 1]) and same_but_longer
