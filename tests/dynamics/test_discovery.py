"""A discovery as a run: real data in, coefficients with intervals out, stopped and resumed to the same bytes, loaded without a new fit."""

import json
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from scipy.integrate import solve_ivp
from systems import LotkaVolterra, lotka_volterra_path

import sciml
from sciml.dynamics.library import functions, polynomials
from sciml.dynamics.library_json import library_from, library_text
from sciml.dynamics.preparing import prepare
from sciml.dynamics.stages import lengths
from sciml.errors import ConfigError, ProblemError
from sciml.runs import discovery_report, execute
from sciml.runs.build import build_discovery
from sciml.runs.catalog import load_problem
from sciml.runs.config import parse_config
from sciml.runs.metrics import finite, read_rows
from sciml.runs.summary import summary
from sciml.settings import Adam, GivenField, Integrator, Shooting

PROBLEMS = Path(sciml.__file__).parent.parent / "problems"

FLU = {"kind": "discovery", "problem": "flu_1978", "log_every": 50, "phases": [{"kind": "adam", "steps": 100, "until": []}]}


@pytest.fixture(scope="module")
def flu(tmp_path_factory):
    return execute.run(parse_config(FLU), tmp_path_factory.mktemp("runs"))


def test_the_influenza_of_1978(flu):
    """The digitisation's own fit has 1.66 per day and 1 / 2.2 days (benmaier/boarding_school_SIR), with N and the start fixed."""
    found = flu.result["coefficients"]
    assert found["beta"]["value"] == pytest.approx(1.76, rel=0.01)
    assert found["gamma"]["value"] == pytest.approx(1 / 2.2, rel=0.01)
    for each in found.values():
        assert 0 < each["lower"] < each["value"] < each["upper"]
        assert each["reason"] is None
        assert each["inclusion"] is None
    assert found["beta"]["lower"] < 1.66 < found["beta"]["upper"]
    assert flu.result["scores"]["fit"]["model"]["r2"] > 0.97
    assert flu.result["error"] is None


def test_what_stands_in_the_run_directory(flu):
    for name in ("fit", "forecast", "phase_portrait", "residuals", "history"):
        assert (flu.directory / "figures" / f"{name}.png").stat().st_size > 10_000
    report = (flu.directory / "report.html").read_text()
    for text in ("Coefficients", "95 % interval", "Correlations", "Residuals", "Phase portrait"):
        assert text in report
    result = json.loads((flu.directory / "result.json").read_text())
    assert result["refit"]["converged"] is result["refit"]["joined"] is True
    assert result["correlations"]["beta"]["beta"] == pytest.approx(1)
    assert result["correlations"]["beta"]["gamma"] == pytest.approx(sciml.load(flu.directory).fit.correlation[0, 1], rel=1e-6)
    (band,) = result["forecast"]["trajectories"]
    assert len(band["times"]) == len(band["channels"]["in_bed"]["upper"])


def test_load_gives_what_the_run_found(flu):
    found = sciml.load(flu.directory)
    assert found.fit.steps == 0  # nothing was fitted again
    assert {name: each.value for name, each in found.coefficients.items()} == pytest.approx(
        {name: each["value"] for name, each in flu.result["coefficients"].items()}
    )
    band = found.forecast([14.0, 15.5])
    assert band.values.shape == (2, 1)
    assert np.all(band.lower < band.values)
    assert np.all(band.values < band.upper)
    assert "beta = 1.7" in found.equations()
    beta, gamma = (found.coefficients[name].value for name in ("beta", "gamma"))
    assert f"\\dot{{I}} &= {beta / 763:.4g} I S - {gamma:.4g} I" in found.equations("latex")
    with pytest.raises(ProblemError, match="increasing"):
        found.forecast([3.0, 2.0])
    with pytest.raises(ProblemError, match="it begins at t = 0, where the last window of the fit does, not at -1"):
        found.forecast([-1.0, 2.0])
    with pytest.raises(ProblemError, match=r"controls of shape \(3,\); give one row per time and one column per control, \(2, 0\)"):
        found.forecast([14.0, 15.0], controls=[1.0, 2.0, 3.0])


