"""environment.json: on what a run was computed, without anything that a run directory should not tell."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sciml
from sciml import device
from sciml.device import available_cores

NAME = "environment.json"
SCHEMA_VERSION = 1

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "equinox", "flax", "optax", "orbax-checkpoint", "xarray", "h5netcdf")
VARIABLES = re.compile(r"(JAX|XLA|SLURM)_\w+|CUDA_VISIBLE_DEVICES")
SECRETS = re.compile(r"JWT|TOKEN|SECRET|PASSWORD|CREDENTIAL|KEY")

DECIDES_BITS = ("versions", "device", "threads", "cpu", "variables", "compilation", "together")


def collect() -> dict[str, Any]:
    """Versions, device, cores, threads, git commit, allow-listed variables. Call it once JAX's devices have been set."""
    import jax

    devices = jax.local_devices()
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": {"python": platform.python_version(), "sciml": sciml.__version__} | _versions(),
        "platform": platform.platform(),
        "device": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "cores": os.cpu_count(),
        "threads": available_cores(),
        "cpu": _processor(),
        "commit": _commit(Path(sciml.__file__).parent.parent),
        "variables": allowed_variables(os.environ),
        "compilation": device.compilation(),
    }


def allowed_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that steer JAX and name a Slurm job; no others, and none that may hold a secret (`SLURM_JWT`)."""
    return {name: value for name, value in sorted(environment.items()) if VARIABLES.fullmatch(name) and not SECRETS.search(name)}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed between two environments of one run that may change the last digits of its numbers."""
    changed = []
    for key in DECIDES_BITS:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name) and not name.startswith("SLURM_")]
            changed += [f"{name} was {old.get(name)}, is {new.get(name)}" for name in names]
        elif old != new:
            changed.append(f"{key} was {old}, is {new}")
    return changed


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The CPU's model, as Linux names it."""
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8", errors="replace") if information.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _commit(checkout: Path) -> str | None:
    """The commit of the code, with `-dirty` behind it if files differ; None for installed code or where git is missing."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
