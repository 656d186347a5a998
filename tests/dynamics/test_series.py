"""TimeSeries: what it reads, how it is split, and one clear error for each kind of bad input."""

import numpy as np
import pandas
import pytest
import xarray

from sciml.dynamics.series import TimeSeries
from sciml.errors import ProblemError

TABLE = "year,hare,lynx\n1900,30,4\n1901,47.2,\n1903,70.2,9.8\n1904.5,NA,35.2\n"


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, **options):
        path = tmp_path / "table.csv"
        path.write_text(text)
        return TimeSeries.from_csv(path, **options)

    return write_and_read


def test_reads_irregular_times_and_gaps(read):
    series = read(TABLE)
    assert series.names == ("hare", "lynx")
    assert series.time_name == "year"
    np.testing.assert_array_equal(series.times[0], [1900, 1901, 1903, 1904.5])
    np.testing.assert_array_equal(series.values[0], [[30, 4], [47.2, np.nan], [70.2, 9.8], [np.nan, 35.2]])


@pytest.mark.parametrize("separator", [";", "\t", ", "])
def test_reads_other_separators(read, separator):
    assert read(TABLE.replace(",", separator)).points == 4


def test_trajectories_and_controls(read):
    series = read("trajectory,t,x,u\na,0,1,5\nb,0,2,5\na,1,3,6\nb,2,4,7\nb,3,5,8\n", controls=["u"])
    assert [len(times) for times in series.times] == [2, 3]
    assert series.names == ("x",)
    np.testing.assert_array_equal(series.controls[1][:, 0], [5, 7, 8])


def test_same_series_from_every_source(read):
    expected = read(TABLE)
    frame = pandas.DataFrame({"year": [1900, 1901, 1903, 1904.5], "hare": [30, 47.2, 70.2, None], "lynx": [4, None, 9.8, 35.2]})
    dataset = xarray.Dataset(frame.set_index("year"))
    for series in (TimeSeries.from_pandas(frame), TimeSeries.from_xarray(dataset, time="year")):
        assert series.names == expected.names
        np.testing.assert_array_equal(series.times[0], expected.times[0])
        np.testing.assert_array_equal(series.values[0], expected.values[0])


def test_xarray_trajectories_end_where_their_values_do():
    values = np.array([[1.0, 2, 3, 4], [5, 6, np.nan, np.nan]])
    dataset = xarray.Dataset({"x": (("trajectory", "t"), values)}, coords={"t": np.arange(4.0)})
    assert [len(times) for times in TimeSeries.from_xarray(dataset).times] == [4, 2]


@pytest.mark.parametrize(("hold_out", "left"), [(2, 8), (0.3, 7)])
def test_split_holds_out_the_last_points(hold_out, left):
    series = TimeSeries.from_arrays(np.arange(10.0), np.arange(10.0) ** 2)
    train, held_out = series.split(hold_out)
    assert len(train.times[0]) == left
    np.testing.assert_array_equal(np.concatenate([train.values[0], held_out.values[0]]), series.values[0])


def test_split_refuses_to_leave_nothing():
    with pytest.raises(ProblemError, match=r"takes 9 of the 10 points.*leave at least 2"):
        TimeSeries.from_arrays(np.arange(10.0), np.arange(10.0) ** 2).split(9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x\n0,1\n2,2\n1,3\n", r"line 4, column 't': the time 1 comes after 2 \(line 3\); sort"),
        ("t,x\n0,1\n1,2\n1,3\n", r"line 4, column 't': the time 1 is repeated \(also in line 3\); average"),
        ("t,x\n0,1\n", "trajectory 1 has 1 point; at least 2"),
        ("trajectory,t,x\na,0,1\nb,0,1\nb,1,2\n", r"line 2: trajectory 1 has 1 point; at least 2"),
        ("t,x,y\n0,1,3\n1,2,3\n", r"column 'y' is 3 in all 2 rows .* make it a control"),
        ("t,x,y\n0,1,\n1,2,nan\n", r"column 'y' has no value in any row; leave the column out"),
        ("t,x\n0,1\n1,about 2\n", r"line 3, column 'x': 'about 2' is not a number; write a number"),
        ("t,x\n0,1\n1,inf\n", r"line 3, column 'x': infinite"),
        ("t,x\n0,1\n,2\n", r"line 3, column 't': the time is missing"),
        ("t,x\n0,1\n1,2,3\n", r"line 3: 3 cells where the header has 2"),
        ("0.0,1.0\n1.0,2.0\n2.0,1.0\n", r"line 1: the first line holds numbers \(0.0, 1.0\); write a line of names"),
        ("t;x\n0,0;1,5\n1,0;2,5\n", r"line 2, column 't': '0,0' is not a number: its decimals are commas; write points instead"),
        ("t,x,x\n0,1,2\n1,2,3\n", r"every column needs a name of its own"),
        ("t\n0\n1\n", r"no column is left for a state"),
    ],
)
def test_bad_tables_get_one_clear_error(read, text, message):
    with pytest.raises(ProblemError, match=message):
        read(text)


def test_every_mistake_is_listed(read):
    with pytest.raises(ProblemError) as caught:
        read("t,x,y\n0,1,one\n1,two,2\n")
    assert len(caught.value.mistakes) == 2


def test_a_control_needs_every_value(read):
    with pytest.raises(ProblemError, match=r"line 3, column 'u': a control needs a finite value"):
        read("t,x,u\n0,1,1\n1,2,\n", controls=["u"])
    with pytest.raises(ProblemError, match=r"no column 'v' for a control"):
        read("t,x,u\n0,1,1\n1,2,2\n", controls=["v"])


def test_a_file_that_is_not_there():
    with pytest.raises(ProblemError, match=r"cannot read the table .*nowhere.csv: No such file"):
        TimeSeries.from_csv("nowhere.csv")


def test_arrays_that_contradict_each_other():
    with pytest.raises(ProblemError, match=r"trajectory 1: times \(3,\), values \(2, 1\)"):
        TimeSeries.from_arrays(np.arange(3.0), np.arange(2.0))
    with pytest.raises(ProblemError, match=r"row 2 of trajectory 2, column 't'"):
        TimeSeries.from_arrays([np.arange(3.0), np.zeros(2)], [np.arange(3.0), np.arange(2.0)])


def test_a_file_with_another_name_is_suggested(tmp_path):
    (tmp_path / "pelts.csv").write_text("t,x\n0,1\n1,2\n")
    with pytest.raises(ProblemError, match=r"did you mean '.*pelts.csv'\?"):
        TimeSeries.from_csv(tmp_path / "pelst.csv")
