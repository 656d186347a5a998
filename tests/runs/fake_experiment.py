"""An experiment without a network, which trains in no time; and a listener that remembers, and may fail or send a signal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from sciml.errors import Outcome
from sciml.labelled import Labelled
from sciml.objective import Validation
from sciml.optim.cursor import PhaseRecord
from sciml.runs.listener import Listener
from sciml.settings import Adam, Broyden
from sciml.solution import Error
from sciml.train import Snapshot

PHASES = (Adam(steps=30, until=()), Broyden(steps=40))


class FakeExperiment:
    """Two phases; each step turns `theta` and a memory by a rule that shows every byte that is lost. Errors fall with the step."""

    parameters = 3
    opening, error_reason = "", None
    closing = "writing the results"
    objective = SimpleNamespace(unknowns=lambda theta: {"D": theta[0]})

    def __init__(self, phases: Sequence[Any] = PHASES, diverges: bool = False) -> None:
        self.phases = tuple(phases)
        self.diverges = diverges

    def recall(self, reference: Any) -> None:
        """What it is compared with is never asked for."""

    def results(self, trainable: Any) -> dict[str, Any]:
        return {}

    def train(self, resume: Any = None, every: int = 100) -> Iterator[Snapshot]:
        if resume is None:
            theta, memory, step, best = np.ones(3), np.eye(3), 0, np.ones(3)
            records: list[PhaseRecord] = []
        else:
            arrays, cursor = resume
            theta, memory, best = arrays["theta"], arrays["state/memory"], arrays["best"]
            step, records = cursor["step"], [PhaseRecord(**record) for record in cursor["records"]]
        ends = np.cumsum([phase.steps for phase in self.phases]).tolist()
        while step < ends[-1]:
            phase = next(number for number, end in enumerate(ends) if step < end)
            stop, before = min(step + every, ends[phase]), ([0, *ends])[phase]
            for number in range(step, stop):
                memory = memory * 0.9 + np.outer(theta, theta) * 0.1
                theta = np.sin(memory @ theta + number)
            step, best, events = stop, theta.copy(), ()
            if step == ends[phase]:
                records = [*records, PhaseRecord(self.phases[phase].kind, step - before, step - before, 1 / step, "budget")]
                events = (f"{self.phases[phase].kind} ended",)
            done = step == ends[-1]
            state = {"theta": theta, "best": best, "state/memory": memory}
            position = {"step": step, "records": [record._asdict() for record in records]}
            yield self._snapshot(step, phase, best, records, events, done, lambda state=state, position=position: (state, position))

    def _snapshot(
        self, step: int, phase: int, best: np.ndarray, records: list[PhaseRecord], events: tuple[str, ...], done: bool, checkpoint: Callable
    ) -> Snapshot:
        known: dict[str, Any] = dict.fromkeys(Snapshot._fields)
        ended = Outcome.DIVERGED if self.diverges else Outcome.OK
        known |= {
            "step": step,
            "phase": phase,
            "kind": self.phases[phase].kind,
            "evaluations": step,
            "loss": 1 / step,
            "terms": {"equation": float("nan")},
            "nsr_terms": {},
            "nsr_windows": (),
            "gradient_norm": float("inf"),
            "validation": 2 / step,
            "level": 1 / step,
            "worst": 3 / step,
            "unknowns": {"D": best[0]},
            "events": events,
            "phases": tuple(records),
            "outcome": ended if done else None,
            "trainable": best,
            "best": best,
            "best_validation": Validation(2 / step, 3 / step, 1 / step),
            "checkpoint": checkpoint,
        }
        return Snapshot(**known)

    def error(self, trainable: np.ndarray) -> Error:
        size = float(abs(np.asarray(trainable)).sum())
        reference = {"kind": "exact", "estimated_error": 1e-16, "seconds": 0.0}
        return Error(size, size, {"t": 0.0, "x": 0.0}, {"u": size}, reference, at_floor=False)

    def unknowns(self, trainable: np.ndarray) -> dict[str, Any]:
        return {"D": {"value": float(trainable[0]), "standard_error": 0.25, "reason": None}}

    def baselines(self) -> dict[str, Any]:
        return {}

    def solution(self, trainable: Any, history: Any = (), result: Mapping[str, Any] | None = None) -> Any:
        theta = np.asarray(trainable)
        return SimpleNamespace(theta=theta, history=history, result=result, labelled=lambda: Labelled({"u": (("x",), theta, {})}, {}, {}))


class Recorder(Listener):
    """Remembers what it is told; at the step `at` it calls `act`."""

    def __init__(self, at: int | None = None, act: Callable[[], None] | None = None) -> None:
        self.messages: list[str] = []
        self.steps: list[int] = []
        self.started_at: list[int] = []
        self.results: list[Any] = []
        self.at, self.act = at, act

    def message(self, text: str) -> None:
        self.messages.append(text)

    def started(self, directory: Path, config: Any, experiment: Any, step: int) -> None:
        self.started_at.append(step)

    def snapshot(self, snapshot: Snapshot, row: Mapping[str, Any]) -> None:
        self.steps.append(snapshot.step)
        if self.act is not None and snapshot.step == self.at:
            self.act()

    def finished(self, result: Any) -> None:
        self.results.append(result)


class Crash(Exception):
    """What a listener raises to end a run as a crash would: without any farewell."""


def crash() -> None:
    raise Crash


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)
