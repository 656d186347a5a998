"""A solution is called by coordinate names, knows its error, and evaluates large grids in calls of one shape."""

import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.labelled import netcdf
from sciml.reference.grid import Reference, exact_reference
from sciml.solution import CHUNK, Solution, evaluate_grid, evaluate_points, measure_error


class Wave(sciml.Problem):
    """A travelling wave, $u_t + c u_x = 0$."""

    c: float = 0.5
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u_t, u_x):
        return u_t + self.c * u_x

    def exact(self, t, x):
        return jnp.sin(3 * (x - self.c * t))


class Oscillator(sciml.Problem):
    """Two fields over time alone."""

    domain = sciml.Box(t=(0.0, 1.0))

    def equation(self, u, v, u_t, v_t):
        return u_t - v, v_t + u


def wave(points, offset=0.0):
    return np.sin(3 * (points[:, 1:] - 0.5 * points[:, :1])) + offset


@pytest.fixture
def solution():
    problem = Wave()
    reference = exact_reference(problem, ("t", "x"), ("u",), (11, 21))
    return Solution(problem, lambda points: wave(points, 1e-3 * points[:, :1]), reference)


@pytest.fixture
def oscillator():
    return Solution(Oscillator(), lambda points: np.hstack([np.sin(points), np.cos(points)]))


def small_reference(estimated_error=0.0):
    fields = {"u": np.array([[3.0, 0.0], [0.0, 4.0]])}
    return Reference("exact", {"t": np.array([0.0, 1.0]), "x": np.array([-1.0, 1.0])}, fields, estimated_error, 0.25)


# calling


def test_coordinates_broadcast_and_one_field_comes_back_as_an_array(solution):
    x = np.linspace(-1, 1, 7)
    assert solution(t=0.0, x=x).shape == (7,)
    assert solution(t=np.zeros((3, 1)), x=x).shape == (3, 7)
    np.testing.assert_allclose(solution(t=0.0, x=x), np.sin(3 * x))


def test_the_order_of_keywords_does_not_matter(solution):
    assert solution(x=0.3, t=0.9) == solution(t=0.9, x=0.3)


def test_a_single_point_gives_a_number_and_no_point_an_empty_array(solution):
    assert solution(t=0.5, x=0.2).shape == ()
    assert solution(t=0.5, x=np.empty(0)).shape == (0,)


def test_several_fields_come_back_by_name(oscillator):
    values = oscillator(t=np.array([0.0, 1.0]))
    np.testing.assert_allclose(values["u"], np.sin([0.0, 1.0]))
    np.testing.assert_allclose(values["v"], np.cos([0.0, 1.0]))


def test_a_missing_and_an_unknown_coordinate_are_both_named(solution):
    with pytest.raises(sciml.ProblemError) as caught:
        solution(time=0.0, x=0.0)
    assert "'time' is not a coordinate" in str(caught.value)
    assert "coordinate 't' is missing; write solution(t=..., x=...)" in str(caught.value)


def test_shapes_that_do_not_broadcast_are_named(solution):
    with pytest.raises(sciml.ProblemError, match=r"t \(3,\), x \(4,\)"):
        solution(t=np.zeros(3), x=np.zeros(4))


# chunks


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17])
def test_every_call_has_the_same_shape_and_padding_does_not_show(count):
    shapes = []

    def evaluate(points):
        shapes.append(points.shape)
        return wave(points)

    points = np.random.default_rng(0).uniform(size=(count, 2))
    np.testing.assert_array_equal(evaluate_points(evaluate, points), wave(points))
    assert set(shapes) == {(CHUNK, 2)}


def test_a_grid_has_its_axes_in_the_order_of_the_coordinates():
    axes = {"t": np.linspace(0, 1, 70), "x": np.linspace(-1, 1, 90)}
    grid = evaluate_grid(lambda points: np.hstack([wave(points), points[:, :1]]), axes, ("u", "v"))
    t, x = np.meshgrid(*axes.values(), indexing="ij")
    np.testing.assert_array_equal(grid.fields["u"], np.sin(3 * (x - 0.5 * t)))
    np.testing.assert_array_equal(grid.fields["v"], t)


# errors


def test_the_error_is_what_the_definition_says():
    reference = small_reference()
    error = measure_error({"u": reference.fields["u"] + np.array([[0.0, 0.0], [0.5, 0.0]])}, reference)
    assert error.rel_l2 == pytest.approx(0.1)
    assert error.max_abs == 0.5
    assert error.where == {"t": 1.0, "x": -1.0}
    assert error.fields == {"u": error.rel_l2}
    assert error.reference == {"kind": "exact", "estimated_error": 0.0, "seconds": 0.25}
    assert not error.at_floor


