"""TimeSeries: what it reads, how it is split, and one clear error for each kind of bad input."""

from datetime import date, datetime, timedelta

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


@pytest.mark.parametrize(
    ("hold_out", "message"),
    [
        (9, r"takes 9 of the 10 points.*leave at least 2"),
        (11, r"takes 11 of the 10 points"),
        (0, r"takes 0 of the 10 points.*hold out at least 1"),
        (1.5, r"hold_out = 1.5; write how many of the last points to hold out, or a share between 0 and 1"),
        (np.nan, r"hold_out = nan; write how many"),
        ("3", r"hold_out = '3'; write how many"),
    ],
)
def test_split_refuses_to_leave_nothing(hold_out, message):
    with pytest.raises(ProblemError, match=message):
        TimeSeries.from_arrays(np.arange(10.0), np.arange(10.0) ** 2).split(hold_out)


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
        ("date;x\n2026-01-01;1,5\n2026-01-02;2,5\n", r"line 2, column 'x': '1,5' is not a number: its decimals are commas"),
        ("t,x,x\n0,1,2\n1,2,3\n", r"every column needs a name of its own"),
        (",t,x\n0,1,2\n1,2,3\n", r"every column needs a name of its own"),
        ("", r"needs a header and at least two rows"),
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


def test_a_file_with_another_name_is_suggested(tmp_path):
    (tmp_path / "pelts.csv").write_text("t,x\n0,1\n1,2\n")
    with pytest.raises(ProblemError, match=r"did you mean '.*pelts.csv'\?"):
        TimeSeries.from_csv(tmp_path / "pelst.csv")


# ── cells ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "values",
    [
        [1, None, 3],
        ["1", "", "3"],
        [True, np.nan, 3.0],
        pandas.Series([1, None, 3], dtype="Float64"),
        pandas.Series([1, None, 3], dtype="Int64"),
        np.array([1, pandas.NA, 3], dtype=object),
        np.ma.array([1, 2, 3], mask=[False, True, False]),
    ],
)
def test_gaps_of_every_kind_are_gaps(values):
    np.testing.assert_array_equal(TimeSeries.from_arrays([0, 1, 2], values).values[0][:, 0], [1, np.nan, 3])


@pytest.mark.parametrize("kind", ["Float64", "Int64", "object"])
def test_gaps_in_a_data_frame(kind):
    frame = pandas.DataFrame({"t": [0, 1, 2], "x": pandas.Series([1, pandas.NA, 3], dtype=kind)})
    np.testing.assert_array_equal(TimeSeries.from_pandas(frame).values[0][:, 0], [1, np.nan, 3])


@pytest.mark.parametrize("cell", ["b", 1j, np.datetime64("2026-01-31", "ns"), np.timedelta64(1, "ns"), [1.0, 2.0]])
def test_what_is_no_number_is_named_by_row_and_column(cell):
    """Of complex numbers `float` takes the real part, of dates nanoseconds."""
    cells = np.array([1.0, None, 3.0], dtype=object)
    cells[1] = cell
    along = {"t": [0, 1, 2]}
    for read in (
        lambda: TimeSeries.from_arrays([0, 1, 2], cells),
        lambda: TimeSeries.from_pandas(pandas.DataFrame(along | {"x": cells})),
        lambda: TimeSeries.from_xarray(xarray.Dataset({"x": ("t", cells)}, coords=along)),
        lambda: TimeSeries((np.arange(3),), (cells[:, None],), ("x",)),
    ):
        with pytest.raises(ProblemError, match=r"row 2, column 'x': .* is not a number; write a number, or NaN"):
            read()


