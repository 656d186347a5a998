"""Precision, device and threads: set once, before any array exists, and said once."""

from __future__ import annotations

import os
from typing import Literal

from sciml.errors import ConfigError

Precision = Literal["float64", "float32"]

_settled: dict[str, object] = {}
"""What the process computes with: JAX cannot change it once arrays exist."""


def configure(precision: Precision = "float64", device: str = "auto", threads: int | None = None, devices: int | None = None) -> None:
    """Sets JAX's floating point, matrix-product precision and platform; `threads` and `devices` count for the CPU.

    Must be called before JAX computes anything; later calls with other values raise `ConfigError`.
    """
    asked = {
        name: value for name, value in (("precision", precision), ("device", device), ("devices", devices)) if value not in ("auto", None)
    }
    for name, value in asked.items():
        if _settled.setdefault(name, value) != value:
            raise ConfigError(f"this process already computes with {name} = {_settled[name]!r}; start another one for {value!r}")
    if threads is not None and hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:threads])
    import jax

    jax.config.update("jax_enable_x64", precision == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        if devices is not None:
            jax.config.update("jax_num_cpu_devices", devices)
        if device != "auto":
            jax.config.update("jax_platforms", "cuda" if device == "gpu" else device)
        found = jax.devices()
    except RuntimeError as error:
        raise ConfigError(f"device '{device}' is not available here ({error}); use --device cpu") from error
    if device == "gpu" and found[0].platform != "gpu":
        raise ConfigError("device 'gpu' is not available here; install jax[cuda12] or use --device cpu")
