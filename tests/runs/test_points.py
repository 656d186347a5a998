"""Points come from CSV with errors that name the line, and fields go back with all their digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sciml.errors import ConfigError
from sciml.runs.points import count_outside, format_fields, read_points


def write(tmp_path, text):
    path = tmp_path / "points.csv"
    path.write_text(text)
    return path


def test_columns_are_found_by_name(tmp_path):
    path = write(tmp_path, "\ufeff x ,note,t\n0.5,a,1\n\n-1e-3,b,2\n")
    points = read_points(path, ("t", "x"))
    assert list(points) == ["t", "x"]
    np.testing.assert_array_equal(points["t"], [1.0, 2.0])
    np.testing.assert_array_equal(points["x"], [0.5, -1e-3])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is no column 't'"),
        ("t,X\n1,2\n", "there is no column 'x'"),
        ("t,x,x\n1,2,3\n", "'x' appears twice"),
        ("t,x\n", "holds no points"),
        ("t,x\n1,2\n1,two\n", "line 3, column x: 'two' is not a finite number"),
        ("t,x\n1\n", "line 2, column x: '' is not a finite number"),
        ("t,x\n1,nan\n", "'nan' is not a finite number"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path, text, expected):
    with pytest.raises(ConfigError) as caught:
        read_points(write(tmp_path, text), ("t", "x"))
    assert expected in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_points(tmp_path / "missing.csv", ("t",))
    (tmp_path / "binary.csv").write_bytes(b"t\n\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_points(tmp_path / "binary.csv", ("t",))


def test_many_mistakes_are_cut_short(tmp_path):
    with pytest.raises(ConfigError, match="and 90 more"):
        read_points(write(tmp_path, "t\n" + "a\n" * 100), ("t",))


@given(arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_survive_the_way_through_csv(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "out.csv"
    path.write_text(format_fields({"x": values}, {"u": -values}))
    again = read_points(path, ("x", "u"))
    np.testing.assert_array_equal(again["x"], values)
    np.testing.assert_array_equal(again["u"], -values)


def test_points_outside_the_domain_are_counted():
    points = {"t": np.array([0.0, 0.5, 2.0]), "x": np.array([0.0, -3.0, 9.0])}
    assert count_outside(points, {"t": (0.0, 1.0), "x": (-1.0, 1.0)}) == 2
