"""What a search may choose: its objective, its method, and for each key an interval of numbers or a list of choices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from sciml.batch.axes import Axis, flatten, is_range, rounded
from sciml.errors import suggest
from sciml.runs.mistakes import Sections, describe_mistakes, not_finite, toml
from sciml.settings import Settings

LARGEST = 10_000
"""Trials of one search."""

FARTHEST = 10**12
"""Largest end of an interval, and most steps in it: numbers of which float64 knows all digits that count."""

SHORT = {"error": "error.rel_l2", "validation": "validation.mean_square"}
"""Objectives that have a name of their own."""

PARTS = ("baselines", "coefficients", "error", "forecast", "noise", "parameters", "phases", "scores", "seconds", "steps", "switch",
         "unknowns", "validation")  # fmt: skip
"""The parts of `result.json` that hold numbers."""

LEAVES = {
    "error": ("rel_l2", "max_abs", "where", "fields", "reference"),
    "seconds": ("total", "compile", "training"),
    "switch": ("step", "nsr", "threshold", "by"),
    "validation": ("mean_square", "worst"),
}
"""What stands in the parts whose keys do not depend on the problem."""

EXAMPLE = "write an interval, {from = 1e-4, to = 1e-2, scale = 'log'}, or a list of choices, [2, 3, 4]"

Choices = tuple[Any, ...]


class Interval(Settings):
    """Numbers between two ends, both included; whole ones where the ends and the step are."""

    start: int | float = Field(alias="from", examples=[0.1])
    stop: int | float = Field(alias="to", examples=[10.0])
    step: int | float | None = Field(default=None, gt=0, examples=[1.0])
    """Distance between neighbours; without it, every number, or every whole number."""
    scale: Literal["linear", "log"] = "linear"
    """`log`: orders of magnitude are equally likely."""

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole ones."""
        return all(isinstance(each, int) for each in (self.start, self.stop, self.step or 1))

    @property
    def last(self) -> int | float:
        """The largest number that can be chosen."""
        if self.step is None:
            return self.stop
        return rounded(self.start + math.floor((self.stop - self.start) / self.step * (1 + 1e-12)) * self.step)

    @property
    def size(self) -> float:
        """How many numbers can be chosen."""
        step = self.step or (1 if self.is_whole else None)
        return math.inf if step is None else round((self.last - self.start) / step) + 1

    def mistake(self) -> str | None:
        """What is contradictory in it."""
        if max(abs(self.start), abs(self.stop)) > FARTHEST:
            return f"its ends are at most {FARTHEST:.0e} in size; choose another unit, or search for an exponent"
        if self.stop <= self.start:
            return f"to = {self.stop} is not above from = {self.start}; what is the same for all trials belongs into [set]"
        if self.scale == "log" and (self.start <= 0 or self.step is not None):
            return "a log interval has a positive from, and no step; for example {from = 1e-4, to = 1e-2, scale = 'log'}"
        if self.step is not None and (self.stop - self.start) / self.step >= FARTHEST:
            return "the step is too small to tell neighbours apart; leave it out"
        if self.last <= self.start:
            return f"step = {self.step} is larger than the interval; take a smaller one"
        return None


class Halving(Settings):
    """Successive halving: all trials are trained a little, the best of them further, the best of these to the end."""

    first: int = Field(ge=1, examples=[1000])
    """Optimiser steps of each run on the first rung."""
    factor: int = Field(default=3, ge=2, le=100)
    """One trial in `factor` goes on to the next rung, which is `factor` times as long; those on the last rung are trained to their end."""

    def step_limit(self, rung: int, survivors: int) -> int:
        """The steps to which the runs of a rung are trained; 0 on the last one, which knows no limit."""
        return 0 if survivors < self.factor else self.first * self.factor**rung


