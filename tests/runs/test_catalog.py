"""Problems are found by name, read without being run, and loaded with errors that say what to do."""

import pytest

from sciml.errors import ConfigError, ProblemError
from sciml.runs import catalog

HEAT = '''"""Heat."""
import sciml


class _Base(sciml.Problem):
    kappa: float = 0.1


class Heat(_Base):
    """Heat in a rod.

    More.
    """

    length: float
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def equation(self, u_t, u_xx):
        return u_t - self.kappa * u_xx
'''


def test_a_users_directory_comes_first(user_problems):
    path = user_problems("fisher_kpp", HEAT)
    assert catalog.find_problem("fisher_kpp", user_problems.folder) == path.resolve()
    assert catalog.find_problem("fisher_kpp") != path.resolve()


def test_the_installed_copy_is_found_where_there_is_no_checkout(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "sciml"
    for folder in ("problems", "configs"):
        (package / "_shipped" / folder).mkdir(parents=True)
    (package / "_shipped" / "problems" / "heat.py").write_text(HEAT)
    (package / "_shipped" / "configs" / "hot.toml").write_text('# A hot rod.\nproblem = "heat"\n')
    (package.parent / "problems").mkdir()
    monkeypatch.setattr(catalog, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    assert [entry.name for entry in catalog.list_problems()] == ["heat"]
    assert [(entry.name, entry.summary) for entry in catalog.list_configs()] == [("hot", "A hot rod.")]


def test_listing_reads_docstrings_and_runs_nothing(user_problems):
    user_problems("heat", HEAT + "\nraise RuntimeError\n")
    user_problems("_hidden", HEAT)
    user_problems("broken", "class Broken(sciml.Problem:\n")
    entries = {entry.name: entry.summary for entry in catalog.list_problems(user_problems.folder)}
    assert entries["heat"] == "Heat in a rod."
    assert "line 1" in entries["broken"]
    assert "_hidden" not in entries
    assert "fisher_kpp" in entries


def test_the_outline_follows_bases_within_the_file(user_problems):
    outline = catalog.outline_problem(user_problems("heat", HEAT))
    assert outline == ("Heat in a rod.", ("kappa", "length"), ("length",), True)
    elsewhere = user_problems("other", "from somewhere import Base\nclass Other(Base):\n    a: float = 1.0\n")
    assert not catalog.outline_problem(elsewhere).complete


@pytest.mark.parametrize("name", ["../fisher_kpp", "/etc/passwd", "A", "", "a" * 65, "fisher_kpp.py", "fisher_kpp\n"])
def test_names_that_are_no_names(name):
    with pytest.raises(ConfigError, match="there is no problem"):
        catalog.find_problem(name)


def test_a_link_out_of_the_directory_is_refused(user_problems, tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text(HEAT)
    (user_problems.folder / "linked.py").symlink_to(outside)
    with pytest.raises(ConfigError, match="link to a file outside"):
        catalog.find_problem("linked", user_problems.folder)


def test_a_directory_that_does_not_exist(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        catalog.roots(tmp_path / "nowhere")


def test_load_gives_the_problem_with_its_parameters(user_problems):
    user_problems("heat", HEAT)
    problem = catalog.load_problem("heat", {"length": 2.0}, user_problems.folder)
    assert type(problem).__name__ == "Heat"
    assert (problem.length, problem.kappa) == (2.0, 0.1)


@pytest.mark.parametrize("entry", catalog.list_problems(), ids=lambda entry: entry.name)
def test_every_shipped_problem_loads_and_has_a_summary(entry):
    problem = catalog.load_problem(entry.name)
    assert entry.summary
    assert set(catalog.outline_problem(entry.path).coefficients) == set(problem.coefficients) | set(problem.unknowns)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n", "there is no problem in it; write `class MyHeat(sciml.Problem): ...`"),
        (HEAT + "\nclass Second(_Base):\n    pass\n", "this one has Heat, Second"),
        ("import nothing_like_this\n", "line 1: ModuleNotFoundError"),
        ("import sciml\n\n1 / 0\n", "line 3: ZeroDivisionError"),
        ("def f(:\n", "line 1"),
    ],
)
def test_files_that_do_not_hold_one_problem(user_problems, text, expected):
    user_problems("my_heat", text)
    with pytest.raises(ProblemError) as caught:
        catalog.load_problem("my_heat", {}, user_problems.folder)
    assert expected in str(caught.value)


def test_parameters_that_the_problem_lacks(user_problems):
    user_problems("heat", HEAT)
    with pytest.raises(ConfigError) as caught:
        catalog.load_problem("heat", {"kapa": 1.0}, user_problems.folder)
    assert "did you mean 'kappa'?" in str(caught.value)
    assert "parameters.length: the problem heat needs it" in str(caught.value)
    assert catalog.parameter_mistakes("heat", {"kapa": 1.0}, user_problems.folder) == caught.value.mistakes


def test_a_config_sets_whole_numbers(user_problems):
    user_problems("heat", HEAT.replace("length: float", "length: float = 1.0\n    draw: int = 0\n    mode: 'int' = 1"))
    problem = catalog.load_problem("heat", {"draw": 3.0, "mode": 2.0, "length": 2.0}, user_problems.folder)
    assert [type(value) for value in (problem.draw, problem.mode, problem.length)] == [int, int, float]
    assert (problem.draw, problem.mode) == (3, 2)
    with pytest.raises(ConfigError, match=r"parameters\.draw: the problem heat needs a whole number, but this is 1\.5; try 2"):
        catalog.load_problem("heat", {"draw": 1.5}, user_problems.folder)


def test_the_draw_of_the_noise_can_be_set_from_a_config():
    first, second = (catalog.load_problem("fisher_kpp_inverse", {"draw": draw}).observations().values["u"] for draw in (0.0, 1.0))
    assert first.shape == second.shape
    assert (first != second).all()


def test_a_new_problem_is_named_after_its_file():
    text = catalog.new_problem_text("my_heat_2")
    assert "class MyHeat2(sciml.Problem):" in text
    assert "your_name" not in text
