"""What can be found without training: of one run, or, as a dry run, of a whole sweep."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciml.batch.plan import find_sweep, make_plan
from sciml.batch.settings import Planning, read_sweep
from sciml.batch.status import values_text
from sciml.runs import catalog, commands
from sciml.runs.config import read_toml
from sciml.runs.mistakes import toml

if TYPE_CHECKING:
    from sciml.runs.checks import Finding

OF_A_SWEEP = frozenset({"base", "axes", "zip", "seeds", "search"})
"""Keys that a sweep's file has, and the config of one run has not."""


def check(source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), problems: str | Path | None = None) -> list[Finding]:
    """Find what can be found wrong without training: a `name`, whether it is `ok`, and a `text` for each thing that was looked at.

    `source`, `overrides` and `problems` as for `sciml.run`; or a sweep's file or name, as for `sciml.sweep`. Of a sweep it says which
    runs would be made, and writes nothing. Raises `ConfigError` for a config or a sweep that cannot be read or planned, with every
    mistake. For one run, sets JAX's precision and device for the process.
    """
    folder = None if problems is None else Path(problems)
    if isinstance(source, Mapping) or not _is_sweep(source, folder):
        return commands.check(source, overrides=overrides, problems=problems)
    return _dry_run(read_sweep(find_sweep(str(source), folder), overrides, folder), folder)


def _is_sweep(source: str | Path, problems: Path | None) -> bool:
    """Whether it is a sweep's file, or the name of a shipped sweep. A config or a problem of that name comes first."""
    if Path(source).suffix == ".toml":
        document = read_toml(Path(source))
        return document.get("kind") == "sweep" or ("problem" not in document and not OF_A_SWEEP.isdisjoint(document))
    runs = {entry.name for entry in (*catalog.list_problems(problems), *catalog.list_configs(problems))}
    return str(source) in {entry.name for entry in catalog.list_sweeps(problems)} - runs


def _dry_run(planning: Planning, problems: Path | None) -> list[Finding]:
    """What `sciml sweep` would plan: its plan is made in a folder of its own, and is gone afterwards."""
    from sciml.runs.checks import Finding

    with tempfile.TemporaryDirectory(prefix="sciml-check-") as name:
        runs = make_plan(Path(name), planning, problems).runs
    axes = [Finding(f"axis {', '.join(axis.keys)}", True, _values(axis.rows)) for axis in planning.axes]
    first, last = (Finding(f"{which} run", True, values_text(runs[number].values)) for which, number in (("first", 0), ("last", -1)))
    search = planning.search
    if search is None:
        return [Finding("sweep", True, f"{len(runs):,} runs of {planning.base['problem']}"), *axes, first, last]
    each = math.prod(len(axis.rows) for axis in planning.axes)
    said = f"{search.trials * each:,} runs of {planning.base['problem']}: {search.trials:,} trials" + (f" of {each:,}" if each > 1 else "")
    searched = [Finding(f"searched {key}", True, toml(space)) for key, space in search.space.items()]
    halving = "" if search.halving is None else f"; all go to step {search.halving.first:,}, one in {search.halving.factor} on"
    how = Finding("search", True, f"lowest {search.objective} ({search.method}), {search.round:,} trials at a time{halving}")
    return [Finding("sweep", True, said), how, *searched, *axes, first]


def _values(rows: Sequence[Sequence[Any]]) -> str:
    count = "1 value" if len(rows) == 1 else f"{len(rows):,} values"
    return f"{count}: {toml([row[0] if len(row) == 1 else row for row in rows])}"