class Driven(sciml.Dynamics):
    """`x' = -k x + u` where `u` is measured: zero at first, then one."""

    k: sciml.Unknown = sciml.Unknown(0.5, positive=True)

    def vector_field(self, x, u):
        return -self.k * x + u

    def series(self):
        times = np.linspace(0.0, 8.0, 81)
        x = np.where(times < 4, 2 * np.exp(-times), 1 + (2 * np.exp(-4) - 1) * np.exp(-(times - 4)))
        noisy = x + 1e-4 * np.random.default_rng(0).standard_normal(81)
        return sciml.TimeSeries.from_arrays(times, noisy, ("x",), controls=(times >= 4.0).astype(float)[:, None], control_names=("u",))


def test_a_forecast_within_the_data_has_the_controls_of_the_data():
    found = sciml.discover(Driven(), progress=False, phases=(Adam(steps=20, until=()),))
    times = np.array([1.0, 3.5, 6.0, 9.0])
    expected = [2 * np.exp(-1), 2 * np.exp(-3.5), 1 + (2 * np.exp(-4) - 1) * np.exp(-2), 1 + (2 * np.exp(-4) - 1) * np.exp(-5)]
    np.testing.assert_allclose(found.forecast(times).values[:, 0], expected, atol=0.06)  # a step between two samples is a ramp
    off = found.forecast([9.0, 10.0], controls=[0.0, 0.0]).values[:, 0]
    on = found.forecast([9.0, 10.0]).values[:, 0]
    np.testing.assert_allclose(on[1], 1.0, atol=0.01)
    assert off[1] < 0.5


def test_a_forecast_has_the_controls_of_what_was_held_out():
    found = sciml.discover(Driven(), progress=False, hold_out=50, phases=(Adam(steps=20, until=()),))
    assert found.held_out.controls[0].min() == 0.0
    again = found.forecast(found.held_out.times[0])
    np.testing.assert_allclose(again.values, found.bands[0].values, rtol=1e-6)
    assert again.values[-1, 0] > 0.9


def test_stopped_and_resumed_gives_the_same_bytes(flu, tmp_path):
    stopped = execute.run(parse_config(FLU | {"execution": {"wall_limit": 1e-6}}), tmp_path)
    assert stopped.outcome == "stopped"
    resumed = execute.resume(stopped.directory, more=["execution.wall_limit=10000.0"])
    strip = lambda row: {name: value for name, value in row.items() if name != "seconds"}  # noqa: E731
    rows = [[strip(row) for row in read_rows(run.directory / "metrics.jsonl")] for run in (flu, resumed)]
    assert rows[0] == rows[1]
    assert resumed.result["coefficients"] == flu.result["coefficients"]


def test_what_is_loaded_of_a_sparse_model_of_a_problems_data():
    """The problem's own vector field has nothing to do with it; its data, noise and what is held out have."""
    library = polynomials(("hare", "lynx"), 1)
    coefficients = (("term", "state"), np.array([[0.0, 0.0], [0.4, 0.0], [0.0, -0.7]]))
    about = {"library": library_text(library), "states": '["hare", "lynx"]'}
    stored = xarray.Dataset({"coefficients": coefficients}, {"channel": ["hare", "lynx"]}, about)
    config = parse_config({"kind": "discovery", "problem": "hare_lynx", "vector_field": {"kind": "sparse"}})
    experiment = build_discovery(config, load_problem("hare_lynx", {}), stored)
    assert experiment.field.coefficients() == pytest.approx({"hare': hare": 0.4, "lynx': lynx": -0.7})
    assert experiment.noise == sciml.LogNormal()
    assert experiment.held_out.points == 5


def test_windows_grow_up_to_a_quarter_of_the_series():
    series = sciml.TimeSeries.from_arrays(np.arange(401.0), np.sin(np.arange(401.0)), ("x",))
    assert lengths(series, Shooting()) == (16, 64)
    assert lengths(series, Shooting(intervals=5, growth=3, longest=60)) == (5, 15, 45)
    assert lengths(series, Shooting(longest=5)) == (5,)
    assert lengths(sciml.TimeSeries.from_arrays(np.arange(4.0), np.arange(4.0), ("x",)), Shooting()) == (2,)


