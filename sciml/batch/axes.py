"""The axes of a sweep: lists, ranges, logarithmic ranges and seeds; keys that move together; and their product."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError

from sciml.runs.mistakes import Sections, describe_mistakes, not_finite, toml
from sciml.settings import Settings

DIGITS = 12
"""Significant digits to which the inner values of a range are rounded, so that 0.30000000000000004 is 0.3."""

EXAMPLE = "write a list, [0.1, 0.2], or a range, {from = 0.1, to = 10.0, count = 5, scale = 'log'}"


class Range(Settings):
    """Evenly spaced numbers, both ends included: a `count` of them, or one every `step`."""

    start: int | float = Field(alias="from", examples=[0.1])
    stop: int | float = Field(alias="to", examples=[10.0])
    count: int | None = Field(default=None, ge=1, le=100_000, examples=[5])
    step: int | float | None = Field(default=None, gt=0, examples=[1.0])
    scale: Literal["linear", "log"] = "linear"
    """`log`: evenly spaced logarithms."""

    def mistake(self) -> str | None:
        """What is contradictory in it."""
        if (self.count is None) == (self.step is None):
            return "say either count or step, for example {from = 1, to = 9, step = 2}"
        if self.stop < self.start:
            return f"to = {self.stop} is below from = {self.start}; exchange them"
        if self.scale == "log" and (self.start <= 0 or self.step is not None):
            return "a log range has a positive from, and a count; for example {from = 1e-3, to = 1e-1, count = 3, scale = 'log'}"
        if self.step is not None and (self.stop - self.start) / self.step >= 100_000:
            return "more than 100,000 values; take a larger step"
        return None

    def values(self) -> list[int | float]:
        """The numbers; whole ones where the ends and the step are."""
        if self.step is not None:
            count = int((self.stop - self.start) / self.step * (1 + 1e-12)) + 1
            return [rounded(self.start + number * self.step) for number in range(count)]
        count = self.count or 1
        shares = [number / max(count - 1, 1) for number in range(count)]
        if self.scale == "log":
            inner = [self.start * (self.stop / self.start) ** share for share in shares]
        else:
            inner = [self.start + (self.stop - self.start) * share for share in shares]
        values = [rounded(value) for value in inner]
        if isinstance(self.start, int) and isinstance(self.stop, int):
            values = [int(value) if float(value).is_integer() else value for value in values]
        return [self.start, *values[1:-1], self.stop] if count > 1 else [self.start]


class Axis(NamedTuple):
    """Keys of a config that take their values together: `rows[i][j]` is the `i`-th value of `keys[j]`."""

    keys: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def read_axes(single: Mapping[str, Any], together: Sequence[Mapping[str, Any]], seeds: int | None) -> tuple[list[Axis], list[str]]:
    """The axes that `[axes]`, `[[zip]]` and `seeds` of a sweep describe, and every mistake in them. The last varies fastest."""
    mistakes: list[str] = []
    axes = [Axis((key,), tuple((value,) for value in values)) for key, values in _columns(single, "axes", mistakes).items()]
    for number, group in enumerate(together):
        columns = _columns(group, f"zip.{number}", mistakes)
        lengths = {key: len(values) for key, values in columns.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"'{key}' has {length}" for key, length in lengths.items())
            mistakes.append(f"zip.{number}: keys that move together have as many values as each other, but {said}")
        elif columns:
            axes.append(Axis(tuple(columns), tuple(zip(*columns.values(), strict=True))))
    if seeds is not None:
        axes.append(Axis(("seed",), tuple((seed,) for seed in range(seeds))))
    keys = [key for axis in axes for key in axis.keys]
    for key in sorted(set(keys)):
        if keys.count(key) > 1:
            who = f"seeds = {seeds} and an axis both" if key == "seed" and seeds is not None else "two axes"
            mistakes.append(f"{who} set '{key}'; keep one of them")
    for axis in axes:
        counts = Counter(json.dumps(row, sort_keys=True, default=str) for row in axis.rows)
        if again := [row for row, count in counts.items() if count > 1]:
            mistakes.append(f"the axis '{', '.join(axis.keys)}' has {again[0][1:-1]} twice; no run is made twice")
    return axes, mistakes


def product(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Every combination of the axes' values, by key."""
    for rows in itertools.product(*(axis.rows for axis in axes)):
        yield {key: value for axis, row in zip(axes, rows, strict=True) for key, value in zip(axis.keys, row, strict=True)}


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and what they hold: `{"network": {"width": 8}}` gives `network.width`. A range is one value."""
    for key, value in table.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and not is_range(value):
            yield from flatten(value, f"{path}.")
        else:
            yield path, value


def _columns(table: Mapping[str, Any], where: str, mistakes: list[str]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for key, value in flatten(table):
        place = f"{where}.{key}"
        values, mistake = _values(value, place)
        if mistake:
            mistakes.append(mistake)
        elif not values:
            mistakes.append(f"{place} is empty, and so no run would be made; {EXAMPLE}")
        else:
            columns[key] = values
    return columns


def _values(value: Any, place: str) -> tuple[list[Any], str | None]:
    if isinstance(value, list | tuple):
        wrong = next(iter(not_finite(value, (place,))), None)
        return list(value), wrong[1] if wrong else None
    if not is_range(value):
        return [], f"{place} = {toml(value)} is not an axis; {EXAMPLE}; what is the same for all runs belongs into [set]"
    wrong = next(iter(not_finite(value, (place,))), None)
    if wrong:
        return [], wrong[1]
    try:
        spread = Range.model_validate(value, strict=True)
    except ValidationError as error:
        sentences = describe_mistakes(error, value, Sections(Range, {}))
        return [], "; ".join(f"{place}: {sentence}" for sentence in sentences.values())
    mistake = spread.mistake()
    return ([], f"{place}: {mistake}") if mistake else (spread.values(), None)


def is_range(value: Any) -> bool:
    """Whether a table is a range of numbers rather than keys below a key."""
    return isinstance(value, Mapping) and bool({"from", "to"} & set(value))


def rounded(value: int | float) -> int | float:
    """`value` without what rounding errors have put behind its digits."""
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
