"""The names of runs: a process of its own imports JAX and reads the problems' data, so that a scheduler needs neither.

`python -m sciml.batch.identity` reads `{"problems", "objective", "configs"}` as JSON and prints `{"names", "mistakes"}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sciml.errors import ConfigError, RunError, ScimlError
from sciml.runs.compile_cache import use_compile_cache
from sciml.runs.config import Config, parse_config, run_name

PATIENCE = 1800.0
"""Seconds in which the problems must have been built and their data read."""


def name_runs(configs: Sequence[Config], problems: Path | None = None, objective: str = "") -> list[str]:
    """The directory name of each run, as `sciml run` gives it. Builds the first experiment of each precision, to find what is wrong.

    Raises `ConfigError` for problems that cannot be built or trained, or that have no error where the `objective` of a search is one.
    """
    names: dict[int, str] = {}
    for precision in dict.fromkeys(config.precision for config in configs):
        chosen = [number for number, config in enumerate(configs) if config.precision == precision]
        names |= zip(chosen, _ask([configs[number] for number in chosen], problems, objective), strict=True)
    return [names[number] for number in range(len(configs))]


def _ask(configs: Sequence[Config], problems: Path | None, objective: str) -> list[str]:
    """Precision is settled once per process, and a process that only names runs leaves the accelerators alone.

    A session of its own: a Ctrl-C is for the scheduler, which first lets the runs save.
    """
    asked = {
        "problems": problems and str(problems),
        "objective": objective,
        "configs": [config.model_dump(mode="json", exclude_none=True) for config in configs],
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sciml.batch.identity"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            start_new_session=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(
            f"the runs could not be named in {PATIENCE:g} s: building '{configs[0].problem}' and reading its data takes too long; "
            f"`sciml check {configs[0].problem}` does the same for one run"
        ) from error
    if done.returncode != 0:
        raise RunError(f"the runs could not be named: {(done.stderr.strip().splitlines() or ['no reason was given'])[-1]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer["mistakes"]:
        raise ConfigError(answer["mistakes"])
    return answer["names"]


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    from sciml.runs import build

    problems = None if asked["problems"] is None else Path(asked["problems"])
    names, mistakes, hashes = [], {}, {}
    for number, document in enumerate(asked["configs"]):
        config = parse_config(document, problems=problems)
        try:
            if number == 0:
                build.configure(config.model_copy(update={"execution": config.execution.model_copy(update={"device": "cpu"})}))
                use_compile_cache()
                subject = build.load_subject(config, problems)
                build.build(config, subject)
                if asked["objective"].startswith("error.") and not _has_error(subject, config):
                    mistakes[
                        f"search.objective: '{config.problem}' has nothing to measure an error by; write objective = \"validation\""
                    ] = None
            key = json.dumps([document.get(each) for each in ("problem", "parameters", "warm_start", "series")], sort_keys=True)
            if key not in hashes:
                hashes[key] = build.data_hashes(build.load_subject(config, problems), config)
            names.append(run_name(config, build.source_text(config, problems), hashes[key]))
        except ConfigError as error:
            mistakes |= dict.fromkeys(error.mistakes)
        except ScimlError as error:
            mistakes[str(error)] = None
    return {"names": names, "mistakes": list(mistakes)}


def _has_error(subject: Any, config: Config) -> bool:
    from sciml.problem import Problem
    from sciml.reference.of_problem import problem_reference

    return isinstance(subject, Problem) and not isinstance(problem_reference(subject, config.execution.report), str)


if __name__ == "__main__":
    print(json.dumps(_answer(json.load(sys.stdin))))  # noqa: T201
