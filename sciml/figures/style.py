"""How pictures look: size, colours that the colour-blind can tell apart, typography, and how numbers are typeset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 10.0
"""Inches; at `DOTS` per inch a picture is sharp at the width of a report, on a screen or in print."""
DOTS = 160

BLUE, ORANGE, GREEN, VERMILION, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#AA4499", "#5A5A5A"

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "mathtext.fontset": "cm",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#404040",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "axes.formatter.limits": (-3, 4),
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def new_figure(height: float) -> Figure:
    """An empty figure `WIDTH` inches wide; to be filled inside `matplotlib.rc_context(STYLE)`."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes `figure` to `path`, in the format that its suffix names."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=DOTS)
    return path


def symbol(name: str) -> str:
    """A coordinate, field or coefficient as it is typeset: one letter as mathematics, a word as a word."""
    return f"${name}$" if len(name) == 1 and name.isalpha() else name.replace("$", r"\$")


def scientific(value: float) -> str:
    """`3.2e-07` as it is typeset."""
    if not np.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{float(f'{value:.2g}'):g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
