"""`--set` values are what TOML says they are, and text otherwise."""

import pytest

from sciml.runs.overrides import apply_overrides, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", 30),
        ("1e-3", 1e-3),
        ("true", True),
        ('"30"', "30"),
        ("tanh", "tanh"),
        ("runs/a b", "runs/a b"),
        ("[1, 2]", [1, 2]),
        ('{kind = "adam"}', {"kind": "adam"}),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value


def test_overrides_make_the_tables_they_need():
    data = {"phases": [{"kind": "adam"}]}
    assert not apply_overrides(data, ["a.b.c=1", "phases.0.steps=2", "phases.0=3", "x = y"])
    assert data == {"phases": [3], "a": {"b": {"c": 1}}, "x": "y"}


def test_every_mistake_is_returned():
    data = {"phases": "auto", "list": [1]}
    found = apply_overrides(data, ["nothing", "phases.0.steps=1", "list.1=2", "list.first.x=2"])
    assert len(found) == 4
    assert "--set network.width=30" in found[0]
    assert "list the phases first" in found[1]
    assert "'list' lists 1, counted from 0" in found[2]


def test_what_begins_as_toml_must_be_toml():
    for text in ('phases=[{kind="adam"', "points={interior=64", 'device="cpu'):
        (mistake,) = apply_overrides({}, [text])
        assert "is not TOML; close every bracket" in mistake
    assert not apply_overrides({}, ["a='b'", 'c="d"', "e=[1, 2]", "f={}", "g=plain"])


def test_an_entry_of_a_list_that_is_not_there():
    (mistake,) = apply_overrides({}, ["phases.0.kind=adm"])
    assert "there is no list 'phases' in the config; list the phases first" in mistake