def test_a_series_alone_has_no_field_of_its_own():
    times, values = lotka_volterra_path()
    with pytest.raises(ProblemError, match='vector_field.kind = "given" needs a problem'):
        prepare(sciml.TimeSeries.from_arrays(times, values, ("x", "y")), vector_field=GivenField())


def test_a_library_survives_its_text():
    library = polynomials(("x", "y"), 3) + functions(("x", "y"), ("sin",), (1.0, 2.0))
    assert library_from(library_text(library)) == library


def test_a_network_does_not_fit_the_noise_and_its_band_holds_what_comes():
    """A state that nobody measured keeps the network from being read out."""
    times, level = np.linspace(0.0, 8.0, 41), 0.05
    truth = np.cos(1.5 * times) * np.exp(-0.1 * times)
    values = (truth + level * np.random.default_rng(1).standard_normal(41))[:, None]
    series = sciml.TimeSeries.from_arrays(times, values, ("x",))
    found = sciml.discover(series, vector_field=sciml.NeuralField(width=12, depth=1, hidden=1), hold_out=8, progress=False)
    assert 0.5 * level < found.fit.sigma[0] < 1.7 * level
    band = found.bands[0]
    assert np.mean((band.lower <= values[-8:]) & (values[-8:] <= band.upper)) >= 0.75
    assert np.median(band.upper - band.lower) < 2.0


class Oscillator(sciml.VectorField):
    """One of the two states is measured; `friction` stands beside a network where there is one."""

    stiffness: jax.Array
    friction: jax.Array
    network: Any = None
    states = ("x", "v")
    channels = ("x",)

    def __call__(self, t, state, controls):
        x, v = state
        force = 0.0 if self.network is None else self.network(state)[0]
        return jnp.stack([v, force - self.stiffness * x - self.friction * v])


def swing(columns):
    """A damped oscillation of stiffness 2.6e-4 and friction 4e-3, and its velocity, over 800 seconds."""
    times, rate = np.linspace(0.0, 800.0, 81), np.sqrt(2.6e-4 - 4e-6)
    path = np.exp((-2e-3 + 1j * rate) * times)
    both = np.stack([path.real, ((-2e-3 + 1j * rate) * path).real], axis=1)
    both += 0.01 * both.std(axis=0) * np.random.default_rng(0).normal(size=both.shape)
    return sciml.TimeSeries.from_arrays(times, both[:, :columns], ("x", "v")[:columns])


def test_a_vector_field_of_ones_own_is_fitted_like_a_problem():
    """Its coefficients are far from one, and the velocity is a state that nobody measured."""
    field = Oscillator(jnp.array(2e-4), jnp.array(1e-3))
    found = sciml.discover(swing(1), vector_field=field, progress=False, phases=(Adam(steps=20, until=()),))
    assert found.fit.converged
    for name, truth in {"stiffness": 2.6e-4, "friction": 4e-3}.items():
        each = found.coefficients[name]
        assert each.lower < each.value < each.upper
        assert abs(each.value - truth) < 3.5 * each.standard_error < 0.1 * truth
        assert float(getattr(found.vector_field, name)) == pytest.approx(each.value)
    assert not any("no equations" in text for text in found.warnings)
    assert "force - self.stiffness * x" in found.equations()
    assert f"friction = {each.value:.4g} [" in found.equations()


def test_a_network_in_a_vector_field_of_ones_own_stays_and_leaves_intervals():
    network = eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0))
    experiment = prepare(swing(1), vector_field=Oscillator(jnp.array(2e-4), jnp.array(1e-3), network))
    found = experiment.solution(experiment.objective.start)
    assert isinstance(found.vector_field, Oscillator)
    assert set(found.coefficients) == {"stiffness", "friction"}
    for each in found.coefficients.values():
        assert each.lower < each.value < each.upper


