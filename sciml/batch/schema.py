"""JSON Schemas of the files that a user writes, for editors that complete and check TOML."""

from __future__ import annotations

from typing import Any, Literal

from sciml.batch.settings import Sweep
from sciml.errors import ConfigError, suggest
from sciml.runs.config import json_schema

KINDS = ("config", "sweep")


def schema(kind: Literal["config", "sweep"] | str = "config") -> dict[str, Any]:
    """The JSON Schema of a config of any kind, or of a sweep's file. Raises `ConfigError` for another `kind`."""
    if kind not in KINDS:
        raise ConfigError(f"there is no schema of '{kind}'; {suggest(kind, KINDS)}")
    return json_schema() if kind == "config" else {"$schema": json_schema()["$schema"], **Sweep.model_json_schema()}
