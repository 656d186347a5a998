"""A sparse model in symbols: text, LaTeX and SymPy, with standard errors where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sciml.dynamics import symbolic
from sciml.dynamics.library import HILL, Factor, Library, Term

ESCAPED = str.maketrans({**{sign: f"\\{sign}" for sign in "%#&$_{} "}, "^": "\\wedge{}", "~": "\\sim{}", "\\": "\\backslash{}"})
"""What means something else to LaTeX in a name."""


def text(library: Library, coefficients: np.ndarray, names: Sequence[str], errors: np.ndarray | None = None, digits: int = 4) -> str:
    """One line per state: `hare' = 0.4807(43) hare - 0.02482(31) hare lynx`; the bracket is the standard error of the last digits."""
    lines = []
    for index, name in enumerate(names):
        listed = ""
        for term, value, error in _active(library, coefficients, errors, index):
            symbol = library.name(term)
            number = number_text(abs(value), error, digits)
            sign = (" - " if value < 0 else " + ") if listed else ("-" if value < 0 else "")
            listed += f"{sign}{number}" + ("" if symbol == "1" else f" {symbol}")
        lines.append(f"{name}' = {listed or '0'}")
    return "\n".join(lines)


def latex(library: Library, coefficients: np.ndarray, names: Sequence[str], errors: np.ndarray | None = None, digits: int = 4) -> str:
    r"""An `aligned` block, one row per state: `\dot{x} &= 0.48\,x - 0.025\,x\,y`."""
    rows = {}
    for index, name in enumerate(names):
        listed = ""
        for term, value, error in _active(library, coefficients, errors, index):
            symbol = _latex_term(library, term)
            sign = (" - " if value < 0 else " + ") if listed else ("-" if value < 0 else "")
            listed += f"{sign}{_latex_number(number_text(abs(value), error, digits))}" + (f"\\,{symbol}" if symbol else "")
        rows[name] = listed or "0"
    return _aligned(rows)


def latex_of(expressions: Mapping[str, Any], digits: int = 4) -> str:
    """The same block from SymPy expressions by state."""
    sympy = symbolic.imported()

    def written(expression: Any) -> str:
        short = expression.xreplace({number: sympy.Float(number, digits) for number in expression.atoms(sympy.Float)})
        return sympy.latex(short, symbol_names={symbol: _latex_name(symbol.name) for symbol in short.free_symbols})

    return _aligned({name: written(expression) for name, expression in expressions.items()})


def _aligned(rows: Mapping[str, str]) -> str:
    lines = [f"\\dot{{{_latex_name(name)}}} &= {row}" for name, row in rows.items()]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"


def sympy(library: Library, coefficients: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """State -> right-hand side as a SymPy expression. Needs `pip install sympy`.

    A user's own term appears as the expression that its function gives for SymPy's symbols, or as one symbol where it needs arrays.
    """
    sympy, symbols = symbolic.imported(), [symbolic.symbol(variable) for variable in library.variables]
    found = {}
    for index, name in enumerate(names):
        listed = [sympy.Float(value) * _sympy_term(sympy, term, symbols) for term, value, _ in _active(library, coefficients, None, index)]
        found[name] = sympy.Add(*listed)
    return found


def number_text(value: float, error: float | None, digits: int = 4) -> str:
    """`0.4807(43)`: as many digits as the standard error leaves, two of the error in brackets; without one, `digits` digits."""
    if error is None or not np.isfinite(error) or error <= 0:
        return f"{value:.{digits}g}"
    mantissa, exponent = f"{error:.1e}".split("e")
    last, bracket = 1 - int(exponent), mantissa.replace(".", "")
    largest = round(max(value, error), last)
    if last >= 0 and largest >= 1e-4:
        return f"{value:.{last}f}({bracket})"
    power = int(np.floor(np.log10(largest)))
    return f"{value / 10.0**power:.{last + power}f}({bracket})e{power:+03d}"


def _active(library: Library, coefficients: np.ndarray, errors: np.ndarray | None, index: int) -> list[tuple[Term, float, float | None]]:
    column = coefficients[:, index]
    return [
        (term, float(column[row]), None if errors is None else float(errors[row, index]))
        for row, term in enumerate(library.terms)
        if column[row] != 0
    ]


def _sympy_term(sympy: Any, term: Term, symbols: Sequence[Any]) -> Any:
    if term.function is not None:
        try:
            return sympy.sympify(term.function(*symbols), strict=True)
        except (TypeError, ValueError, AttributeError, sympy.SympifyError):
            return sympy.Symbol(term.name or "f", real=True)
    product = sympy.Integer(1)
    for factor in term.factors:
        if factor.function in HILL:
            (index, scale), order = factor.weights[0], HILL[factor.function]
            power = symbols[index] ** order
            product *= (power / (sympy.Float(scale**-order) + sympy.Abs(power))) ** factor.power
            continue
        argument = sympy.Add(*(symbols[index] * sympy.nsimplify(weight) for index, weight in factor.weights))
        named = {"abs": "Abs", "log": "log", "sqrt": "sqrt"}.get(factor.function, factor.function)
        argument = sympy.Abs(argument) if factor.function in ("log", "sqrt") else argument
        product *= (getattr(sympy, named)(argument) if named else argument) ** factor.power
    return product


def _latex_term(library: Library, term: Term) -> str:
    if term.function is not None:
        return f"\\mathrm{{{(term.name or 'f').translate(ESCAPED)}}}"
    listed = []
    for factor in term.factors:
        if factor.function in HILL:
            listed.append(_latex_hill(library, factor))
            continue
        argument = ""
        for index, weight in factor.weights:
            size = "" if abs(weight) == 1 else f"{abs(weight):g}\\,"
            sign = (" - " if weight < 0 else " + ") if argument else ("-" if weight < 0 else "")
            argument += f"{sign}{size}{_latex_name(library.variables[index])}"
        power = "" if factor.power == 1 else f"^{{{factor.power}}}"
        if factor.function == "abs":
            listed.append(f"|{argument}|{power}")
        elif factor.function == "sqrt":
            listed.append(f"\\sqrt{{{argument}}}{power}")
        else:
            listed.append(f"\\{factor.function}{power}\\left({argument}\\right)" if factor.function else f"{argument}{power}")
    return "\\,".join(listed)


def _latex_hill(library: Library, factor: Factor) -> str:
    (index, scale), order = factor.weights[0], HILL[factor.function]
    name, exponent = _latex_name(library.variables[index]), f"^{{{order}}}" if order > 1 else ""
    size = name if order % 2 == 0 else f"|{name}|"
    quotient = f"\\frac{{{name}{exponent}}}{{{_latex_number(f'{scale**-order:.4g}')} + {size}{exponent}}}"
    return quotient if factor.power == 1 else f"\\left({quotient}\\right)^{{{factor.power}}}"


def _latex_name(name: str) -> str:
    """`x0` and `x_0` become x with an index; words stand upright."""
    letter, digits = name.rstrip("0123456789").rstrip("_"), name[len(name.rstrip("0123456789")) :]
    base = letter.translate(ESCAPED) if len(letter) == 1 else f"\\mathrm{{{letter.translate(ESCAPED)}}}"
    return f"{base}_{{{digits}}}" if digits else base


def _latex_number(number: str) -> str:
    mantissa, _, exponent = number.partition("e")
    return f"{mantissa} \\times 10^{{{int(exponent)}}}" if exponent else mantissa
