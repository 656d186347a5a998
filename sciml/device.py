"""Precision, device, threads and how programs are compiled: set once, before any array exists, and said once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from sciml.errors import ConfigError

Precision = Literal["float64", "float32"]

BRIEF = {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
"""XLA's settings for the CPU with which programs compile sooner: docs/decisions/050-brief-compilation.md."""

PARTS = "xla_cpu_parallel_codegen_split_count"
"""XLA's setting for the number of parts that a program is compiled in: more than there are cores cost time."""

FULL = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
"""XLA's own choice, for what runs longer than it compiles."""

KNOWING = "0.10."
"""Versions of jaxlib that know these settings. One that does not know a flag ends the process."""

_settled: dict[str, object] = {}
"""What the process computes with: JAX cannot change it once arrays exist."""


def configure(precision: Precision = "float64", device: str = "auto", threads: int | None = None, devices: int | None = None) -> None:
    """Sets JAX's floating point, matrix-product precision and platform; `threads` and `devices` count for the CPU.

    Must be called before JAX computes anything; later calls with other values raise `ConfigError`. On a CPU, programs of this process are
    compiled briefly from then on; state `xla_backend_optimization_level` in XLA_FLAGS (its own value is 3) to have it otherwise.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision = {precision!r} is not known; write 'float64' or 'float32'")
    asked = {
        name: value for name, value in (("precision", precision), ("device", device), ("devices", devices)) if value not in ("auto", None)
    }
    for name, value in asked.items():
        if _settled.setdefault(name, value) != value:
            raise ConfigError(f"this process already computes with {name} = {_settled[name]!r}; start another one for {value!r}")
    if threads is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, _freest(threads))
    import jax

    jax.config.update("jax_enable_x64", precision == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        if devices is not None:
            jax.config.update("jax_num_cpu_devices", devices)
        if device != "auto":
            jax.config.update("jax_platforms", "cuda" if device == "gpu" else device)
        with _compile_briefly(device):
            found = jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that a platform it was asked for has a plugin
        raise ConfigError(f"device '{device}' is not available here ({error}); use --device cpu") from error
    if device == "gpu" and found[0].platform != "gpu":
        raise ConfigError("device 'gpu' is not available here; install jax[cuda12] or use --device cpu")


def optimised(function: Callable[..., Any], **settings: Any) -> Any:
    """`jax.jit` of what runs longer than it compiles, with all of XLA's optimisations where `configure` gave them up for the rest.

    As any jit with options of its own, it cannot be called while JAX traces something else.
    """
    import jax

    return jax.jit(function, compiler_options=FULL if compilation() == "brief" else None, **settings)


def put(values: Any, dtype: Any = None) -> Any:
    """An array of its own on the default device. `jnp.asarray` compiles a program for every shape; this compiles nothing."""
    import jax
    import numpy as np

    return jax.device_put(np.asarray(values, dtype), may_alias=False)


def random_key(seed: int) -> Any:
    """`jax.random.key(seed)`, the same bits; for the usual seeds and generator it compiles nothing."""
    import jax
    import numpy as np

    usual = 0 <= seed < 2**31 and jax.config.values["jax_default_prng_impl"] == "threefry2x32"
    return jax.random.wrap_key_data(put(np.array([0, seed], np.uint32))) if usual else jax.random.key(seed)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compilation() -> str:
    """How XLA compiles in this process: "brief", or in its "own" way."""
    return str(_settled.get("compilation", "own"))


def _freest(count: int) -> list[int]:
    """`count` of the cores that this process may use: those to which the fewest others are bound, as runs started by hand are."""
    allowed = os.sched_getaffinity(0)
    bound = dict.fromkeys(allowed, 0)
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            cores = os.sched_getaffinity(int(process))
            is_kernel = not Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended, or is not ours to look at
        if cores < allowed and not is_kernel:
            for core in cores:
                bound[core] += 1
    return sorted(allowed, key=lambda core: (bound[core], (core + os.getpid()) % len(allowed)))[:count]


@contextmanager
def _compile_briefly(device: str) -> Iterator[None]:
    """XLA reads its flags when the first device is asked for: BRIEF, where that is a CPU and the user stated none of them.

    Afterwards the variable is what it was, for processes that this one starts may have another XLA. The first call decides.
    """
    from jaxlib.version import __version__ as jaxlib

    before = os.environ.get("XLA_FLAGS")
    stated = before or ""
    on_cpu = device == "cpu" or (device == "auto" and (os.environ.get("JAX_PLATFORMS") == "cpu" or not _has_accelerator()))
    is_file = bool(stated) and not stated.startswith("-")
    settings = {**BRIEF, PARTS: available_cores()}
    free = not is_file and not any(name in stated for name in settings)
    if "compilation" in _settled or not (on_cpu and free and jaxlib.startswith(KNOWING)):
        _settled.setdefault("compilation", "own")
        yield
        return
    _settled["compilation"] = "brief"
    flags = (f"--{name}={str(value).lower()}" for name, value in settings.items())
    os.environ["XLA_FLAGS"] = " ".join(filter(None, (stated, *flags)))
    try:
        yield
    finally:
        os.environ.pop("XLA_FLAGS")
        if before is not None:
            os.environ["XLA_FLAGS"] = before


def _has_accelerator() -> bool:
    """Whether JAX will find a plugin for something that is not a CPU."""
    return any(find_spec(name) is not None for name in ("jax_plugins", "libtpu")) or bool(entry_points(group="jax_plugins"))
