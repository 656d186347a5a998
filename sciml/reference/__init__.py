"""Classical solvers and exact solutions on grids, with their error estimates: what a trained network is measured by."""

from sciml.reference.cole_hopf import cole_hopf, cole_hopf_values
from sciml.reference.fourier import fourier_etdrk4
from sciml.reference.grid import Reference, exact_reference
from sciml.reference.least_squares import Fit, least_squares
from sciml.reference.method_of_lines import method_of_lines
from sciml.reference.steady import steady_collocation

__all__ = [
    "Fit",
    "Reference",
    "cole_hopf",
    "cole_hopf_values",
    "exact_reference",
    "fourier_etdrk4",
    "least_squares",
    "method_of_lines",
    "steady_collocation",
]
