"""Figures show what they should: panels, labels, the switch and its reason; and the files are images."""

from types import SimpleNamespace

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.colors import LogNorm
from PIL import Image

import sciml
from sciml import figures
from sciml.figures import dynamics
from sciml.figures.style import STYLE, new_figure, save, symbol
from sciml.reference.grid import Reference, exact_reference
from sciml.solution import Solution


class Line(sciml.Problem):
    """One coordinate."""

    domain = sciml.Box(x=(0.0, 1.0))

    def equation(self, u_xx):
        return u_xx

    def exact(self, x):
        return x


class Wave(sciml.Problem):
    """Time and one coordinate of space."""

    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u_t, u_x):
        return u_t + u_x

    def exact(self, t, x):
        return jnp.sin(3 * (x - t))


class Membrane(sciml.Problem):
    """Two coordinates of space."""

    domain = sciml.Box(x=(0.0, 1.0), y=(0.0, 1.0))

    def equation(self, u_xx, u_yy):
        return u_xx + u_yy

    def exact(self, x, y):
        return x * y


class Plate(sciml.Problem):
    """Time and two coordinates of space."""

    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0), y=(0.0, 1.0))

    def equation(self, u_t, u_xx, u_yy):
        return u_t - u_xx - u_yy

    def exact(self, t, x, y):
        return t * x * y


class Space(sciml.Problem):
    """Four coordinates."""

    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0), y=(0.0, 1.0), z=(0.0, 1.0))

    def equation(self, u_t, u_zz):
        return u_t - u_zz


def solve(problem, shape=None, error=1e-5):
    """What a training of `problem` might give: the exact solution and a small error."""
    names = problem.domain.coordinates

    def evaluate(points):
        exact = problem.exact(*points.T) if hasattr(problem, "exact") else points.prod(axis=1)
        return np.asarray(exact + error * points[:, 0])[:, None]

    reference = exact_reference(problem, names, ("u",), shape) if hasattr(problem, "exact") else None
    return Solution(problem, evaluate, reference)


