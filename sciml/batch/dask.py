"""The Dask engine: attempts as tasks of dask.distributed, on this machine or on any cluster that a Dask scheduler stands for."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from typing import Any

import sciml
from sciml.batch.attempt import Task, attempt
from sciml.batch.engines import EngineLostError, Slot, my_cores, share_out
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
        self._address = settings.dask
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
        else:
            _greet(address)
        self._client = Client(address, timeout=PATIENCE, set_as_default=False)
        self._refuse_other_versions()
        self._to_say = [] if self._cluster else self._find_surprises(settings)
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told by `look`
        self._executor = self._client.get_executor(pure=False)

    def submit(self, task: Task) -> Future[dict[str, Any]]:
        return self._executor.submit(attempt_on_worker, task, self._slots)

    def cancel(self, future: Future[dict[str, Any]]) -> None:
        """Dask cannot tell what has begun: cancelling would abandon a run that is saving. Without a worker, nothing has."""
        if not self._has_workers():
            future.cancel()

    def look(self) -> str:
        """Raises `EngineLostError` where the Dask scheduler is gone."""
        if self._client.status != "running":
            raise EngineLostError(
                f"--dask {self._address}: the Dask scheduler is gone; runs that are under way may go on, and the same command, once there "
                "is a scheduler again, waits for them and goes on with the others"
            )
        said, self._to_say = "; ".join(self._to_say), []
        return said

    def _has_workers(self) -> bool:
        return self._client.status == "running" and bool(self._client.nthreads())

    def _find_surprises(self, settings: Settings) -> list[str]:
        """What a user of a Dask scheduler elsewhere may not expect."""
        ours = [name for name in ("workers", "threads", "devices") if getattr(settings, name)]
        without_effect = f"{', '.join(ours)} of [engine] say nothing here: the workers of the Dask scheduler are what they are"
        nobody = f"no worker has come yet; `dask worker {self._address}` starts one"
        return ([without_effect] if ours else []) + ([] if self._has_workers() else [nobody])

    def shutdown(self) -> None:
        self._executor.shutdown(wait=self._has_workers())
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


def _greet(address: str) -> None:
    """Raises `ConfigError` where no Dask scheduler answers at `address`, whatever else does."""
    from distributed.comm.core import connect

    async def greet() -> None:
        comm = await connect(address, timeout=PATIENCE)
        await comm.close()

    try:
        asyncio.run(asyncio.wait_for(greet(), 2 * PATIENCE))
    except Exception as error:  # what speaks another protocol makes anything of it
        raise ConfigError(
            f"--dask {address}: no Dask scheduler can be reached there ({error or type(error).__name__}); start one, or use --dask local"
        ) from error


def attempt_on_worker(task: Task, slots: list[Slot]) -> dict[str, Any]:
    """One attempt at a run, on the cores that belong to this worker."""
    from distributed import get_worker

    name = str(get_worker().name)
    if slots and name.isdecimal():
        slot = slots[int(name) % len(slots)]
        task = task._replace(**slot._asdict())
    return attempt(task)


def worker_version() -> str:
    """The version of sciml where this is executed."""
    return sciml.__version__
