"""Turns what pydantic finds wrong with a config into sentences: where, what, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sciml.errors import suggest

Path = tuple[str | int, ...]

LARGEST_SHOWN = 10**30

LIMITS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}

EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text in quotes",
    "dict_type": "a table",
    "tuple_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


class Sections:
    """The settings classes inside `root`, by the key under which they stand or by their `kind`."""

    def __init__(self, root: type[BaseModel], classes: Mapping[str, type[BaseModel]]) -> None:
        self.root = root
        self.classes = classes

    def holder(self, location: Sequence[str | int]) -> type[BaseModel]:
        """The class that holds the last key of a pydantic location (which names the members of unions, too)."""
        inside = [self.classes[part] for part in location[:-1] if isinstance(part, str) and part in self.classes]
        return inside[-1] if inside else self.root

    def elsewhere(self, key: str) -> str | None:
        """The full name of `key` where exactly one table of the config has it."""
        tables = {name: cls for name, cls in self.classes.items() if name in self.root.model_fields}
        names = [f"{name}.{key}" for name, cls in tables.items() if key in cls.model_fields]
        return names[0] if len(names) == 1 else None


def describe_mistakes(error: ValidationError, data: Mapping[str, Any], sections: Sections) -> dict[Path, str]:
    """One sentence for each mistake in `error`, by its place in `data`."""
    found: dict[Path, str] = {}
    for detail in error.errors():
        path = _path(detail, data)
        if detail["type"] != "too_short" or not detail["input"]:
            found[path] = _sentence(detail, path, sections)
    return found


def not_finite(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """A place and a sentence for every number in `data` that is infinite or not a number."""
    if isinstance(data, float) and not math.isfinite(data):
        yield path, f"{dotted(path)} = {data} is not a finite number; write for example {dotted(path)} = 1.0"
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from not_finite(value, (*path, key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from not_finite(value, (*path, index))


def dotted(path: Path) -> str:
    """A place in a config as `--set` spells it: `phases.0.steps`."""
    return ".".join(str(part) for part in path)


def toml(value: Any) -> str:
    """A value as one line of TOML, shortened where it is long."""
    if isinstance(value, BaseModel):
        kind = getattr(value, "kind", None)
        return f"{{kind = {toml(kind)}}}" if kind else "{}"
    if isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(toml(inner) for inner in value) + "]"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int) and abs(value) > LARGEST_SHOWN:
        text = f"{'-' if value < 0 else ''}{hex(abs(value))}"
    else:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def printable(text: str) -> str:
    """`text` with control characters spelled out, so that a config cannot write to the terminal what it likes."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _path(detail: ErrorDetails, data: Any) -> Path:
    """Where in `data` the mistake is: pydantic's location without the members of unions, which `data` does not have."""
    *outer, last = detail["loc"]
    path: list[str | int] = []
    for part in outer:
        inside = _child(data, part)
        if isinstance(inside, dict | list | tuple) or not path:
            path.append(part)
            data = inside
    is_key = isinstance(data, dict) and (last in data or detail["type"] == "missing")
    is_index = isinstance(data, list | tuple) and isinstance(last, int)
    return (*path, last) if is_key or is_index else tuple(path)


def _child(data: Any, part: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(part)
    if isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
        return data[part]
    return None


def _sentence(detail: ErrorDetails, path: Path, sections: Sections) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    where = dotted(path)
    advice = f"write for example {_example(detail, path, sections)}"
    match kind:
        case "extra_forbidden":
            return _unknown_key(str(path[-1]), where, detail["loc"], sections)
        case "missing":
            return f"'{where}' is missing; {advice}"
        case "literal_error":
            return f"{where} = {toml(value)} does not exist; {_closest(value, context['expected'])}"
        case "union_tag_invalid":
            return f"{where}.kind = {toml(context['tag'])} does not exist; {_closest(context['tag'], context['expected_tags'])}"
        case "union_tag_not_found":
            return f"{where} does not say its kind; {advice}"
        case "string_pattern_mismatch":
            return f"{where} = {toml(value)} is not a name (a lower-case letter, then letters, digits or _, at most 64); {advice}"
        case "too_short":
            return f"{where} is empty; {advice}"
        case _ if kind in LIMITS:
            limit, words = LIMITS[kind]
            return f"{where} = {toml(value)} {words} {context[limit]:g}; {advice}"
        case _ if kind in EXPECTED:
            return f"{where} = {toml(value)} is not {EXPECTED[kind]}; {advice}"
        case _:
            return f"{where} = {toml(value)} cannot be used ({detail['msg']}); {advice}"


def _unknown_key(key: str, where: str, location: Sequence[str | int], sections: Sections) -> str:
    holder = sections.holder(location)
    known = [field.alias or name for name, field in holder.model_fields.items()]
    close = get_close_matches(key, known, n=1, cutoff=0.8)
    if holder is sections.root and not close and (name := sections.elsewhere(key)):
        return f"unknown key '{where}'; did you mean '{name}'?"
    return f"unknown key '{where}'; {suggest(key, known)}"


def _example(detail: ErrorDetails, path: Path, sections: Sections) -> str:
    """The assignment of an example, or of the default, to the setting that is wrong."""
    names = [part for part in path if isinstance(part, str)]
    field = sections.holder(detail["loc"]).model_fields.get(names[-1]) if names else None
    value = 1.0 if field is None else _example_value(field)
    item = path and isinstance(path[-1], int)
    if item and isinstance(value, list | tuple) and value:
        value = value[0]
    return f"{dotted(path)} = {toml(value)}"


def _example_value(field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    return 1.0 if field.default is None or field.is_required() else field.default


def _closest(value: Any, expected: str) -> str:
    known = expected.replace(" or ", ", ").replace("'", "").split(", ")
    close = get_close_matches(str(value), known, n=1, cutoff=0.8)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