class Search(Settings):
    """How hyperparameters are searched for."""

    objective: str = Field(min_length=1, examples=["error"])
    """What is to be small: error, validation, or a dotted key of `result.json`, for example seconds.training."""
    method: Literal["tpe", "random", "sobol"] = "tpe"
    trials: int = Field(ge=1, le=LARGEST, examples=[24])
    round: int = Field(default=4, ge=1, le=LARGEST)
    """Trials that are proposed together, from all that were finished in the rounds before."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    over_runs: Literal["worst", "median"] = "worst"
    """What the runs of a trial, one per seed and combination of the axes, make of its objective."""
    space: dict[str, Any] = Field(examples=[{"network.width": [10, 20]}])
    """What each key may be."""
    halving: Halving | None = Field(default=None, examples=[{"first": 1000}])

    @property
    def key(self) -> str:
        """The objective as a dotted key of `result.json`."""
        return SHORT.get(self.objective, self.objective)

    def read(self, result: Mapping[str, Any]) -> float | None:
        """The objective in the content of `result.json`; None where no number stands there."""
        value: Any = result
        for part in self.key.split("."):
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                return None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def ranges(self) -> dict[str, Interval | Choices]:
        """What each key may be, by dotted key, in the order of the file."""
        return read_space(self.space)[0]

    def mistakes(self) -> list[str]:
        """Everything that is wrong with it, but for what its values make of a config."""
        ranges, mistakes = read_space(self.space)
        part = self.key.partition(".")[0]
        if part not in PARTS:
            mistakes.append(
                f"search.objective = {toml(self.objective)} is nothing that a result has; write error, validation, or a dotted key of "
                f"result.json below one of {', '.join(PARTS)}"
            )
        leaf = self.key.split(".")[1:2]
        if part in LEAVES and (not leaf or leaf[0] not in LEAVES[part]):
            said = suggest(leaf[0] if leaf else "", LEAVES[part])
            mistakes.append(f"search.objective = {toml(self.objective)}: '{part}' of result.json has no '{''.join(leaf)}'; {said}")
        if not ranges and not mistakes:
            mistakes.append(
                f'search.space is empty, and so there is nothing to search; write [search.space] and "network.width": {EXAMPLE}'
            )
        size = math.prod(len(each) if isinstance(each, tuple) else each.size for each in ranges.values())
        if not mistakes and size < self.trials:
            mistakes.append(f"search.trials = {self.trials}, but only {size} combinations differ; make them all with [axes], or take fewer")
        if self.halving is not None and self.trials < self.halving.factor:
            mistakes.append(f"search.trials = {self.trials} is below search.halving.factor = {self.halving.factor}; none would go on")
        return mistakes


def read_space(table: Mapping[str, Any]) -> tuple[dict[str, Interval | Choices], list[str]]:
    """The intervals and choices in `[search.space]`, and every mistake in them."""
    ranges: dict[str, Interval | Choices] = {}
    mistakes: list[str] = []
    for key, value in flatten(table):
        place = f"search.space.{key}"
        found, wrong = _choices(value, place) if isinstance(value, list | tuple) else _interval(value, place)
        if key == "seed":
            wrong = f"{place}: seeds are not searched for; seeds = 3 at the top of the file runs each trial with three"
        if found is None or wrong:
            mistakes.append(wrong)
        elif key in ranges:
            mistakes.append(f"{place} stands there twice; keep one of them")
        else:
            ranges[key] = found
    return ranges, mistakes


def ends(ranges: Mapping[str, Interval | Choices]) -> Iterator[Axis]:
    """For each key the values by which one can tell whether the config takes it: both ends, or every choice."""
    for key, each in ranges.items():
        yield Axis((key,), tuple((value,) for value in (each if isinstance(each, tuple) else (each.start, each.last))))


def _choices(value: list[Any] | tuple[Any, ...], place: str) -> tuple[Choices | None, str]:
    wrong = next(iter(not_finite(value, (place,))), None)
    if wrong:
        return None, wrong[1]
    if len(value) < 2:
        return None, f"{place} has fewer than two choices; what is the same for all trials belongs into [set]"
    if any(value[number] in value[:number] for number in range(len(value))):
        return None, f"{place} has the same choice twice; keep one of them"
    return tuple(value), ""


def _interval(value: Any, place: str) -> tuple[Interval | None, str]:
    if not is_range(value):
        return None, f"{place} = {toml(value)} is nothing to choose from; {EXAMPLE}"
    wrong = next(iter(not_finite(value, (place,))), None)
    if wrong:
        return None, wrong[1]
    try:
        interval = Interval.model_validate(value, strict=True)
    except ValidationError as error:
        sentences = describe_mistakes(error, value, Sections(Interval, {}))
        return None, "; ".join(f"{place}: {sentence}" for sentence in sentences.values())
    mistake = interval.mistake()
    return interval, f"{place}: {mistake}" if mistake else ""
