"""Who executes the attempts of a sweep. An engine is what `concurrent.futures` calls an executor, for tasks instead of functions."""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sciml.batch.attempt import Task, attempt
from sciml.batch.ending import Reason
from sciml.batch.settings import Engine as Settings
from sciml.device import available_cores
from sciml.errors import RunError

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists its devices."""


class EngineLostError(RunError):
    """What executes the runs is gone; they may go on without it."""


class Engine(Protocol):
    """Executes tasks, some at a time, in the order in which they are submitted."""

    def submit(self, task: Task) -> Future[dict[str, Any]]:
        """A future of what `attempt(task)` returns."""
        ...

    def cancel(self, future: Future[dict[str, Any]]) -> None:
        """Forget a task that has not begun, where the engine knows that; one that begins when all are to stop ends at once."""
        ...

    def look(self) -> str:
        """Called again and again while tasks are pending, by the thread that submits: a sentence that the user should read, or nothing."""
        ...

    def shutdown(self) -> None:
        """Forget what has not begun, wait for the rest, and release everything."""
        ...


class Slot(NamedTuple):
    """What one run at a time may use."""

    cores: tuple[int, ...]
    device: str = ""
    sharers: int = 1
    """Slots with the same device."""


class Local:
    """Runs on this machine: each attempt is watched by a thread, and every run is a process of its own (never a fork)."""

    def __init__(self, settings: Settings) -> None:
        self._slots: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        slots = share_out(settings, my_cores())
        for slot in slots:
            self._slots.put(slot)
        self._pool = ThreadPoolExecutor(len(slots), thread_name_prefix="sciml-run")
        self._disk_full = threading.Event()

    def submit(self, task: Task) -> Future[dict[str, Any]]:
        return self._pool.submit(self._attempt, task)

    def cancel(self, future: Future[dict[str, Any]]) -> None:
        future.cancel()

    def look(self) -> str:
        return ""

    def shutdown(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _attempt(self, task: Task) -> dict[str, Any]:
        if self._disk_full.is_set():  # the scheduler has not yet heard of it
            raise CancelledError
        slot = self._slots.get()
        try:
            note = attempt(task._replace(**slot._asdict()))
            if any(each["reason"] == Reason.DISK for each in (note, *note.get("others", ()))):
                self._disk_full.set()
            return note
        finally:
            self._slots.put(slot)


def make_engine(settings: Settings, directory: Path, slurm: bool = False) -> Engine:
    """The engine for the sweep in `directory`: Slurm where it is asked for, Dask where the settings name a scheduler, else this machine."""
    if slurm:
        from sciml.batch.slurm import Slurm

        return Slurm(settings, directory)
    if settings.dask is None:
        return Local(settings)
    from sciml.batch.dask import Dask

    return Dask(settings)


def my_cores() -> list[int]:
    """The cores that this process may use, by number; none where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def share_out(settings: Settings, cores: list[int]) -> list[Slot]:
    """One slot per worker: cores and devices dealt out in turn; with more workers than cores, cores are shared."""
    total = len(cores) or available_cores()
    workers = settings.workers or max(len(settings.devices), 1 if settings.threads is None and settings.devices else 0)
    workers = workers or max(1, total // (settings.threads or 1))
    threads = settings.threads or max(1, total // workers)
    slots = []
    for number in range(workers):
        mine = tuple(cores[(number * threads + each) % total] for each in range(min(threads, total))) if cores else ()
        slots.append(Slot(mine, settings.devices[number % len(settings.devices)] if settings.devices else ""))
    sharers = Counter(slot.device for slot in slots if slot.device)
    return [slot._replace(sharers=sharers.get(slot.device, 1)) for slot in slots]


def cuda_devices() -> tuple[str, ...]:
    """The CUDA devices that JAX would use on this machine, as `CUDA_VISIBLE_DEVICES` names them."""
    if not any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(filter(None, (name.strip() for name in named.split(","))))
    return tuple(str(number) for number in range(len(list(GPUS.glob("*")))))