def test_arrays_of_text_are_named_by_row_and_column():
    with pytest.raises(ProblemError, match=r"row 1, column 'x': 'a' is not a number") as caught:
        TimeSeries.from_arrays([0, 1, 2], ["a", "b", "c"])
    assert len(caught.value.mistakes) == 3
    with pytest.raises(ProblemError, match=r"row 2 of trajectory 2, column 'u': 'on' is not a number; write a number$"):
        TimeSeries.from_arrays([[0, 1], [0, 1]], [[1, 2], [1, 2]], controls=[[0, 1], ["0", "on"]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [0, 1, 2], "values": [1, 2]}, r"trajectory 1: times \(3,\), values \(2, 1\)"),
        ({"times": [[0, 1], [0, 1]], "values": [[1, 2]]}, r"got 2 times, 1 values"),
        ({"times": None, "values": [1, 2]}, r"times \(\), values \(2, 1\)"),
        ({"times": [0, 1], "values": [[1, 2], [3]]}, r"rows of unequal length; fill them up with NaN"),
        ({"times": [0, 1], "values": [[1, 2], [3, 4]], "names": ["x"]}, r"values \(2, 2\).*expected \(n,\), \(n, 1\)"),
        ({"times": [0, 1], "values": [[1, 2], [3, 4]], "names": ["x", "x"]}, r"two columns have the name 'x'"),
        ({"times": [0, 1], "values": [1, 2], "controls": [1]}, r"controls \(1, 1\); expected"),
        ({"times": [0, 1], "values": [1, 2], "controls": np.sin}, r"controls \(\); expected"),
        ({"times": [0, 1], "values": [1, 2], "control_names": ["u"]}, r"controls \(2, 0\); expected .*\(n, 1\)$"),
        ({"times": [], "values": []}, r"trajectory 1 has no points; at least 2"),
        ({"times": [0], "values": [1]}, r"row 1: trajectory 1 has 1 point; at least 2"),
        ({"times": [0, np.inf], "values": [1, 2]}, r"row 2, column 't': the time is missing or infinite"),
        ({"times": [0, 2, 1], "values": [1, 2, 3]}, r"row 3, column 't': the time 1 comes after 2 \(row 2\); sort"),
        ({"times": [[0, 1], [0, 0]], "values": [[1, 2], [1, 2]]}, r"row 2 of trajectory 2, column 't': the time 0 is repeated"),
        ({"times": [0, 1], "values": [3, 3]}, r"column 'x' is 3 in all 2 rows"),
        ({"times": [0, 1], "values": [np.nan, np.nan]}, r"column 'x' has no value"),
        ({"times": [0, 1], "values": [1, -np.inf]}, r"row 2, column 'x': infinite"),
    ],
)
def test_bad_arrays_get_one_clear_error(arguments, message):
    with pytest.raises(ProblemError, match=message):
        TimeSeries.from_arrays(**arguments)


def test_a_name_needs_no_list():
    series = TimeSeries.from_arrays([0, 1], [1, 2], "hare", controls=[5, 6], control_names="hunters")
    assert (series.names, series.control_names) == (("hare",), ("hunters",))
    dataset = xarray.Dataset({"hare": ("t", [1, 2]), "hunters": ("t", [5, 6])}, coords={"t": [0, 1]})
    assert TimeSeries.from_xarray(dataset, controls="hunters").control_names == ("hunters",)


# ── dates ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

NOONS = pandas.date_range("2026-01-31T12:00", periods=3)


@pytest.mark.parametrize(
    "times",
    [
        NOONS,
        NOONS.to_numpy().astype("datetime64[s]"),
        NOONS.tz_localize("Asia/Tokyo"),
        [datetime(2026, 1, 31, 12), datetime(2026, 2, 1, 12), datetime(2026, 2, 2, 12)],
        [date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)],
        ["2026-01-31", "2026-02-01", "2026-02-02 00:00"],
        ["2026-01-31T12:00Z", "2026-02-01T13:00+01:00", "2026-02-02T12:00Z"],
    ],
)
def test_dates_are_counted_from_the_earliest(times):
    series = TimeSeries.from_arrays(times, [1, 2, 4], unit="h")
    np.testing.assert_array_equal(series.times[0], [0, 24, 48])
    assert series.time_name == "t [h]"


@pytest.mark.parametrize(("unit", "elapsed"), [("ms", 86.4e6), ("s", 86400), ("min", 1440), ("h", 24), ("d", 1), ("y", 1 / 365.25)])
def test_units_of_time(unit, elapsed):
    assert TimeSeries.from_arrays(NOONS, [1, 2, 4], unit=unit).times[0][1] == pytest.approx(elapsed, rel=1e-15)


def test_trajectories_have_one_origin_of_time():
    series = TimeSeries.from_arrays([NOONS[1:], NOONS[:2]], [[1, 2], [3, 4]], unit="d")
    np.testing.assert_array_equal(series.times, [[1, 2], [0, 1]])


