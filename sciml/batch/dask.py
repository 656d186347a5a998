"""The Dask engine: attempts as tasks of dask.distributed, on this machine or on any cluster that a Dask scheduler stands for."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

import sciml
from sciml.batch.attempt import Task, attempt
from sciml.batch.engines import Slot, my_cores, share_out
from sciml.batch.settings import Engine as Settings
from sciml.errors import ConfigError

PATIENCE = 10.0
"""Seconds in which a Dask scheduler has to answer."""

LOOPBACK = "127.0.0.1"


class Dask:
    """Runs on Dask workers, each of which is a process that starts, for each run, a process of its own.

    `settings.dask` is "local" for workers of this machine (nothing listens on any other address), or the address of a scheduler.
    What travels is a `Task`: paths and numbers. Raises `ConfigError` where Dask is not installed, the scheduler cannot be reached, or
    a worker has another version of sciml.
    """

    def __init__(self, settings: Settings) -> None:
        try:
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise ConfigError("the engine 'dask' is not installed; type: pip install 'sciml-jax[cluster]'") from error
        self._slots: list[Slot] = []
        self._cluster = None
        address: Any = settings.dask
        if address == "local":
            self._slots = share_out(settings, my_cores())
            self._cluster = address = LocalCluster(
                n_workers=len(self._slots),
                threads_per_worker=1,
                processes=True,
                host=LOOPBACK,
                dashboard_address=f"{LOOPBACK}:0",
                worker_dashboard_address=f"{LOOPBACK}:0",
                silence_logs=logging.CRITICAL,  # workers that end are not worth a warning: every attempt is noted by itself
            )
        try:
            self._client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"--dask {settings.dask}: no Dask scheduler can be reached there ({error}); start one, or use --dask local"
            ) from error
        self._refuse_other_versions()
        self._executor = self._client.get_executor(pure=False)

    def submit(self, task: Task) -> Future[dict[str, Any]]:
        return self._executor.submit(attempt_on_worker, task, self._slots)

    def cancel(self, future: Future[dict[str, Any]]) -> None:
        """Dask cannot tell what has begun: cancelling would abandon a run that is saving."""

    def look(self) -> str:
        return ""

    def shutdown(self) -> None:
        self._executor.shutdown(wait=True)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def _refuse_other_versions(self) -> None:
        versions: Any = self._client.run(worker_version, on_error="return")
        wrong = {address: version for address, version in versions.items() if version != sciml.__version__}
        if wrong:
            address, version = next(iter(wrong.items()))
            self._client.close()
            raise ConfigError(
                f"the Dask worker {address} has sciml {version}, this is {sciml.__version__}; install the same version on all workers"
            )


def attempt_on_worker(task: Task, slots: list[Slot]) -> dict[str, Any]:
    """One attempt at a run, on the cores that belong to this worker."""
    from distributed import get_worker

    name = str(get_worker().name)
    if slots and name.isdecimal():
        slot = slots[int(name) % len(slots)]
        task = task._replace(cores=slot.cores, device=slot.device)
    return attempt(task)


def worker_version() -> str:
    """The version of sciml where this is executed."""
    return sciml.__version__