def test_terms_of_the_users_own_are_found():
    times = np.linspace(0.0, 6.0, 61)
    values = solve_ivp(lambda _, x: 0.3 - 0.7 * x**1.5, (0.0, 6.0), [2.0], t_eval=times, rtol=1e-10, atol=1e-12).y.T
    series = sciml.TimeSeries.from_arrays(times, values + 1e-3 * np.random.default_rng(0).normal(size=values.shape), ("x",))
    library = sciml.polynomials(("x",), 2) + sciml.user_terms(("x",), drag=lambda x: jnp.abs(x) ** 1.5)
    found = sciml.discover(series, vector_field=library, progress=False)
    assert set(found.coefficients) == {"x': 1", "x': drag"}
    assert found.coefficients["x': drag"].value == pytest.approx(-0.7, abs=4 * found.coefficients["x': drag"].standard_error)
    assert "drag" in found.equations()
    assert list(found.to_xarray()["term"].values) == list(library.names())
    assert set(found.inclusion) == set(found.coefficients)
    assert found.cross_validation is not None
    refitted = sciml.discover(series, vector_field=found.vector_field, progress=False)
    assert refitted.coefficients["x': drag"].value == pytest.approx(found.coefficients["x': drag"].value, rel=1e-4)
    assert not refitted.inclusion  # nothing was chosen from these data
    assert refitted.cross_validation is None


@pytest.mark.parametrize(
    ("noise", "message"),
    [("normal", "'normal' is not a noise; write 'gaussian', 'lognormal' or 'counts'"), (sciml.Gaussian, "Gaussian is not a noise")],
)
def test_a_noise_that_is_none(noise, message):
    series = sciml.TimeSeries.from_arrays(np.arange(20.0), np.sin(np.arange(20.0))[:, None], ("x",))
    with pytest.raises(ProblemError, match=message):
        prepare(series, noise=noise)
    assert prepare(series, noise="gaussian").noise == sciml.Gaussian()


def test_of_very_many_mistakes_some_are_spelled_out():
    with pytest.raises(ProblemError) as caught:
        sciml.TimeSeries.from_arrays(-np.arange(1000.0), np.sin(np.arange(1000.0))[:, None], ("x",))
    lines = str(caught.value).splitlines()
    assert lines[0] == "time series: 999 mistakes"
    assert len(lines) == 22
    assert lines[-1] == "  and 979 more"


def test_what_there_are_no_dynamics_behind():
    with pytest.raises(ProblemError, match=r"list: dynamics are found behind a sciml.TimeSeries, a CSV file or a sciml.Dynamics"):
        prepare([1.0, 2.0])


def test_a_fit_that_misses_the_data_says_so(tmp_path):
    """A position alone swings, which no equation of first order in it can."""
    times = np.linspace(0.0, 12.0, 121)
    table = tmp_path / "swing.csv"
    values = np.cos(times) + 0.02 * np.random.default_rng(0).normal(size=121)
    table.write_text("t,x\n" + "".join(f"{t},{x}\n" for t, x in zip(times, values, strict=True)))
    found = sciml.discover(table, progress=False)
    assert found.name == "swing"
    assert any("what the fit of x leaves over is a pattern, not noise" in text for text in found.warnings)
    with pytest.raises(ProblemError, match="the form 'nope' does not exist"):
        found.equations("nope")


def test_a_discovery_needs_double_precision():
    series = sciml.TimeSeries.from_arrays(np.arange(20.0), np.sin(np.arange(20.0))[:, None], ("x",))
    with pytest.raises(ConfigError, match="a discovery needs float64"):
        prepare(series, precision="float32")


