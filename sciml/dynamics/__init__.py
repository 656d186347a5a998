"""From a time series to the equation behind it: smoothing, weak-form regression, selection, shooting, refit, forecast."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml.dynamics.library import Library as Library
    from sciml.dynamics.library import differences as differences
    from sciml.dynamics.library import functions as functions
    from sciml.dynamics.library import polynomials as polynomials
    from sciml.dynamics.library import products as products
    from sciml.dynamics.library import user_terms as user_terms
    from sciml.dynamics.series import TimeSeries as TimeSeries
    from sciml.dynamics.smoothing import smooth as smooth
    from sciml.dynamics.sparse import SparseModel as SparseModel
    from sciml.dynamics.sparse import discover_sparse as discover_sparse

_HOMES = {
    "sciml.dynamics.library": ("Library", "differences", "functions", "polynomials", "products", "user_terms"),
    "sciml.dynamics.series": ("TimeSeries",),
    "sciml.dynamics.smoothing": ("smooth",),
    "sciml.dynamics.sparse": ("SparseModel", "discover_sparse"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sciml.dynamics' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
