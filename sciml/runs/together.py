"""Sessions whose runs differ in their seed alone, trained side by side in one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from sciml.runs.session import Session


def train_together(sessions: Sequence[Session]) -> Iterator[Session]:
    """Train all sessions, chunk by chunk; yields each as soon as its run has ended, with everything saved.

    Each goes on from its own checkpoint, wherever that stands.
    """
    from sciml.solve import Experiment
    from sciml.train import advance_together

    going = []
    for session in sessions:
        assert isinstance(session.experiment, Experiment)  # `build_seeds` makes no other
        if session.begin():
            going.append((session, session.experiment.training(session.resumed, session.config.log_every)))
        else:
            yield session
    over = [session for session, training in going if training.cursor.outcome is not None]
    yield from over
    going = [pair for pair in going if pair[0] not in over]
    while going:
        with ExitStack() as stack:
            laps = [stack.enter_context(session.watch.training()) for session, _ in going]
            snapshots = advance_together([training for _, training in going])
            for lap, snapshot in zip(laps, snapshots, strict=True):
                lap.phase = snapshot.phase
        ended = [session for (session, _), snapshot in zip(going, snapshots, strict=True) if session.take(snapshot)]
        going = [pair for pair in going if pair[0] not in ended]
        yield from ended
