"""The folder in which JAX keeps compiled programs: the user's own, because whoever can write there can run code as the user."""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sciml.device import available_cores
from sciml.errors import RunError

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
LOOKED = "looked-at"
"""The file whose time is that of the last look for torn programs."""
SLACK = 60.0
"""Seconds by which the clock of the disk may differ from ours."""
ZSTD = b"\x28\xb5\x2f\xfd"


def use_compile_cache() -> str | None:
    """Let JAX keep compiled programs in the private folder. Call it once the threads are set, before anything is compiled.

    How a program sums depends on the number of threads for which it was compiled, and so each number has its own folder.
    Returns a message where there can be no cache (a home that is read-only or full): then all is compiled anew.
    A folder that the user names by `JAX_COMPILATION_CACHE_DIR` is left as it is. Raises `RunError` for a folder of others.
    """
    import jax

    if os.environ.get(VARIABLE):
        return None
    try:
        programs = private_folder(os.environ) / f"threads-{available_cores()}"
    except OSError as error:
        return f"compiled programs are not kept: {error}"
    forget_torn(programs)
    jax.config.update("jax_compilation_cache_dir", str(programs))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return None


def forget_torn(folder: Path) -> None:
    """Remove programs that a killed process left half written: JAX would warn of them at every start, and never write them again.

    Looks at those that are newer than the last look. What another process is writing at this instant is lost, too, and compiled anew.
    Programs that JAX compressed by zstd, where that is installed, are left alone.
    """
    if not folder.is_dir():
        return
    looked, now = folder / LOOKED, time.time()
    since = looked.stat().st_mtime - SLACK if looked.exists() else 0.0
    for path in folder.glob("*-cache"):
        with suppress(OSError):  # another process looks, too, or the folder can only be read
            if path.stat().st_mtime >= since and not _whole(path.read_bytes()):
                path.unlink()
    with suppress(OSError):
        looked.touch()
        os.utime(looked, (now, now))


def _whole(program: bytes) -> bool:
    if program.startswith(ZSTD):
        return True
    try:
        zlib.decompress(program)
    except zlib.error:
        return False
    return True


def private_folder(environment: Mapping[str, str]) -> Path:
    """`sciml/compiled` in the user's cache folder, made if need be, open to the user alone (mode 0700).

    Raises `RunError` if it, or the folder that holds it, is a link or belongs to someone else; `OSError` if it cannot be made.
    """
    stated = Path(environment.get("XDG_CACHE_HOME", ""))
    base = stated if stated.is_absolute() else Path.home() / ".cache"
    folder = base / "sciml" / "compiled"
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(each)
    return folder


def _make_private(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise RunError(
            f"{folder}: compiled programs cannot be kept there, for it is a link or belongs to another user; "
            "remove it, or `export XDG_CACHE_HOME=` a folder of your own"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        folder.chmod(0o700)
