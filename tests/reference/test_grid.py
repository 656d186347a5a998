"""References refuse arrays that contradict each other, and exact ones are evaluated where they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.errors import ProblemError
from sciml.reference import Reference, exact_reference


class Plane(sciml.Problem):
    """Two fields that are known everywhere."""

    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 2.0))

    def equation(self, u, v, u_t, v_x):
        return u_t - v_x

    def exact(self, x, t):
        return x + 10 * t, jnp.sin(x)


def make(**changes):
    grid = {"t": np.linspace(0, 1, 3), "x": np.linspace(0, 1, 4)}
    content = {
        "kind": "test",
        "coordinates": grid,
        "fields": {"u": np.zeros((3, 4))},
        "estimated_error": 0.0,
        "seconds": 0.0,
    }
    return Reference(**(content | changes))


def test_points_run_over_the_last_coordinate_first():
    reference = make(coordinates={"t": np.array([0.0, 1.0]), "x": np.array([5.0, 6.0, 7.0])}, fields={"u": np.zeros((2, 3))})
    assert reference.points().tolist() == [[0, 5], [0, 6], [0, 7], [1, 5], [1, 6], [1, 7]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": {"u": np.zeros((4, 3))}}, r"field 'u' has shape \(4, 3\); the grid has \(3, 4\)"),
        ({"fields": {"u": np.full((3, 4), np.nan)}}, "field 'u' is not finite at 12 grid points"),
        ({"fields": {}}, "no fields"),
        ({"coordinates": {}}, "no coordinates"),
        ({"coordinates": {"t": np.zeros((3, 1)), "x": np.linspace(0, 1, 4)}}, r"coordinate 't' has shape \(3, 1\)"),
        ({"coordinates": {"t": np.array([0.0, 2.0, 1.0]), "x": np.linspace(0, 1, 4)}}, "strictly increasing"),
        ({"estimated_error": float("nan")}, "estimated_error"),
        ({"seconds": -1.0}, "seconds"),
    ],
)
def test_contradictions_are_named(changes, message):
    with pytest.raises(ProblemError, match=message):
        make(**changes)


def test_exact_reference_matches_coordinates_by_name():
    problem = Plane()
    reference = exact_reference(problem, problem.domain.coordinates, problem.field_names)
    t, x = np.meshgrid(reference.coordinates["t"], reference.coordinates["x"], indexing="ij")
    assert reference.shape == (101, 201)
    assert reference.coordinates["x"][[0, -1]].tolist() == [-1.0, 2.0]
    np.testing.assert_allclose(reference.fields["u"], x + 10 * t, rtol=1e-15)
    np.testing.assert_allclose(reference.fields["v"], np.sin(x), rtol=1e-14)
    assert 1e-16 < reference.estimated_error < 1e-14
    assert reference.seconds > 0


def test_exact_reference_is_float64_in_a_float32_run():
    problem = Plane()
    with jax.enable_x64(False):
        reference = exact_reference(problem, problem.domain.coordinates, problem.field_names)
    np.testing.assert_allclose(reference.fields["v"][0], np.sin(reference.coordinates["x"]), rtol=1e-14)


def test_exact_reference_in_four_coordinates():
    class Room(sciml.Problem):
        domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0), y=(0.0, 1.0), z=(0.0, 1.0))

        def equation(self, u_t):
            return u_t

        def exact(self, t, x, y, z):
            return x + 2 * y + 4 * z + 8 * t

    found = exact_reference(Room(), Room.domain.coordinates, ("u",))
    assert found.shape == (9, 17, 17, 17)
    assert found.fields["u"][-1, -1, 0, 0] == 9.0


def test_exact_reference_counts_fields():
    problem = Plane()
    with pytest.raises(ProblemError, match="exact returns 2 field"):
        exact_reference(problem, problem.domain.coordinates, ("u",))


def test_a_shape_must_fit_the_coordinates():
    problem = Plane()
    with pytest.raises(ProblemError, match="a shape of 2 numbers"):
        exact_reference(problem, problem.domain.coordinates, problem.field_names, shape=(3, 3, 3))
