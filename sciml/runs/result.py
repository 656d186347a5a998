"""result.json: how a run ended and how good it is; written last, so that its presence says that a run is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciml.errors import Outcome, RunError
from sciml.runs import files
from sciml.runs.metrics import finite

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered
    from sciml.runs.config import Config
    from sciml.solution import Error, Solution
    from sciml.train import Snapshot

NAME = "result.json"
SCHEMA_VERSION = 1
TABLES = ("seconds", "switch", "error", "validation", "unknowns", "baselines")
"""What is an object in it, or null."""

PHASES, TARGET_ERROR, STEP_LIMIT, WALL_LIMIT, SIGNAL = "phases", "target error", "step limit", "wall limit", "signal"
"""Why a run ended: its phases did, or one of these came before."""


@dataclass(frozen=True)
class Result:
    """How a run ended. `result` is the content of `result.json`; `reused` says that the run was complete before.

    `solution` is there when this call completed the run; `sciml.load(directory)` gives it at any time.
    """

    directory: Path
    result: dict[str, Any]
    solution: Solution | Discovered | None = None
    reused: bool = False

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.result["outcome"])


def read_result(directory: Path) -> dict[str, Any] | None:
    """The content of `result.json`; None where there is none. Raises `RunError` for one that cannot be read."""
    path = directory / NAME
    if not path.exists():
        return None
    cure = f"delete it, and `sciml resume {directory}` writes it anew"
    try:
        content = files.read_json(path)
    except RunError as error:
        raise RunError(f"{error}; {cure}") from error
    if content.get("outcome") not in list(Outcome):
        raise RunError(f"{path} has no outcome; {cure}")
    if wrong := [name for name in TABLES if not isinstance(content.get(name), Mapping | None)]:
        raise RunError(f"{path}: {wrong[0]} is not an object; {cure}")
    return content


def is_complete(result: Mapping[str, Any] | None) -> bool:
    """Whether nothing is left to do: a stopped run has a result, too, but goes on."""
    return result is not None and result["outcome"] != Outcome.STOPPED


def training_part(snapshot: Snapshot, outcome: Outcome, ended_by: str) -> dict[str, Any]:
    """What `result.json` takes from the last snapshot. It is saved with each checkpoint, so that the end can be repeated.

    `ended_by` says why the phase that was running ended, where one was. `validation` is that of the state that is returned.
    """
    at_target, best = ended_by == TARGET_ERROR, snapshot.best_validation
    mean_square, worst = (snapshot.validation, snapshot.worst) if at_target else (best.mean_square, best.worst)
    phases = [record._asdict() for record in snapshot.phases]
    steps = snapshot.step - sum(phase["steps"] for phase in phases)
    if steps > 0:
        evaluations = snapshot.evaluations - sum(phase["evaluations"] for phase in phases)
        phases.append({"kind": snapshot.kind, "steps": steps, "evaluations": evaluations, "loss": snapshot.loss, "ended_by": ended_by})
    return {
        "outcome": str(outcome),
        "ended_by": ended_by,
        "step": snapshot.step,
        "phases": phases,
        "switch": snapshot.switch,
        "validation": {"mean_square": mean_square, "worst": worst},
    }


def compose(
    config: Config,
    training: Mapping[str, Any],
    seconds: Mapping[str, Any],
    error: Error | str | None,
    unknowns: Mapping[str, Mapping[str, Any]],
    parameters: int,
    device: str,
    baselines: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of `result.json` (docs/design.md, 3.6); numbers that are not finite become None. A text says why no error is known."""
    phases = [phase | {"seconds": spent} for phase, spent in zip(training["phases"], seconds["phases"], strict=False)]
    return finite(
        {
            "schema_version": SCHEMA_VERSION,
            "outcome": training["outcome"],
            "problem": config.problem,
            "seed": config.seed,
            "seconds": {name: seconds[name] for name in ("total", "compile", "training")},
            "ended_by": training["ended_by"],
            "steps": training["step"],
            "parameters": parameters,
            "precision": config.precision,
            "device": device,
            "phases": phases,
            "switch": training["switch"],
            "error": None if error is None or isinstance(error, str) else error.as_dict(),
            "error_reason": error if isinstance(error, str) else None,
            "validation": training["validation"],
            "unknowns": dict(unknowns),
            "baselines": dict(baselines),
        }
    )