def test_an_error_below_that_of_the_reference_is_marked_and_only_bounded_in_words():
    reference = small_reference(estimated_error=1e-6)
    error = measure_error({"u": reference.fields["u"] * (1 + 1e-8)}, reference)
    assert error.at_floor
    assert "below 1.0e-06, the error of the reference itself" in str(error)
    assert not measure_error({"u": reference.fields["u"] * (1 + 1e-5)}, reference).at_floor


def test_several_fields_count_together_and_each():
    axes = {"t": np.array([0.0, 1.0])}
    reference = Reference("exact", axes, {"u": np.array([3.0, 4.0]), "v": np.zeros(2)}, 0.0, 0.0)
    error = measure_error({"u": np.array([3.0, 4.0]), "v": np.array([0.0, 0.05])}, reference)
    assert error.rel_l2 == pytest.approx(0.01)
    assert error.fields == {"u": 0.0, "v": pytest.approx(0.01)}
    assert error.where == {"t": 1.0}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_infinitely_wrong(bad):
    values = small_reference().fields["u"].copy()
    values[0, 1] = bad
    error = measure_error({"u": values}, small_reference())
    assert error.rel_l2 == error.max_abs == np.inf
    assert error.where == {"t": 0.0, "x": 1.0}
    assert not error.at_floor


def test_a_missing_field_and_a_wrong_shape_are_errors():
    with pytest.raises(sciml.ProblemError, match="field 'u'"):
        measure_error({"w": np.zeros((2, 2))}, small_reference())
    with pytest.raises(sciml.ProblemError, match=r"\(2, 3\).*\(2, 2\)"):
        measure_error({"u": np.zeros((2, 3))}, small_reference())


def test_a_solution_measures_itself_on_the_grid_of_its_reference(solution):
    error = solution.error()
    assert error.max_abs == pytest.approx(1e-3)
    assert error.where["t"] == 1.0
    assert solution.on_grid().fields["u"].shape == (11, 21)


def test_without_a_reference_the_error_says_what_to_write(oscillator):
    with pytest.raises(sciml.ProblemError, match="write a method `exact` or `reference`"):
        oscillator.error()
    assert oscillator.on_grid().coordinates["t"][[0, -1]].tolist() == [0.0, 1.0]


# what others read


def test_the_dataset_holds_fields_reference_error_and_what_they_are(solution, tmp_path):
    import xarray

    path = tmp_path / "solution.nc"
    path.write_bytes(netcdf(solution.labelled()))
    with xarray.open_dataset(path, engine="h5netcdf") as stored:
        assert stored["u"].dims == ("t", "x")
        np.testing.assert_array_equal(stored["u_error"], stored["u"] - stored["u_reference"])
        np.testing.assert_array_equal(stored["u"].sel(t=0.0), stored["u_reference"].sel(t=0.0))
        assert stored.attrs["problem"] == "Wave"
        assert stored.attrs["coefficient_c"] == 0.5
        assert stored.attrs["rel_l2"] == solution.error().rel_l2
        assert stored["u_reference"].attrs["long_name"] == "u, reference (exact)"
        assert stored.identical(solution.to_xarray())


def test_a_coefficient_that_is_a_switch_is_stored(tmp_path):
    """netCDF knows no truth values."""
    import xarray

    class Switched(Wave):
        damped: bool = True

    path = tmp_path / "solution.nc"
    path.write_bytes(netcdf(Solution(Switched(), wave, None).labelled()))
    with xarray.open_dataset(path, engine="h5netcdf") as stored:
        assert stored.attrs["coefficient_damped"] == "True"


def test_a_dataset_without_reference_holds_the_fields_alone(oscillator):
    assert set(oscillator.to_xarray().data_vars) == {"u", "v"}


def test_the_representation_is_short_and_says_the_essential(solution, oscillator):
    text = repr(solution)
    assert text.startswith("Solution of Wave: u(t, x) on Box(t=(0, 1), x=(-1, 1)); rel-L2 ")
    assert len(text) < 250
    assert repr(oscillator) == "Solution of Oscillator: u(t), v(t) on Box(t=(0, 1))"


def test_plot_gives_a_figure_and_writes_it_where_asked(solution, tmp_path):
    figure = solution.plot(tmp_path / "wave.png")
    assert figure.axes
    assert (tmp_path / "wave.png").read_bytes().startswith(b"\x89PNG")


def test_a_reference_that_has_not_converged_says_nothing():
    reference = small_reference(estimated_error=1.2)
    error = measure_error({"u": 1.5 * reference.fields["u"]}, reference)
    assert error.at_floor
    assert "rel-L2 not known, for the reference has not converged" in str(error)
