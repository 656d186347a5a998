"""Files that survive a crash: written beside their place, synced, then moved there in one step. And what a disk refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sciml.errors import RunError
from sciml.runs.crash_points import reach

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk, an exhausted quota and a file size limit answer."""


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until the entries of a folder (new, renamed, removed files) are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below `folder`, and `folder` itself, is on the disk."""
    for here, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync_file(Path(here, name))
        sync_folder(Path(here))


def move(source: Path, target: Path) -> None:
    """Rename within one folder and wait until the disk knows; an existing file at `target` is replaced."""
    os.replace(source, target)
    sync_folder(target.parent)


@contextmanager
def replacing(path: Path, crash_point: str = "") -> Iterator[Path]:
    """A path to write to; on leaving, its content replaces `path` in one step. Nothing is left behind after an error."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        sync_file(temporary)
        reach(crash_point)
        move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_each(folder: Path) -> Iterator[Path]:
    """A new folder to write to; on leaving, each file in it takes its place in `folder` in one step."""
    temporary = folder / ".partial"
    temporary.mkdir(parents=True, exist_ok=True)
    yield temporary
    for path in sorted(temporary.iterdir()):
        sync_file(path)
        os.replace(path, folder / path.name)
    temporary.rmdir()
    sync_folder(folder)


def write_bytes(path: Path, content: bytes | memoryview, crash_point: str = "") -> None:
    """Replace the content of `path` in one step."""
    with replacing(path, crash_point) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str, crash_point: str = "") -> None:
    """Replace the content of `path` by UTF-8 text in one step."""
    write_bytes(path, text.encode(), crash_point)


def write_json(path: Path, content: Mapping[str, Any], crash_point: str = "") -> None:
    """Replace `path` by `content` as JSON in one step. Raises `ValueError` for NaN and infinity, which JSON does not have."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", crash_point)


def read_dataset(path: Path) -> Any:
    """A netCDF file as an xarray Dataset in memory. Raises `RunError` where it cannot be read."""
    import xarray

    try:
        return xarray.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds. Raises `RunError` for a file that cannot be read, naming it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} cannot be read: it holds no JSON object")
    return content


def content_hash(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def disk_errors(directory: Path, command: str = "resume") -> Iterator[None]:
    """Turns what the disk of a directory refuses into a `RunError` that says how to go on: with `sciml COMMAND`."""
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number in FULL:
            raise RunError(
                f"no space on disk for {directory} ({os.strerror(number)}); what was saved before is intact; "
                f"free space and `sciml {command} {directory}`"
            ) from error
        if isinstance(error, OSError):
            raise RunError(f"{directory}: {error}; once that is mended, `sciml {command} {directory}` goes on") from error
        raise


def _error_number(error: Exception) -> int:
    """The `errno` behind an error; TensorStore tells it only in its text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    told = re.search(r"os_error_code='(\d+)'", str(error))
    return int(told[1]) if told else 0


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