def test_durations_are_counted_from_zero():
    series = TimeSeries.from_arrays(np.array([2, 3], "timedelta64[h]"), [1, 2], unit="min")
    np.testing.assert_array_equal(series.times[0], [120, 180])


def test_dates_from_every_source(read):
    frame = pandas.DataFrame({"x": [1.0, 2, 4]}, index=NOONS.rename("date"))
    for series in (
        read("date,x\n2026-01-31,1\n2026-02-01,2\n2026-02-02,4\n", unit="d"),
        TimeSeries.from_pandas(frame, unit="d"),
        TimeSeries.from_pandas(frame.reset_index(), unit="d"),
        TimeSeries.from_xarray(xarray.Dataset(frame), time="date", unit="d"),
    ):
        np.testing.assert_array_equal(series.times[0], [0, 1, 2])
        assert (series.time_name, series.names) == ("date [d]", ("x",))


@pytest.mark.parametrize(
    ("times", "unit", "message"),
    [
        (["2026-01-31", "2026-02-01"], None, r"column 'date' holds dates or durations; say in which unit to count time: unit='d'"),
        (["2026-01-31", "2026-02-01"], "days", r"'days' is no unit of time: unit='d' .*or ms, s, min, h, d, y"),
        (["2026-02-01", "2026-01-31"], "d", r"line 3, column 'date \[d\]': the time 0 comes after 1"),
        (["2026-01-31", ""], "d", r"line 3, column 'date \[d\]': the time is missing"),
        (["2026-01-31", "7"], "d", r"line 3, column 'date': '7' is not a date as other times are; write it as in 2026-01-31"),
        (
            ["31/01/2026", "01/02/2026"],
            "d",
            r"line 2, column 'date': '31/01/2026' is not a number; write a number, or a date as in 2026-01-31",
        ),
        (["0", "1"], "d", r"unit='d' is for dates, but the times are numbers already; leave it out"),
    ],
)
def test_bad_dates_get_one_clear_error(read, times, unit, message):
    with pytest.raises(ProblemError, match=message):
        read(f"date,x\n{times[0]},1\n{times[1]},2\n", unit=unit)


# ── data frames ───────────────────────────────────────────────────────────────────────────────────────────────────────

COLUMNS = {"x": [1.0, 2, 3], "y": [1.0, 3, 2]}


@pytest.mark.parametrize(
    ("index", "time_name"),
    [(pandas.Index([0, 2, 5], name="year"), "year"), ([0.0, 2.0, 5.0], "t"), (pandas.RangeIndex(0, 6, 2, name="year"), "year")],
)
def test_an_index_with_a_name_or_fractions_is_time(index, time_name):
    series = TimeSeries.from_pandas(pandas.DataFrame(COLUMNS, index=index))
    assert (series.time_name, series.names) == (time_name, ("x", "y"))
    np.testing.assert_array_equal(series.times[0], np.asarray(index))


def test_an_index_of_trajectories_and_times():
    index = pandas.MultiIndex.from_tuples([("a", 0), ("a", 1), ("b", 0), ("b", 2)], names=["trajectory", "t"])
    series = TimeSeries.from_pandas(pandas.DataFrame({"x": [1.0, 2, 3, 4]}, index=index))
    np.testing.assert_array_equal(series.times, [[0, 1], [0, 2]])


@pytest.mark.parametrize("index", [[1900, 1901, 1903], range(1900, 1903), ["a", "b", "c"]])
def test_an_index_that_may_be_time_is_asked_about(index):
    frame = pandas.DataFrame(COLUMNS, index=index)
    with pytest.raises(ProblemError, match=r"may be time.*frame.rename_axis\('t'\).*frame.reset_index\(drop=True\)"):
        TimeSeries.from_pandas(frame)
    assert TimeSeries.from_pandas(frame.reset_index(drop=True)).names == ("y",)