def panels(figure):
    """Axes without the colour bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def titles(figure):
    return [axes.get_title("left") for axes in panels(figure)]


def window(step, ratio):
    terms = {"equation": 2 * ratio, "boundary": 3 * ratio}
    return {"step": step, "nsr": ratio, "bound": 1.2 * ratio, "armed": step > 300, "terms": terms}


def history(adam=20, broyden=30, **columns):
    rows = []
    for number in range(1, adam + broyden + 1):
        first = number <= adam
        row = {
            "step": 25 * number,
            "phase": 0 if first else 1,
            "kind": "adam" if first else "broyden",
            "loss": 10.0 ** (-number / 5),
            "terms": {"equation": 10.0 ** (-number / 5), "initial_u": 10.0 ** (-number / 4)},
            "nsr": 0.5 / number if first else None,
            "nsr_windows": [window(25 * number, 0.5 / number)] if first and number % 3 == 0 else [],
            "validation": 2 * 10.0 ** (-number / 5),
            "worst": 9 * 10.0 ** (-number / 5),
            "error": 10.0 ** (-number / 10),
            "unknowns": {},
        }
        rows.append(row | columns)
    return rows


RESULT = {
    "switch": {"step": 500, "nsr": 0.08, "threshold": 0.1, "by": "noise"},
    "error": {"reference": {"kind": "fourier_etdrk4", "estimated_error": 3e-5, "seconds": 1.0}},
}


# solution


def test_time_and_space_give_three_images_and_profiles_at_several_times():
    figure = figures.solution_figure(solve(Wave()))
    found = titles(figure)
    assert found[:2] == ["$u$, solution", "$u$, reference"]
    assert found[2].startswith("|error|, largest: $1.0 \\times 10^{-5}$")
    assert found[3:] == ["$t$ = 0", "$t$ = 0.25", "$t$ = 0.5", "$t$ = 0.75", "$t$ = 1"]
    images, profiles = panels(figure)[:3], panels(figure)[3:]
    assert {axes.get_xlabel() for axes in images} == {"$t$"}
    assert images[0].get_ylabel() == "$x$"
    assert {axes.get_xlabel() for axes in profiles} == {"$x$"}
    assert profiles[0].get_ylabel() == "$u$"
    assert isinstance(images[2].collections[0].norm, LogNorm)
    assert all([line.get_label() for line in axes.lines] == ["solution", "reference"] for axes in profiles)


def test_time_runs_to_the_right_whatever_the_order_of_coordinates():
    class Turned(Wave):
        """The same with time last."""

        domain = sciml.Box(x=(-1.0, 1.0), t=(0.0, 1.0))

        def exact(self, x, t):
            return jnp.sin(3 * (x - t))

    plain, turned = (panels(figures.solution_figure(solve(problem, (40, 40))))[0] for problem in (Wave(), Turned()))
    assert (turned.get_xlabel(), turned.get_ylabel()) == ("$t$", "$x$")
    colours = [np.asarray(axes.collections[0].get_array()).reshape(40, 40) for axes in (plain, turned)]
    np.testing.assert_allclose(colours[0], colours[1], atol=1e-4)


def test_without_time_there_are_three_images_in_true_proportion():
    figure = figures.solution_figure(solve(Membrane()))
    assert len(panels(figure)) == 3
    assert [axes.get_xlabel() for axes in panels(figure)] == ["$x$"] * 3
    assert {axes.get_aspect() for axes in panels(figure)} == {1.0}


def test_one_coordinate_gives_a_line_and_its_error():
    value, error = panels(figures.solution_figure(solve(Line())))
    assert (value.get_xlabel(), value.get_ylabel()) == ("$x$", "$u$")
    assert error.get_ylabel() == "|error of $u$|"
    assert error.get_yscale() == "log"


def test_three_coordinates_give_slices_at_several_times():
    figure = figures.solution_figure(solve(Plate(), (7, 8, 9)))
    assert len(panels(figure)) == 12
    assert titles(figure)[:4] == ["$t$ = 0", "$t$ = 0.333", "$t$ = 0.667", "$t$ = 1"]
    assert [panels(figure)[row].get_ylabel().split("\n")[0] for row in (0, 4, 8)] == ["$u$, solution", "$u$, reference", "$u$, |error|"]


def test_four_coordinates_give_lines_through_the_middle():
    found = panels(figures.solution_figure(solve(Space())))
    assert [axes.get_xlabel() for axes in found] == ["$t$", "$x$", "$y$", "$z$"]


def test_without_a_reference_only_the_solution_is_shown_and_that_is_said():
    solution = Solution(Wave(), lambda points: points[:, :1])
    figure = figures.solution_figure(solution)
    assert titles(figure)[0] == "$u$, solution"
    assert len(panels(figure)) == 6
    assert figure.get_suptitle() == "Wave, no reference"


def test_the_headline_never_states_an_error_below_that_of_the_reference():
    problem = Wave()
    exact = exact_reference(problem, ("t", "x"), ("u",), (11, 21))
    reference = Reference("fourier_etdrk4", exact.coordinates, exact.fields, 2e-6, 1.0)
    solution = Solution(problem, lambda points: np.asarray(problem.exact(*points.T))[:, None] + 1e-9, reference)
    headline = figures.solution_figure(solution).get_suptitle()
    assert "below $2.0 \\times 10^{-6}$" in headline
    assert "fourier etdrk4" in headline


def test_a_reference_at_one_time_alone_gives_lines():
    problem = Wave()
    exact = exact_reference(problem, ("t", "x"), ("u",), (3, 21))
    coordinates = {"t": exact.coordinates["t"][-1:], "x": exact.coordinates["x"]}
    reference = Reference("exact", coordinates, {"u": exact.fields["u"][-1:]}, 0.0, 0.0)
    figure = figures.solution_figure(Solution(problem, lambda points: points[:, :1], reference))
    assert figure.get_suptitle().endswith("at $t$ = 1")
    assert panels(figure)[0].get_xlabel() == "$x$"


@pytest.mark.parametrize("problem", [Line(), Wave(), Plate()], ids=lambda problem: problem.name)
@pytest.mark.parametrize("values", [0.0, np.nan], ids=["no error", "not finite"])
def test_a_perfect_and_a_broken_solution_can_be_drawn(problem, values, tmp_path):
    solution = solve(problem, error=values)
    assert figures.save(figures.solution_figure(solution), tmp_path / "figure.png").stat().st_size > 5000


def test_several_fields_have_rows_of_their_own():
    class Pair(Line):
        """Two fields."""

        def equation(self, u_x, v_x):
            return u_x - v_x

        def exact(self, x):
            return x, -x

    reference = exact_reference(Pair(), ("x",), ("u", "v"))
    figure = figures.solution_figure(Solution(Pair(), lambda points: np.hstack([points, points]), reference))
    assert [axes.get_ylabel() for axes in panels(figure)] == ["$u$", "|error of $u$|", "$v$", "|error of $v$|"]


# history


def test_the_history_shows_progress_terms_and_ratio():
    progress, terms, ratio = figures.history_figure(history(), RESULT).axes
    labels = [line.get_label() for line in progress.lines]
    assert "training loss" in labels
    assert "relative $L_2$ error" in labels
    assert "error of the reference, $3.0 \\times 10^{-5}$" in labels
    assert [text.get_text() for text in progress.texts] == ["adam", "broyden"]
    assert progress.get_title("right") == "switch at step 500 by noise: ratio 0.08 below 0.1"
    assert [line.get_label() for line in terms.lines] == ["equation", "initial u"]
    assert ratio.get_title("left") == "Noise-to-signal ratio of the gradient"
    assert {axes.get_yscale() for axes in (progress, terms, ratio)} == {"log"}
    assert {axes.get_xlabel() for axes in (progress, terms, ratio)} == {"step"}


def test_the_ratio_of_each_window_is_drawn_with_threshold_armed_instant_and_switch():
    *_, ratio = figures.history_figure(history(), RESULT).axes
    lines = {line.get_label(): line for line in ratio.lines}
    both = {"ratio of each window", "upper confidence bound", "threshold, 0.1", "risen, past a peak: armed", "switch"}
    assert set(lines) == both | {"equation", "boundary"}
    ends = [75, 150, 225, 300, 375, 450]
    np.testing.assert_array_equal(lines["ratio of each window"].get_xdata(), ends)
    np.testing.assert_allclose(lines["ratio of each window"].get_ydata(), [12.5 / end for end in ends])
    np.testing.assert_allclose(lines["boundary"].get_ydata(), [37.5 / end for end in ends])
    assert lines["risen, past a peak: armed"].get_xdata()[0] == 375
    assert lines["switch"].get_xdata()[0] == 500
    assert 450 < ratio.get_xlim()[1] < 600


def test_a_single_noisy_term_is_not_drawn_twice_and_a_second_phase_not_joined():
    rows = history()
    for row in rows:
        row["nsr_windows"] = [each | {"terms": {"equation": each["nsr"]}, "armed": False} for each in row["nsr_windows"]]
    later = [row | {"phase": 2, "kind": "adam", "step": row["step"] + 2000} for row in rows[:20]]
    *_, ratio = figures.history_figure([*rows, *later], RESULT).axes
    drawn = [len(line.get_xdata()) for line in ratio.lines if line.get_marker() == "o"]
    assert drawn == [6, 6]
    assert "equation" not in [line.get_label() for line in ratio.lines]


def test_an_exact_reference_does_not_stretch_the_scale():
    exact = {"error": {"reference": {"kind": "exact", "estimated_error": 1e-16, "seconds": 0.0}}}
    progress = figures.history_figure(history(), exact).axes[0]
    assert not any("reference" in line.get_label() for line in progress.lines)


def test_panels_without_rows_are_left_out_and_unknowns_have_one_each():
    rows = history(nsr=None, nsr_windows=[], terms={"equation": 1.0}, error=None, unknowns={"D": 0.1, "rate": 2.0})
    figure = figures.history_figure(rows, {"switch": None, "error": None})
    assert titles(figure) == ["Training", "Unknown coefficient $D$", "Unknown coefficient rate"]


def test_missing_numbers_are_gaps():
    rows = history()
    rows[7] = rows[7] | {"loss": None, "validation": None, "worst": None, "error": None}
    loss = next(line for line in figures.history_figure(rows, RESULT).axes[0].lines if line.get_label() == "training loss")
    assert np.isnan(loss.get_ydata()[7])


def test_phases_end_where_the_result_says():
    phases = [{"kind": "adam", "steps": 490}, {"kind": "lbfgs", "steps": 760}]
    progress = figures.history_figure(history(), RESULT | {"phases": phases}).axes[0]
    assert [text.get_text() for text in progress.texts] == ["adam", "lbfgs"]
    assert [patch.get_extents().width > 0 for patch in progress.patches] == [True, True]
    assert [text.xy[0] for text in progress.texts] == [245, 870]


def test_a_switch_that_the_noise_did_not_cause_says_so():
    assert figures.switch_text({"step": 1000, "by": "budget", "nsr": 0.5, "threshold": 0.1}) == "switch at step 1,000 by budget"
    assert figures.switch_text({"step": 7, "by": "noise", "nsr": None, "threshold": 0.1}) == "switch at step 7 by noise"


def test_one_row_is_enough(tmp_path):
    figure = figures.history_figure(history(adam=1, broyden=0), {})
    assert figures.save(figure, tmp_path / "history.png").exists()


# files


def test_all_figures_are_written_as_images_of_a_report_s_width(tmp_path):
    solution = solve(Wave(), (11, 21))
    solution.history.extend(history())
    solution.result.update(RESULT)
    written = figures.write_all(solution, tmp_path / "figures")
    assert [path.name for path in written] == ["solution.png", "history.png"]
    for path in written:
        with Image.open(path) as image:
            image.verify()
            assert image.format == "PNG"
            assert image.width == 1600


def test_without_a_history_there_is_no_history_figure(tmp_path):
    assert [path.name for path in figures.write_all(solve(Line()), tmp_path)] == ["solution.png"]


def test_drawing_leaves_no_global_state():
    before = dict(matplotlib.rcParams)
    figures.solution_figure(solve(Line()))
    assert dict(matplotlib.rcParams) == before
    assert Gcf.get_num_fig_managers() == 0


def discovery(channels):
    """As much of a discovery as its figures of fit and residuals ask for."""
    times = np.linspace(0.0, 1.0, 5)
    values = np.sin(times[:, None] + np.arange(channels))
    series = sciml.TimeSeries.from_arrays(times, values)
    noise = SimpleNamespace(kind="gaussian")
    return SimpleNamespace(
        series=series,
        held_out=None,
        curves=SimpleNamespace(channels=(((times, values),),), residuals=(np.zeros_like(values),)),
        shooting=SimpleNamespace(noise=noise),
    )


def test_what_runs_away_does_not_flatten_the_data():
    found = discovery(1)
    times, values = found.curves.channels[0][0]
    found.curves.channels = (((times, 1e6 * values),),)
    low, high = dynamics.fit_figure(found).axes[0].get_ylim()
    assert high - low <= 3 * np.ptp(found.series.values[0])


@pytest.mark.parametrize(("channels", "said"), [(6, ""), (9, "the first 6 of 9 channels")])
def test_channels_that_are_not_drawn_are_told(channels, said):
    fit, residuals = dynamics.fit_figure(discovery(channels)), dynamics.residuals_figure(discovery(channels))
    assert len(fit.axes) == 6
    assert fit.get_suptitle() == said.capitalize()
    assert residuals.axes[0].get_title(loc="left").partition("\n")[2] == said


@pytest.mark.parametrize("name", ["x", "%", "#", "_", "$", "in $ of 1990", "O2 %"])
def test_any_name_can_be_drawn(tmp_path, name):
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.0)
        figure.subplots().set_title(symbol(name))
        assert save(figure, tmp_path / "named.png").stat().st_size > 0
    assert symbol("x") == "$x$"
