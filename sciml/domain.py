"""Where an equation holds: named coordinates over a box, with or without time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from sciml.errors import ProblemError, suggest

TIME = "t"


class Face(NamedTuple):
    """One side of a box: `coordinate` held at `value`; `side` is -1 (lower) or +1 (upper)."""

    coordinate: str
    axis: int
    side: int
    value: float

    @property
    def name(self) -> str:
        return f"{self.coordinate}{'-' if self.side < 0 else '+'}"


class Box:
    """A product of intervals, `Box(t=(0.0, 1.0), x=(-1.0, 1.0))`; the coordinate `t`, where there is one, is time.

    Coordinates keep the order in which they are given. Raises `ProblemError` for an interval that is empty or not finite,
    and for a name that could be read as a derivative (one with an underscore).
    """

    def __init__(self, **intervals: tuple[float, float]) -> None:
        if not intervals:
            raise ProblemError("a Box needs at least one coordinate, for example Box(x=(0.0, 1.0))")
        mistakes = [text for name, interval in intervals.items() if (text := _interval_mistake(name, interval))]
        if mistakes:
            raise ProblemError(mistakes)
        self.intervals: Mapping[str, tuple[float, float]] = {
            name: (float(lower), float(upper)) for name, (lower, upper) in intervals.items()
        }

    @property
    def coordinates(self) -> tuple[str, ...]:
        return tuple(self.intervals)

    @property
    def dimension(self) -> int:
        return len(self.intervals)

    @property
    def lower(self) -> tuple[float, ...]:
        return tuple(lower for lower, _ in self.intervals.values())

    @property
    def upper(self) -> tuple[float, ...]:
        return tuple(upper for _, upper in self.intervals.values())

    @property
    def has_time(self) -> bool:
        return TIME in self.intervals

    def axis(self, coordinate: str) -> int:
        return self.coordinates.index(coordinate)

    def face(self, coordinate: str, side: int) -> Face:
        return Face(coordinate, self.axis(coordinate), side, self.intervals[coordinate][0 if side < 0 else 1])

    def faces(self, on: str) -> tuple[Face, ...]:
        """The faces that `on` names: `"x"` both, `"x-"` the lower, `"x+"` the upper one. Time has no boundary faces."""
        space = [name for name in self.coordinates if name != TIME]
        coordinate = on[:-1] if on[-1:] in ("-", "+") else on
        if coordinate not in space:
            names = [name + end for name in space for end in ("", "-", "+")]
            raise ProblemError(f"there is no boundary '{on}' in {self}; {suggest(on, names)}")
        sides = {"-": (-1,), "+": (1,)}.get(on[-1:], (-1, 1))
        return tuple(self.face(coordinate, side) for side in sides)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}=({lower:g}, {upper:g})" for name, (lower, upper) in self.intervals.items())
        return f"Box({inside})"


def _interval_mistake(name: str, interval: tuple[float, float]) -> str | None:
    if "_" in name:
        return f"coordinate '{name}': an underscore separates a field from its derivatives; choose a name without it"
    try:
        lower, upper = (float(end) for end in interval)
    except (TypeError, ValueError):
        return f"coordinate '{name}': {interval!r} is not an interval; write {name}=(0.0, 1.0)"
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        return f"coordinate '{name}': ({lower:g}, {upper:g}) is not an interval with lower < upper"
    return None
