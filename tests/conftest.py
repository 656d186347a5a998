"""Strict JAX for every test: float64, no silent rank or dtype promotion, shapes checked."""

import os
from pathlib import Path

import jax
import pytest

import sciml
from sciml.device import configure

os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(sciml.__file__).parent.parent), os.environ.get("PYTHONPATH")]))

configure()
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # most of what tests wait for is the compiling of small programs


@pytest.fixture(autouse=True, scope="module")
def forget_what_was_compiled():
    """A process that runs many files would otherwise keep gigabytes of programs that no later test calls."""
    yield
    jax.clear_caches()


@pytest.fixture
def run_parent(tmp_path):
    """The `--out` of a test's runs."""
    parent = tmp_path / "runs"
    parent.mkdir()
    return parent


@pytest.fixture
def user_problems(tmp_path):
    """A `--problems` directory, and a function that writes a problem's file into it."""
    folder = tmp_path / "problems"
    folder.mkdir()

    def write(name, text):
        path = folder / f"{name}.py"
        path.write_text(text)
        return path

    write.folder = folder
    return write
