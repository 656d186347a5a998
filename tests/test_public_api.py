"""The public API: every name is there, says what it is, and costs nothing until it is used."""

import subprocess
import sys

import pytest

import sciml


@pytest.mark.parametrize("name", [name for name in dir(sciml) if not name.startswith("_")])
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(sciml, name)
    assert callable(value)
    assert value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Sovle"):
        _ = sciml.Sovle


@pytest.mark.parametrize("before", ["import sciml.solve", "from sciml.solve import prepare", "sciml.Experiment", "sciml.solve", "pass"])
def test_solve_is_the_function_whatever_was_imported_before(before):
    code = f"import sciml\n{before}\nassert not hasattr(sciml.solve, 'solve'), sciml.solve\nassert sciml.solve.__name__ == 'solve'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_imports_no_jax():
    code = "import sys, sciml, sciml.cli, sciml.runs.config\nassert not {'jax', 'numpy', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
