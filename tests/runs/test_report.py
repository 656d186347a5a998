"""The report is one safe file: nothing from outside, nothing unescaped, and everything that a reader asks for."""

import base64
import json
import re
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import pytest

import sciml
from sciml.reference.grid import Reference, exact_reference
from sciml.runs import report
from sciml.runs.html import duration, number, plain, prose, tag
from sciml.solution import Solution

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x onerror=alert(1)> & \"quoted\""
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


class Wave(sciml.Problem):
    r"""A travelling wave, $u_t + c u_x = 0$.

    With $\nu = 10^{-3}$, from the second paragraph.
    """

    c: float = 0.5
    D: sciml.Unknown = sciml.Unknown(0.1, positive=True)
    domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

    def equation(self, u_t, u_x):
        return u_t + self.c * u_x  # travels

    def conditions(self):
        return [sciml.Initial(self.start, weight=100.0), sciml.Data({"t": [0.5], "x": [0.0]}, {"u": [1.0]})]

    def start(self, x):
        return jnp.sin(3 * x)

    def exact(self, t, x):
        return jnp.sin(3 * (x - self.c * t))


class Hostile(Wave):
    __doc__ = HOSTILE + "\n\n" + HOSTILE + " $" + HOSTILE + "$"

    def equation(self, u_t, u_x):
        return u_t + u_x + 0 * len("<script>alert('equation')</script>")


def result_of(error, **changes):
    return {
        "outcome": "ok",
        "seed": 3,
        "seconds": {"total": 83.2, "compile": 11.0, "training": 70.0},
        "parameters": 1981,
        "precision": "float64",
        "phases": [
            {"kind": "adam", "steps": 812, "evaluations": 812, "seconds": 6.1, "loss": 9e-3, "ended_by": "noise"},
            {"kind": "broyden", "steps": 5000, "evaluations": 5621, "seconds": 64.0, "loss": 3.1e-13, "ended_by": "budget"},
        ],
        "switch": {"step": 812, "nsr": 0.08, "threshold": 0.1, "by": "noise"},
        "error": error,
        "validation": {"mean_square": 4e-13, "worst": 4e-6},
        "unknowns": {"D": {"value": 0.0100012, "standard_error": 3.2e-6}},
        "baselines": {
            "method_of_lines": {"rel_l2": 4.4e-6, "seconds": 1.9},
            "least_squares": {"rel_l2": 1e-3, "seconds": 4.0, "unknowns": {"D": {"value": 0.0100345, "standard_error": 4.4e-6}}},
        },
    } | changes


@pytest.fixture
def directory(tmp_path):
    directory = tmp_path / "wave-0123abcd"
    (directory / "figures").mkdir(parents=True)
    for name in ("solution", "history", "extra_picture"):
        (directory / "figures" / f"{name}.png").write_bytes(PIXEL)
    (directory / "config.toml").write_text('problem = "wave"\nseed = 3\n')
    (directory / "environment.json").write_text(json.dumps({"versions": {"jax": "0.10.2"}, "cores": 2, "commit": None}))
    return directory


def solve(problem, error=1e-6, kind="exact", estimated_error=None):
    exact = exact_reference(problem, ("t", "x"), ("u",), (11, 21))
    own = exact.estimated_error if estimated_error is None else estimated_error
    reference = Reference(kind, exact.coordinates, exact.fields, own, 2.5)
    return Solution(problem, lambda points: np.asarray(problem.exact(*points.T))[:, None] * (1 + error), reference)


def written(directory, solution, **changes):
    error = None if solution.reference is None else solution.error().as_dict()
    path = report.write(directory, solution, result_of(error, **changes))
    assert path == directory / "report.html"
    return path.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).replace("\u00a0", " ").split())

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def named(self, name):
        return [attributes for found, attributes in self.found if found == name]


def test_it_says_what_was_solved_and_how_well(directory):
    page = Elements(written(directory, solve(Wave())))
    assert page.named("title") == [{}]
    for words in (
        "Wave", "A travelling wave,", "from the second paragraph", "return u_t + self.c * u_x  # travels".replace("  ", " "),
        "Initial(start, weight=100)", "Data(coordinates={t: 1 values, x: 1 values}", "−1 to 1", "to be found, from 0.1",
        "Relative L² error", "1.0 × 10 −6", "against the exact reference", "method of lines", "83 s", "11 s of it compiling",
        "Switch at step 812 by noise: ratio 0.08 below 0.1.", "2. broyden", "5,621", "budget", "1,981", "seed 3",
        "0.0100012", "± 3.2 × 10 −6", "classical: least squares", "0.0100345", "± 4.4 × 10 −6",
        'problem = "wave"', "versions jax", "0.10.2", "wave-0123abcd",
    ):  # fmt: skip
        assert words in page.text, words