def test_numbers_of_another_vector_field_are_refused():
    times = np.arange(20.0)
    series = sciml.TimeSeries.from_arrays(times, np.exp(-0.2 * times)[:, None], ("x",))
    experiment = prepare(series, vector_field=polynomials(("x",), 1))
    with pytest.raises(ProblemError, match="999 trained numbers do not fit its vector field, which has"):
        experiment.solution(np.zeros(999))


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (polynomials(("y",), 2), "3 terms over y; it needs terms over x, in this order"),
        (polynomials(("x",), 2).without(["1", "x", "x^2"]), "0 terms over x"),
        (["x", "x y"], r"str is not a library; sciml.polynomials\(\('x',\), 2\) makes one"),
    ],
)
def test_a_library_that_does_not_fit_the_series_is_told(library, message):
    series = sciml.TimeSeries.from_arrays(np.arange(20.0), np.sin(np.arange(20.0))[:, None], ("x",))
    with pytest.raises(ProblemError, match=message):
        prepare(series, vector_field=library)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t,x\n0,1\n1,a\n2,3\n", "line 3, column 'x': 'a' is not a number"),
        ("t,x\n0,1\n2,2\n1,3\n", "line 4, column 't': the time 1 comes after 2"),
        ("t,x\n0,1\n1,1\n2,1\n", "column 'x' is 1"),
    ],
)
def test_a_bad_table_is_one_clear_error(tmp_path, text, expected):
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(ProblemError) as caught:
        execute.run(parse_config({"problem": "table", "series": {"file": str(table)}}), tmp_path / "runs")
    assert expected in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_hares_and_lynxes_from_the_table_alone(tmp_path):
    """Nothing is told but that the last five years are held out; the report and the run directory are those of any run."""
    table = PROBLEMS / "hare_lynx.csv"
    document = {"kind": "discovery", "problem": "hare_lynx", "series": {"file": str(table)}, "hold_out": 5}
    run = execute.run(parse_config(document), tmp_path)
    found = run.result["coefficients"]
    assert set(found) == {"hare': hare", "hare': hare lynx", "lynx': lynx", "lynx': hare lynx"}
    for each in found.values():
        assert each["reason"] is None
        assert each["lower"] * each["upper"] > 0
        assert 0.5 < each["inclusion"] <= 1
    loaded = sciml.load(run.directory)
    assert loaded.inclusion == pytest.approx({name: each["inclusion"] for name, each in found.items()})
    assert loaded.cross_validation == pytest.approx(run.result["cross_validation"])
    assert 1 < loaded.cross_validation < 3
    assert "Unseen parts" in (run.directory / "report.html").read_text()
    assert "each fifth of the data predicted from the rest" in summary(run.directory, run.result)
    assert "Chosen again in simulated data" in (run.directory / "report.html").read_text()
    assert "chosen again in data simulated by the model: " in summary(run.directory, run.result)
    held_out = run.result["scores"]["held_out"]
    assert all(held_out["model"]["nrmse"] < 0.5 * held_out[name]["nrmse"] for name in ("constant", "persistence", "linear"))
    assert run.result["warnings"] == []
    assert (run.directory / "report.html").exists()


def test_a_solver_that_gives_up_is_told_and_never_a_crash(tmp_path):
    """Sixteen steps are too few for any window, so that nothing can be learned; all that a run writes exists nevertheless."""
    settings = Integrator(solver="tsit5", rtol=1e-12, atol=1e-12, max_steps=16)
    phases = (Adam(steps=5, until=()),)
    found = sciml.discover(LotkaVolterra(), integrator=settings, phases=phases, hold_out=5, progress=False)
    result = json.loads(json.dumps(finite(found.as_dict()), allow_nan=False)) | {"outcome": "ok", "problem": "lost"}
    assert any("does not get through the fitted windows, after t = 0: the steps became too many" in text for text in found.warnings)
    assert any(text.startswith("the forecast ends at") for text in found.warnings)
    assert any("predicts at least as well: do not use this forecast" in text for text in found.warnings)
    assert all(row["standard_error"] is None for row in result["coefficients"].values())
    assert set(found.to_xarray().data_vars) >= {"data_0", "fit_0", "forecast_values_0"}
    lost = result["scores"]["held_out"]["model"]
    assert lost["nrmse"] is lost["smape"] is lost["r2"] is lost["channels"]["x"]["rmse"] is None
    assert result["forecast"]["valid_time"] == 0
    assert "none that reaches all measured values; without a model: constant" in summary(tmp_path, result)
    assert "Forecast: none that reaches all measured values." in discovery_report.render(tmp_path, found, result)
    figure = found.plot()
    panel = next(axis for axis in figure.axes if axis.get_title(loc="left") == "$x$")
    drawn = {line.get_label(): np.asarray(line.get_ydata(), float) for line in panel.lines}
    np.testing.assert_array_equal(drawn["measured"], found.series.values[0][:, 0])
    assert not np.isfinite(drawn["fit"][1:]).any()
    assert not np.isfinite(drawn["forecast"]).any()
    assert any("the solver did not get anywhere" in axis.get_title(loc="left") for axis in figure.axes)
