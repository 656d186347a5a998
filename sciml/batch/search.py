"""What a search does next, once all its runs are settled: propose a round, let the best go on to the next rung, or end."""

from __future__ import annotations

from collections.abc import Sequence

from sciml.batch.plan import Plan, add_round, add_rung, read_planning
from sciml.batch.propose import propose
from sciml.batch.state import WELL, run_state
from sciml.batch.trials import Trial, gather, is_good, survivors
from sciml.errors import RunError


def go_on(plan: Plan) -> Plan | None:
    """The plan with what is to be made next; None where the search is over, or a run of it is not settled.

    Raises `RunError` where no run has the number that is searched for.
    """
    search = plan.search
    if search is None:
        return None
    trials = gather(search, [run_state(plan, run) for run in plan.runs])
    if any(trial.objective is None for trial in trials):
        return None
    _refuse_what_no_result_has(plan, trials)
    if len(trials) < search.trials:
        finished = [(trial.values, trial.objective) for trial in trials if trial.objective is not None]
        return add_round(plan, propose(read_planning(plan.directory), finished, plan.rounds, plan.problems))
    chosen = survivors(search, trials)
    if not chosen or search.halving is None:
        return None
    rung = chosen[0].rung + 1
    limit = search.halving.step_limit(rung, len(chosen))
    return add_rung(plan, rung, limit, [run.index for trial in chosen for run in trial.runs])


def _refuse_what_no_result_has(plan: Plan, trials: Sequence[Trial]) -> None:
    search = plan.search
    well = [run for trial in trials for run in trial.runs if run.state in WELL]
    if search is None or any(map(is_good, trials)) or not well or any(run.objective is not None for run in well):
        return
    raise RunError(
        f'search.objective = "{search.objective}": no run of {plan.directory} has a number there; {well[0].directory / "result.json"} '
        "shows what a run has; begin another sweep with another --out"
    )
