"""What a search tries next. Optuna proposes; it remembers nothing: each round a new study is built from the trials that are finished."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciml.batch.axes import rounded
from sciml.batch.settings import Planning, vary
from sciml.batch.space import Choices, Interval, Search
from sciml.errors import ConfigError, RunError
from sciml.runs.config import run_name

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

Values = dict[str, Any]

DIGITS = 6
"""Significant digits of a proposed number: enough for any hyperparameter, and few enough that machines agree on them."""

DRAWS = 100_000
"""Random draws in which a combination that is new has to be found."""


def propose(planning: Planning, finished: Sequence[tuple[Values, float]], number: int, problems: Path | None = None) -> list[Values]:
    """The combinations of the searched keys that the round `number` tries, from the trials that are `finished` and their objectives.

    The same arguments give the same combinations. A trial that failed has an infinite objective. One that would make the same run as
    another is replaced by one that is drawn at random. Raises `ConfigError` where Optuna is not installed.
    """
    _refuse_without_optuna()
    search = planning.search
    assert search is not None
    ranges, wanted = search.ranges(), min(search.round, search.trials - len(finished))

    def identity(values: Values) -> str:
        """What tells one trial from another: the name of its run, but for the text of its problem and its data."""
        return run_name(vary(planning.base, values, problems), "", {})

    known = {identity(values) for values, _ in finished}
    found: list[Values] = []
    with _quiet():
        at_random = _asked_at_random(search, ranges, number)
        for values in itertools.islice(_proposals(search, ranges, finished, number), wanted):
            candidates = itertools.chain([values], itertools.islice(at_random, DRAWS))
            fresh = next((each for each in candidates if identity(each) not in known), None)
            if fresh is None:
                raise RunError(f"no combination that is new was found in {DRAWS:,} draws; a search over fewer trials has enough")
            known.add(identity(fresh))
            found.append(fresh)
    return found


def _proposals(
    search: Search, ranges: Mapping[str, Interval | Choices], finished: Sequence[tuple[Values, float]], number: int
) -> Iterator[Values]:
    """What the method proposes: from what is finished, or, where it learns nothing from that, the rest of one sequence."""
    import optuna

    if search.method == "tpe":
        sampler = optuna.samplers.TPESampler(seed=_seed(search, "round", number), multivariate=True, constant_liar=True)
        study = _study(sampler)
        for values, objective in finished:
            study.add_trial(
                optuna.trial.create_trial(params=_indexed(ranges, values), distributions=_distributions(ranges), value=objective)
            )
        yield from _asked(study, ranges)
    elif search.method == "sobol":
        first = 1  # which Optuna draws at random, to learn the space from it
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=search.seed)
        yield from itertools.islice(_asked(_study(sampler), ranges), first + len(finished), None)
    else:
        yield from itertools.islice(_asked(_study(optuna.samplers.RandomSampler(seed=search.seed)), ranges), len(finished), None)


def _asked_at_random(search: Search, ranges: Mapping[str, Interval | Choices], number: int) -> Iterator[Values]:
    import optuna

    yield from _asked(_study(optuna.samplers.RandomSampler(seed=_seed(search, "again", number))), ranges)


def _study(sampler: BaseSampler) -> Study:
    import optuna

    return optuna.create_study(sampler=sampler, study_name="search", direction="minimize")


def _asked(study: Study, ranges: Mapping[str, Interval | Choices]) -> Iterator[Values]:
    """One proposal after the other, each aware that those before it are being tried."""
    distributions = _distributions(ranges)
    while True:
        drawn = study.ask(distributions).params
        yield {key: _value(each, drawn[key]) for key, each in ranges.items()}


def _distributions(ranges: Mapping[str, Interval | Choices]) -> dict[str, BaseDistribution]:
    return {key: _distribution(each) for key, each in ranges.items()}


def _distribution(each: Interval | Choices) -> BaseDistribution:
    from optuna import distributions

    if isinstance(each, tuple):
        return distributions.CategoricalDistribution(range(len(each)))
    if each.is_whole:
        return distributions.IntDistribution(int(each.start), int(each.last), log=each.scale == "log", step=int(each.step or 1))
    return distributions.FloatDistribution(float(each.start), float(each.last), log=each.scale == "log", step=each.step)


def _value(each: Interval | Choices, drawn: Any) -> Any:
    """What was drawn, as it stands in a config."""
    if isinstance(each, tuple):
        return each[drawn]
    if each.is_whole:
        return int(drawn)
    value = float(f"{drawn:.{DIGITS}g}") if each.step is None else rounded(float(drawn))
    return min(max(value, float(each.start)), float(each.last))


def _indexed(ranges: Mapping[str, Interval | Choices], values: Values) -> Values:
    """What stands in a config, as Optuna calls it."""
    return {key: each.index(values[key]) if isinstance(each, tuple) else values[key] for key, each in ranges.items()}


def _seed(search: Search, what: str, number: int) -> int:
    return int(hashlib.sha256(f"{search.seed} {what} {number}".encode()).hexdigest()[:8], 16)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says nothing, neither through its log nor that what is used of it may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _refuse_without_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError("a search needs Optuna, which is not installed; type: pip install 'sciml-jax[search]'") from error
