"""Two runs side by side: in what their configs differ, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciml.batch.table import differing
from sciml.errors import ConfigError
from sciml.runs import files
from sciml.runs.config import NAME as CONFIG
from sciml.runs.config import read_toml
from sciml.runs.environment import NAME as ENVIRONMENT
from sciml.runs.result import read_result

RESULTS = ("outcome", "ended_by", "steps", "parameters", "error.rel_l2", "error.max_abs", "validation.mean_square", "validation.worst")
READ_AS = {
    "error.rel_l2": "error",
    "error.max_abs": "largest error",
    "validation.mean_square": "residual",
    "validation.worst": "largest residual",
}
"""What keys of result.json are called where people read them."""
SECONDS = ("seconds.total", "seconds.compile", "seconds.training")


def compare(first: str | Path, second: str | Path) -> dict[str, Any]:
    """Two runs side by side.

    `runs` (the directories), `config` and `environment`: by dotted key both values of what differs; `results`: both values of the
    outcome, errors, residuals, unknown coefficients and seconds, and `ratio`, second over first, where both are positive numbers.
    """
    directories = [Path(first), Path(second)]
    for directory in directories:
        if not (directory / CONFIG).is_file():
            raise ConfigError(f"{directory} is not a run directory (it has no {CONFIG}); give one, for example runs/fisher_kpp-3f9a1c2e")
    configs = [read_toml(directory / CONFIG) for directory in directories]
    environments = [files.read_json(path) if (path := directory / ENVIRONMENT).exists() else {} for directory in directories]
    results = [read_result(directory) or {} for directory in directories]
    return {
        "runs": [str(directory) for directory in directories],
        "config": _sides(configs),
        "environment": _sides([{key: value for key, value in each.items() if key != "earlier"} for each in environments]),
        "results": _results(results),
    }


def describe(found: Mapping[str, Any]) -> str:
    """What `compare` returns, as a table of text."""
    rows = [("", *(Path(run).name for run in found["runs"]), "")]
    for part in ("config", "results", "environment"):
        sides = found[part]
        rows += [("", "", "", ""), (part, "", "", "")]
        rows += [(f"  {READ_AS.get(key, key)}", *map(_text, side["values"]), _ratio(side.get("ratio"))) for key, side in sides.items()]
        if not sides:
            rows.append(("  the same", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _sides(both: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: {"values": [one, other]} for key, one, other in differing(both[0], both[1])}


def _results(both: list[dict[str, Any]]) -> dict[str, Any]:
    unknowns = dict.fromkeys(f"unknowns.{name}.value" for result in both for name in result.get("unknowns") or {})
    found = {}
    for key in (*RESULTS, *unknowns, *SECONDS):
        values = [_inside(result, key) for result in both]
        if any(value is not None for value in values):
            found[key] = {"values": values} | _ratio_of(*values)
    return found


def _inside(result: Mapping[str, Any], key: str) -> Any:
    value: Any = result
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _ratio_of(first: Any, second: Any) -> dict[str, float]:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) and value > 0 for value in (first, second))
    return {"ratio": second / first} if numbers else {}


def _ratio(value: float | None) -> str:
    return "" if value is None or value == 1 else f"x {value:.3g}"


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)[:60]