def test_a_pandas_series_is_one_channel():
    series = TimeSeries.from_pandas(pandas.Series([1.0, 2, 4], index=[0.0, 1.5, 2.0], name="hare"))
    assert series.names == ("hare",)
    np.testing.assert_array_equal(series.times[0], [0, 1.5, 2])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pandas.DataFrame([[0, 1, 2], [1, 2, 3]], columns=["t", "x", "x"]), r"a name of its own; the header is t, x, x"),
        (pandas.DataFrame({"t": [0, 1], "x": [1, 2]}, index=pandas.Index([0, 1], name="t")), r"a name of its own; the header is t, t, x"),
        (pandas.DataFrame({"t": [], "x": []}), r"there are no rows"),
        (pandas.DataFrame({"t": [0, 1]}), r"no column is left for a state"),
        ({"t": [0, 1], "x": [1, 2]}, r"a dict is no data frame; give a DataFrame"),
    ],
)
def test_bad_frames_get_one_clear_error(frame, message):
    with pytest.raises(ProblemError, match=message):
        TimeSeries.from_pandas(frame)


# ── datasets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_data_array_is_one_channel_or_several():
    one = xarray.DataArray([1.0, 2, 4], dims="t", coords={"t": [0, 1, 3]}, name="hare")
    assert TimeSeries.from_xarray(one).names == ("hare",)
    assert TimeSeries.from_xarray(one.rename(None)).names == ("x",)
    both = xarray.DataArray([[1.0, 2, 4], [5, 6, 8]], dims=("animal", "t"), coords={"t": [0, 1, 3], "animal": ["hare", "lynx"]})
    series = TimeSeries.from_xarray(both)
    assert series.names == ("hare", "lynx")
    np.testing.assert_array_equal(series.values[0], [[1, 5], [2, 6], [4, 8]])
    assert TimeSeries.from_xarray(both.drop_vars("animal")).names == ("animal_0", "animal_1")


def test_a_data_array_of_trajectories():
    array = xarray.DataArray([[1.0, 2, 4], [5, 6, np.nan]], dims=("trajectory", "t"), coords={"t": [0, 1, 3]})
    assert [len(times) for times in TimeSeries.from_xarray(array).times] == [3, 2]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (xarray.DataArray([1.0, 2], dims="time", coords={"time": [0, 1]}), r"no dimension 't'; write time=\.\.\. .*known: time"),
        (xarray.DataArray([1.0, 2], dims="t"), r"the dimension 't' has no times; give it some: dataset.assign_coords\(t=times\)"),
        (xarray.DataArray(np.ones((2, 2, 2)), dims=("t", "a", "b"), coords={"t": [0, 1]}), r"variable 'x' lies along \(t, a, b\); only"),
        (xarray.DataArray(np.eye(2), dims=("t", "a"), coords={"t": [0, 1], "a": ["x", "x"]}), r"every channel needs a name of its own"),
        (xarray.Dataset(coords={"t": [0, 1]}), r"no variable is left for a state"),
        (np.arange(3.0), r"a ndarray is no dataset; give a Dataset or a DataArray"),
    ],
)
def test_bad_datasets_get_one_clear_error(dataset, message):
    with pytest.raises(ProblemError, match=message):
        TimeSeries.from_xarray(dataset)


@pytest.mark.parametrize("duration", [lambda k: np.timedelta64(k, "s"), lambda k: timedelta(seconds=k), lambda k: pandas.Timedelta(k, "s")])
def test_durations_of_any_kind_are_counted(duration):
    frame = pandas.DataFrame({"t": pandas.Series([duration(k) for k in range(4)], dtype=object), "x": [1.0, 2.0, 4.0, 8.0]})
    np.testing.assert_allclose(TimeSeries.from_pandas(frame, unit="s").times[0], range(4))


def test_masked_cells_of_any_kind_are_gaps():
    values = np.ma.array(np.array([1.0, 999.0, 3.0, 5.0], dtype=object), mask=[False, True, False, False])
    np.testing.assert_allclose(TimeSeries.from_arrays(range(4), values).values[0][:, 0], [1, np.nan, 3, 5])


def test_dates_and_durations_do_not_mix():
    days = np.arange(4).astype("timedelta64[D]")
    with pytest.raises(ProblemError, match="dates in some trajectories and durations in others"):
        TimeSeries.from_arrays([np.datetime64("2026-01-01") + days, days], [np.arange(4.0)] * 2, unit="d")


def test_whole_years_are_dates():
    years = np.array(["1900", "1901", "1903"], dtype="datetime64[Y]")
    np.testing.assert_allclose(TimeSeries.from_arrays(years, [1.0, 2.0, 4.0], unit="d").times[0], [0, 365, 1095])
