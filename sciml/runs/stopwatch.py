"""Where the seconds of a run went, over all its sessions: in total, into compiling, into training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

COMPILING = "/jax/core/compile/"
"""JAX reports tracing, lowering and compiling (or reading the compile cache) as events whose names begin so."""


class CompileTime:
    """Seconds that JAX spent on turning functions into programs. Events nest, so their union is taken, not their sum."""

    def __init__(self) -> None:
        self._intervals: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float:
        return sum(end - start for start, end in self._intervals)

    def add(self, start: float, end: float) -> None:
        """Count the interval; events arrive in the order of their ends."""
        while self._intervals and self._intervals[-1][1] > start:
            start = min(start, self._intervals.pop()[0])
        self._intervals.append((start, end))

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Listens to JAX inside the block."""
        from jax import monitoring

        def listener(event: str, duration_secs: float, **_: Any) -> None:
            if event.startswith(COMPILING):
                now = time.perf_counter()
                self.add(now - duration_secs, now)

        monitoring.register_event_duration_secs_listener(listener)
        try:
            yield
        finally:
            monitoring.unregister_event_duration_listener(listener)


class Stopwatch:
    """Seconds of a run, those of earlier sessions (`earlier`, from a checkpoint) included.

    Of what a process spends on several runs together, each is charged the same `share`.
    """

    def __init__(self, compile_time: CompileTime, started: float, share: float = 1.0) -> None:
        self._compile_time = compile_time
        self._started = started
        self._share = share
        self._earlier: Mapping[str, float] = {}
        self._phases: dict[int, float] = {}

    def go_on(self, seconds: Mapping[str, Any]) -> None:
        """Count on from `seconds`, what `seconds` returned when the checkpoint was written."""
        self._earlier = {"total": seconds["total"], "compile": seconds["compile"]}
        self._phases = dict(enumerate(seconds["phases"]))

    @property
    def session(self) -> float:
        """Seconds since this session began."""
        return time.perf_counter() - self._started

    @contextmanager
    def training(self) -> Iterator[Lap]:
        """Measures a chunk; what JAX compiled meanwhile does not count. Set the lap's `phase` before leaving."""
        lap = Lap()
        start, compiled = time.perf_counter(), self._compile_time.seconds
        yield lap
        spent = time.perf_counter() - start - (self._compile_time.seconds - compiled)
        if lap.phase is not None:
            self._phases[lap.phase] = self._phases.get(lap.phase, 0.0) + self._share * spent

    def phase(self, index: int) -> float:
        """Seconds of training in one phase."""
        return self._phases.get(index, 0.0)

    @property
    def seconds(self) -> dict[str, Any]:
        """`total`, `compile`, `training`, and `phases`: the training seconds of each phase."""
        return {
            "total": self._earlier.get("total", 0.0) + self._share * self.session,
            "compile": self._earlier.get("compile", 0.0) + self._share * self._compile_time.seconds,
            "training": sum(self._phases.values()),
            "phases": [self.phase(index) for index in range(max(self._phases, default=-1) + 1)],
        }


class Lap:
    """A chunk that is being measured; `phase` is the index of the phase that it belongs to."""

    phase: int | None = None
