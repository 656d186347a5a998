"""Checkpoints: arrays and a cursor, written in one step, hashed, and never trusted unread. Keeps the latest two and the best."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from sciml.errors import RunError
from sciml.runs import files
from sciml.runs.crash_points import reach

SCHEMA_VERSION = 1
ARRAYS, CURSOR, MANIFEST = "arrays", "cursor.json", "manifest.json"
STAGING = ".staging"

MARGIN = 1 << 20
"""Bytes that must stay free beside a new checkpoint's arrays: for Orbax's own files, metrics and results."""

Name = Literal["latest", "best"]
KEEP: Mapping[str, int] = {"latest": 2, "best": 1}


class Checkpoint(NamedTuple):
    """What was saved: host arrays by path, the cursor, and a message where a newer checkpoint had to be skipped."""

    arrays: dict[str, np.ndarray]
    cursor: dict[str, Any]
    message: str | None = None


class _Damaged(Exception):
    """What is wrong with a checkpoint."""


class Store:
    """The `checkpoints` folder of a run directory. One process writes (under the run's lock), any may read.

    A checkpoint is a folder `latest-000012` or `best-000012` (numbers only grow): arrays in Orbax's format, the cursor, and
    a manifest with the SHA-256 of every file. It appears in one rename, after everything in it has been synced.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.folder = self.directory / "checkpoints"

    def clean(self) -> None:
        """Remove what a crash left half-written. For the holder of the run's lock only."""
        for leftover in self.folder.glob(f"{STAGING}*") if self.folder.is_dir() else ():
            shutil.rmtree(leftover)

    def save(self, name: Name, arrays: Mapping[str, np.ndarray], cursor: Mapping[str, Any]) -> None:
        """Write a checkpoint and remove those that it makes superfluous.

        `arrays` are host arrays of any shape and type by path; `cursor` is what JSON can hold. Raises `RunError` when the
        disk is full; the checkpoints written before stay.
        """
        numbered = self._numbered(name)
        target = self.folder / f"{name}-{numbered[0][0] + 1 if numbered else 1:06d}"
        staging = self.folder / f"{STAGING}-{target.name}"
        with files.disk_errors(self.directory), _removed_on_error(staging):
            self.folder.mkdir(parents=True, exist_ok=True)
            _require_space(self.folder, sum(np.asarray(array).nbytes for array in arrays.values()))
            _write(staging, arrays, cursor)
            reach("checkpoint:before-rename")
            files.move(staging, target)
            reach("checkpoint:after-rename")
            self._prune(name, target)

    def has_begun(self) -> bool:
        """Whether there is a checkpoint to go on from, readable or not."""
        return bool(self._numbered("latest"))

    def load_latest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; None where none was ever written. Raises `RunError` if all are damaged."""
        return self._load("latest")

    def load_best(self) -> Checkpoint | None:
        """The checkpoint of the best state, as `load_latest`."""
        return self._load("best")

    def _load(self, name: Name) -> Checkpoint | None:
        wrong: list[str] = []
        for _, folder in self._numbered(name):
            try:
                arrays, cursor = _read(folder)
            except _Damaged as error:
                wrong.append(f"checkpoint {folder.name} is damaged ({error})")
                continue
            return Checkpoint(arrays, cursor, f"{'; '.join(wrong)}; {folder.name} is used" if wrong else None)
        if wrong:
            raise RunError(
                f"{self.folder}: {'; '.join(wrong)}; no other can be used. "
                f"`rm -r {self.folder}` and then `sciml resume {self.directory}` trains anew"
            )
        return None

    def _numbered(self, name: Name) -> list[tuple[int, Path]]:
        """The checkpoints of one kind with their numbers, newest first."""
        found = self.folder.glob(f"{name}-*") if self.folder.is_dir() else ()
        numbers = [(int(number), path) for path in found if (number := path.name.rpartition("-")[2]).isdecimal()]
        return sorted(numbers, reverse=True)

    def _prune(self, name: Name, newest: Path) -> None:
        """Keep the newest readable ones; what cannot be read only uses up space."""
        kept = 1
        for _, folder in self._numbered(name):
            if folder == newest:
                continue
            if kept < KEEP[name] and not _damage(folder):
                kept += 1
                continue
            doomed = folder.with_name(f"{STAGING}-old-{folder.name}")
            folder.rename(doomed)
            shutil.rmtree(doomed)


def _require_space(folder: Path, size: int) -> None:
    """Raises `OSError` before Orbax begins what it cannot end: its parallel writers would fail one by one, and loudly."""
    if shutil.disk_usage(folder).free < size + MARGIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write(staging: Path, arrays: Mapping[str, np.ndarray], cursor: Mapping[str, Any]) -> None:
    host = {path: np.asarray(array) for path, array in arrays.items()}
    staging.mkdir()
    _write_arrays(staging / ARRAYS, host)
    reach("checkpoint:arrays-written")
    shapes = {path: list(array.shape) for path, array in host.items()}
    content = {"schema_version": SCHEMA_VERSION, "shapes": shapes, "cursor": cursor}
    (staging / CURSOR).write_text(json.dumps(content), encoding="utf-8")
    hashes = {name: files.content_hash(staging / name) for name in _file_names(staging)}
    (staging / MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    files.sync_tree(staging)


def _read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if damage := _damage(folder):
        raise _Damaged(damage)
    content = files.read_json(folder / CURSOR)
    if content["schema_version"] > SCHEMA_VERSION:
        raise RunError(f"{folder} was written by a later version of sciml; `pip install --upgrade sciml-jax` reads it")
    stored = _checkpointer().restore(folder.absolute() / ARRAYS)
    arrays = {path: _shaped(stored[path], shape) for path, shape in content["shapes"].items()}
    return arrays, content["cursor"]


def _shaped(array: np.ndarray, shape: list[int]) -> np.ndarray:
    return array if 0 not in shape else np.zeros(shape, array.dtype)


def _damage(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint; None if each is as it was written."""
    try:
        hashes = files.read_json(folder / MANIFEST)
        names = set(_file_names(folder)) - {MANIFEST}
        if names != set(hashes):
            return f"{min(names ^ set(hashes))} is {'missing' if set(hashes) - names else 'not in its manifest'}"
        wrong = [name for name in sorted(names) if files.content_hash(folder / name) != hashes[name]]
    except (OSError, RunError) as error:
        return str(error)
    return f"{wrong[0]} differs from its hash" if wrong else None


def _file_names(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


def _write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Orbax cannot store arrays without elements; one zero stands for them, and their shapes are kept beside."""
    import orbax.checkpoint

    filled = {path: array if array.size else np.zeros(1, array.dtype) for path, array in arrays.items()}
    with _quiet_orbax():
        _checkpointer().save(folder.absolute(), args=orbax.checkpoint.args.PyTreeSave(filled))


def _checkpointer() -> Any:
    """Synchronous and uncompressed: trained numbers do not shrink, and zstd costs more time than the disk."""
    import orbax.checkpoint

    return orbax.checkpoint.Checkpointer(orbax.checkpoint.PyTreeCheckpointHandler(use_ocdbt=True, use_compression=False))


@contextmanager
def _quiet_orbax() -> Iterator[None]:
    """Orbax logs a traceback for each error that it also raises; the raised one is enough."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _removed_on_error(folder: Path) -> Iterator[None]:
    """Frees the space of what could not be completed; what a writer still holds is left to the next `clean`."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
