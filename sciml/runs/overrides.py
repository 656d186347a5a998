"""Changes to a config: `--set network.width=30` on the command line, read as TOML values, or `network.width` as a sweep's axis."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

OPENING = tuple("[{'\"")
"""Where a TOML list, table or text begins."""


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Write every `key.path=value` into `data` (a parsed TOML document, changed in place); return the mistakes found."""
    return [mistake for override in overrides if (mistake := _apply(data, override))]


def parse_value(text: str) -> Any:
    """The TOML value that `text` spells, and the text itself where it spells none (so that names need no quotes)."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if set(document) == {"value"} else text


def _apply(data: dict[str, Any], override: str) -> str | None:
    path, equals, text = override.partition("=")
    text = text.strip()
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        return f"--set {override!r} is not of the form key.path=value; for example --set network.width=30"
    if text[:1] in OPENING and isinstance(parse_value(text), str) and not _is_text(text):
        return f"--set {override!r}: the value is not TOML; close every bracket and quote, and write text in quotes"
    return set_value(data, path, parse_value(text), f"--set {override!r}")


def set_value(data: dict[str, Any], path: str, value: Any, said: str) -> str | None:
    """Write `value` at `path` (`network.width`, `phases.0.steps`) into `data`; return the mistake found, beginning with `said`."""
    keys = [key.strip() for key in path.split(".")]
    place: Any = data
    for depth, key in enumerate(keys[:-1]):
        where = ".".join(keys[: depth + 1])
        if isinstance(place, dict) and key not in place and keys[depth + 1].isdecimal():
            return f"{said}: there is no list '{where}' in the config; {_advice(keys, place)}"
        if isinstance(place, dict):
            place = place.setdefault(key, {})
        elif (index := _index(place, key)) is not None:
            place = place[index]
        else:
            return f"{said}: there is no '{where}' in the config; {_advice(keys, place)}"
    if isinstance(place, dict):
        place[keys[-1]] = value
    elif (index := _index(place, keys[-1])) is not None:
        place[index] = value
    else:
        return f"{said}: there is no '{path.strip()}' in the config; {_advice(keys, place)}"
    return None


def _is_text(text: str) -> bool:
    """Whether it is a whole quoted text."""
    return len(text) > 1 and text[0] in "'\"" and text[-1] == text[0]


def _index(place: Any, key: str) -> int | None:
    if isinstance(place, list) and key.isdecimal() and int(key) < len(place):
        return int(key)
    return None


def _advice(keys: list[str], place: Any) -> str:
    if isinstance(place, list):
        return f"'{keys[0]}' lists {len(place)}, counted from 0."
    if keys[0] == "phases":
        return 'list the phases first, for example --set \'phases=[{kind="adam"}, {kind="broyden"}]\''
    return f"what stands there is {place!r}, which has no parts." if not isinstance(place, dict) else "write the whole list."