def test_nothing_comes_from_outside_and_no_script_can_run(directory):
    text = written(directory, solve(Wave()))
    page = Elements(text)
    assert not page.named("script")
    assert not page.named("link")
    assert not page.named("iframe")
    assert not re.search(r"""(src|href|action|data)\s*=\s*["']?(https?:)?//""", text)
    assert "@import" not in text
    assert "url(" not in text
    (policy,) = [meta["content"] for meta in page.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_figures_are_embedded_each_once(directory):
    images = Elements(written(directory, solve(Wave()))).named("img")
    assert len(images) == 3
    for image in images:
        head, _, data = image["src"].partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data) == PIXEL
        assert image["alt"]


def test_hostile_text_stays_text_wherever_it_comes_from(directory):
    (directory / "config.toml").write_text(f"# </pre>{HOSTILE}")
    (directory / "environment.json").write_text(json.dumps({HOSTILE: {HOSTILE: HOSTILE}}))
    (directory / "figures" / "<script>x<").with_suffix(".png").write_bytes(PIXEL)
    solution = solve(Hostile(), kind=HOSTILE)
    solution.history.append({"events": [HOSTILE]})
    phases = [{"kind": HOSTILE, "steps": 1, "evaluations": 1, "seconds": 1.0, "loss": 1.0, "ended_by": HOSTILE}]
    changes = {
        "outcome": HOSTILE, "precision": HOSTILE, "seed": HOSTILE, "phases": phases,
        "switch": {"step": 1, "by": HOSTILE}, "unknowns": {HOSTILE: {"value": 1.0}}, "baselines": {HOSTILE: {}},
    }  # fmt: skip
    text = written(directory, solution, **changes)
    page = Elements(text)
    assert "<script" not in text
    assert not page.named("script")
    assert all(image["src"].startswith("data:") for image in page.named("img"))
    allowed = {"class", "src", "alt", "lang", "charset", "name", "content", "http-equiv"}
    assert {key for _, attributes in page.found for key in attributes} <= allowed
    assert page.text.count("alert('x')") >= 12
    assert "alert('equation')" in page.text


def test_an_error_below_that_of_the_reference_is_only_bounded(directory):
    page = Elements(written(directory, solve(Wave(), error=1e-9, kind="fourier_etdrk4", estimated_error=2e-6)))
    assert "below 2.0 × 10 −6" in page.text
    assert "only a bound can be stated" in page.text
    assert "1.0 × 10 −9" not in page.text.split("Largest error")[0]
    assert "Reference: fourier etdrk4 ± 2.0 × 10 −6 2.5 s" in page.text


def test_what_is_missing_is_left_out(tmp_path):
    solution = Solution(Wave(), lambda points: points[:, :1])
    text = report.write(tmp_path, solution, {"outcome": "diverged"}).read_text()
    page = Elements(text)
    assert "There is no reference" in page.text
    assert "diverged" in page.text
    assert not page.named("img")
    assert "Config" not in page.text
    assert "Unknown coefficients" not in page.text


def test_numbers_that_were_not_finite_are_dashes(directory):
    solution = solve(Wave())
    error = solution.error().as_dict() | {"rel_l2": None, "max_abs": None}
    text = report.write(directory, solution, result_of(error, validation={"mean_square": None, "worst": None})).read_text()
    assert "–" in Elements(text).text


def test_a_switch_by_budget_does_not_claim_the_noise(directory):
    page = Elements(written(directory, solve(Wave()), switch={"step": 1000, "by": "budget", "nsr": 0.5, "threshold": 0.1}))
    assert "Switch at step 1,000 by budget." in page.text
    assert "ratio 0.5" not in page.text


def test_a_problem_without_a_docstring_or_source_still_has_a_report(tmp_path):
    space = {}
    source = "import sciml\nclass Typed(sciml.Problem):\n    domain = sciml.Box(x=(0.0, 1.0))\n    def equation(self, u_x): return u_x"
    exec(source, space)
    page = Elements(report.render(tmp_path, Solution(space["Typed"](), lambda points: points), {}))
    assert "def equation(u_x): ..." in page.text
    assert "Typed(*" not in page.text


def test_mathematics_of_docstrings_is_set():
    assert prose("a < b") == "a &lt; b"
    assert prose(r"$u_{xx} = \nu^2$") == '<span class="math">u<sub>xx</sub> = ν<sup>2</sup></span>'
    assert "10<sup>−4</sup>" in prose("$10^{-4}$")
    assert "a/b" in prose(r"$\frac{a}{b}$")
    assert "(a + 1)/b" in prose(r"$\tfrac{a + 1}{b}$")
    assert "√6" in prose(r"$\sqrt 6$")
    assert plain(r"is $u_{xx} = \tfrac12 e^{-t}$.") == "is u_xx = 1/2 e^(−t)."
    assert "∂" in prose(r"$\partial$")
    assert prose("costs 5 $ each") == "costs 5 $ each"


def test_elements_escape_what_is_not_html():
    assert tag("p", "<b>", tag("i", "&"), class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<i>&amp;</i></p>'


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (0.25, "0.25"), (-3.0, "−3"), (1981.0, "2000"), (3.21e-7, "3.2\u00a0×\u00a010<sup>−7</sup>")],
)
def test_numbers_are_typeset(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.001, "under 0.01 s"), (0.41, "0.41\u00a0s"), (75.2, "75\u00a0s"), (725, "12\u00a0min")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
