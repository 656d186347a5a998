"""What the command line does to one run, as Python calls. JAX is imported only once a config is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciml.errors import ConfigError
from sciml.runs.config import Config, load_config, parse_config

if TYPE_CHECKING:
    from sciml.runs.checks import Finding
    from sciml.runs.result import Result


def run(
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    out: str | Path = "runs",
    problems: str | Path | None = None,
    progress: bool = True,
) -> Result:
    """Train, compare with the reference, write a run directory below `out`: what `sciml run` does.

    `source` is a problem or a config by name, a TOML file, or a config as a dictionary; `overrides` are texts like
    `"network.width=30"`, `problems` a folder with problems of your own. A second call with the same arguments resumes a run that is
    not finished, and returns the result of one that is. The result has the `directory`, the `result` (what `result.json` says) and, where
    this call trained, the `solution`. Raises `ConfigError` and `ProblemError` for what cannot be trained, `RunError` for a directory
    that cannot be used, `Interrupted` after Ctrl-C or SIGTERM, once all is saved. Sets JAX's precision and device for the whole process.
    """
    folder = None if problems is None else Path(problems)
    config = read(source, [*overrides, *([] if seed is None else [f"seed={seed}"])], folder)

    from sciml.runs import execute

    with _shown(progress) as listener:
        return execute.run(config, out, listener=listener, problems=folder)


def resume(
    directory: str | Path, *others: str | Path, overrides: Sequence[str] = (), problems: str | Path | None = None, progress: bool = True
) -> list[Result]:
    """Go on with runs that were stopped or killed, or, with `overrides` like `"phases.1.steps=50000"`, with complete ones.

    Several runs that differ in their seed alone are trained together, in one process. Returns a result for each. Raises as `run` does.
    """
    directories = [Path(each) for each in (directory, *others)]
    for each in directories:
        require_run(each)
    folder = None if problems is None else Path(problems)

    from sciml.runs import execute

    with _shown(progress) as listener:
        if others:
            return execute.resume_together(directories, listener=listener, more=overrides, problems=folder)
        return [execute.resume(directories[0], listener=listener, more=overrides, problems=folder)]


def check(source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), problems: str | Path | None = None) -> list[Finding]:
    """Find what can be found wrong without training: a `name`, whether it is `ok`, and a `text` for each thing that was looked at.

    `source`, `overrides` and `problems` as for `run`. Raises `ConfigError` for a config that cannot be read. Sets JAX's precision and
    device for the process.
    """
    folder = None if problems is None else Path(problems)
    config = read(source, overrides, folder)

    from sciml.runs import build, checks

    build.configure(config)
    return checks.check(build.load_subject(config, folder), config)


def read(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), problems: Path | None = None) -> Config:
    """The config that `source` stands for. Raises `ConfigError` with every mistake."""
    if isinstance(source, Mapping):
        return parse_config(source, "", overrides, problems)
    return load_config(source, overrides, problems)


def _shown(progress: bool) -> Any:
    from rich.console import Console

    from sciml.runs.progress import progress as show

    return show(Console(stderr=True), quiet=not progress)


def require_run(directory: Path) -> None:
    """Raises `ConfigError` for a directory that is not a run's."""
    if not directory.is_dir():
        raise ConfigError(f"{directory} is not a directory; give a run directory, for example runs/fisher_kpp-3f9a1c2e")
    if not (directory / "config.toml").is_file():
        raise ConfigError(
            f"{directory} is not a run directory (it has no config.toml); give one, for example runs/fisher_kpp-3f9a1c2e. A run that was "
            "killed before its first checkpoint has none: type the command that began it once more"
        )
