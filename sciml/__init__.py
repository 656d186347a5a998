"""Physics-informed machine learning in JAX: write down what must hold, train a network until it does.

The whole public API stands here. A name is imported when it is first used, so that `import sciml` is fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml.batch.check import check as check
    from sciml.batch.compare import compare as compare
    from sciml.batch.load import SweepRuns as SweepRuns
    from sciml.batch.load import load as load
    from sciml.batch.report import report as report
    from sciml.batch.schema import schema as schema
    from sciml.batch.status import status as status
    from sciml.batch.sweep import sweep as sweep
    from sciml.batch.table import table as table
    from sciml.conditions import Condition as Condition
    from sciml.conditions import Dirichlet as Dirichlet
    from sciml.conditions import Initial as Initial
    from sciml.conditions import Integral as Integral
    from sciml.conditions import Neumann as Neumann
    from sciml.conditions import Periodic as Periodic
    from sciml.conditions import Robin as Robin
    from sciml.conditions import Term as Term
    from sciml.data import Data as Data
    from sciml.domain import Box as Box
    from sciml.dynamics.discovered import Discovered as Discovered
    from sciml.dynamics.library import Library as Library
    from sciml.dynamics.library import functions as functions
    from sciml.dynamics.library import polynomials as polynomials
    from sciml.dynamics.library import products as products
    from sciml.dynamics.library import user_terms as user_terms
    from sciml.dynamics.noise import Counts as Counts
    from sciml.dynamics.noise import Gaussian as Gaussian
    from sciml.dynamics.noise import LogNormal as LogNormal
    from sciml.dynamics.preparing import discover as discover
    from sciml.dynamics.problem import Dynamics as Dynamics
    from sciml.dynamics.series import TimeSeries as TimeSeries
    from sciml.dynamics.vector_fields import VectorField as VectorField
    from sciml.errors import ConfigError as ConfigError
    from sciml.errors import Outcome as Outcome
    from sciml.errors import ProblemError as ProblemError
    from sciml.errors import RunError as RunError
    from sciml.errors import ScimlError as ScimlError
    from sciml.nets.mlp import MLP as MLP
    from sciml.problem import Problem as Problem
    from sciml.reference import Reference as Reference
    from sciml.runs.catalog import available as available
    from sciml.runs.catalog import new_problem as new_problem
    from sciml.runs.commands import resume as resume
    from sciml.runs.commands import run as run
    from sciml.settings import LBFGS as LBFGS
    from sciml.settings import Adam as Adam
    from sciml.settings import Broyden as Broyden
    from sciml.settings import GivenField as GivenField
    from sciml.settings import Integrator as Integrator
    from sciml.settings import LineSearch as LineSearch
    from sciml.settings import Network as Network
    from sciml.settings import NeuralField as NeuralField
    from sciml.settings import Noise as Noise
    from sciml.settings import Plateau as Plateau
    from sciml.settings import Points as Points
    from sciml.settings import Shooting as Shooting
    from sciml.settings import SparseField as SparseField
    from sciml.settings import UniversalField as UniversalField
    from sciml.solution import Solution as Solution
    from sciml.solve import Experiment as Experiment
    from sciml.solve import prepare as prepare
    from sciml.solve import solve as solve
    from sciml.solve import solve_seeds as solve_seeds
    from sciml.unknown import Unknown as Unknown

__version__ = "0.1.0"

_HOMES = {
    "sciml.batch.check": ("check",),
    "sciml.batch.compare": ("compare",),
    "sciml.batch.load": ("SweepRuns", "load"),
    "sciml.batch.report": ("report",),
    "sciml.batch.schema": ("schema",),
    "sciml.batch.status": ("status",),
    "sciml.batch.sweep": ("sweep",),
    "sciml.batch.table": ("table",),
    "sciml.conditions": ("Condition", "Dirichlet", "Initial", "Integral", "Neumann", "Periodic", "Robin", "Term"),
    "sciml.data": ("Data",),
    "sciml.domain": ("Box",),
    "sciml.dynamics.discovered": ("Discovered",),
    "sciml.dynamics.library": ("Library", "functions", "polynomials", "products", "user_terms"),
    "sciml.dynamics.preparing": ("discover",),
    "sciml.dynamics.noise": ("Counts", "Gaussian", "LogNormal"),
    "sciml.dynamics.problem": ("Dynamics",),
    "sciml.dynamics.series": ("TimeSeries",),
    "sciml.dynamics.vector_fields": ("VectorField",),
    "sciml.errors": ("ConfigError", "Outcome", "ProblemError", "RunError", "ScimlError"),
    "sciml.nets.mlp": ("MLP",),
    "sciml.problem": ("Problem",),
    "sciml.reference": ("Reference",),
    "sciml.runs.catalog": ("available", "new_problem"),
    "sciml.runs.commands": ("resume", "run"),
    "sciml.settings": (
        "LBFGS",
        "Adam",
        "Broyden",
        "GivenField",
        "Integrator",
        "LineSearch",
        "Network",
        "NeuralField",
        "Noise",
        "Plateau",
        "Points",
        "Shooting",
        "SparseField",
        "UniversalField",
    ),
    "sciml.solution": ("Solution",),
    "sciml.solve": ("Experiment", "prepare", "solve", "solve_seeds"),
    "sciml.unknown": ("Unknown",),
}

_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sciml' has no attribute '{name}'")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])


class _Package(ModuleType):
    """Keeps the function `sciml.solve` in its place when the import system would put the module of that name there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
