"""What the command line says when a run has ended: the content of `result.json` in a few lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sciml.errors import CONVERGED, NO_BOUND, Outcome
from sciml.runs.progress import duration

ALMOST = 0.999999
"""Shares above it are not told apart."""

NO_FORECAST = "none that reaches all measured values"


def summary(directory: Path, result: Mapping[str, Any]) -> str:
    """The end of a run in a few lines: outcome, error beside the reference's own, phases, switch, where everything is."""
    seconds = result.get("seconds") or {}
    head = f"{result.get('problem', directory.name)}: {verdict(result)}"
    if "total" in seconds:
        head += f" in {duration(seconds['total'])}"
    rows = {
        "error": "" if "equations" in result else _error(result.get("error"), result.get("error_reason")),
        "equations": result.get("equations", "").replace("\n", "\n" + " " * 12),
        "terms": _terms(result),
        "unseen": _unseen(result),
        "fit": _fit(result),
        "forecast": _forecast(result),
        "classical": _baselines(result.get("baselines") or {}),
        "residual": "" if "equations" in result else _validation(result.get("validation")),
        "phases": ", ".join(_phase(phase) for phase in result.get("phases") or ()),
        "switch": _switch(result.get("switch")),
        "unknowns": ""
        if "equations" in result
        else ", ".join(_unknown(name, found) for name, found in (result.get("unknowns") or {}).items()),
        "mind": ("\n" + " " * 12).join(result.get("warnings") or ()),
        "run": str(directory),
        "report": str(directory / "report.html") if (directory / "report.html").exists() else "",
        "next": _next(directory, result["outcome"]),
    }
    return "\n".join([head, *(f"  {name:<9} {text}" for name, text in rows.items() if text)])


def verdict(result: Mapping[str, Any]) -> str:
    """The outcome, and how many warnings stand beside it: a run that went well may have found little."""
    outcome, count = str(result.get("outcome", "")), len(result.get("warnings") or ())
    return f"{outcome}, with {count} warning{'s' if count > 1 else ''}" if outcome and count else outcome


def _error(error: Mapping[str, Any] | None, reason: str | None) -> str:
    if not error:
        return f"not known: {reason or 'nothing to compare with'}; a method `exact` or `reference` of the problem would give a reference"
    reference = error["reference"]
    own = f"{reference['estimated_error']:.1e}"
    if error.get("at_floor") and not reference["estimated_error"] < CONVERGED:
        text = NO_BOUND
    elif error.get("at_floor"):
        text = f"below {own} relative L2, the error of the reference itself"
    elif error["rel_l2"] is None:
        text = "not finite"
    else:
        text = f"{error['rel_l2']:.2e} relative L2"
    if error["max_abs"] is not None:
        text += f", at most {error['max_abs']:.2e}" + _where(error.get("where"))
    return f"{text} (reference: {reference['kind']}, itself good to {own}, {duration(reference['seconds'])})"


def _baselines(baselines: Mapping[str, Mapping[str, Any]]) -> str:
    """Why a solver could not solve the problem is left to the report."""
    return "; ".join(_baseline(name.replace("_", " "), row) for name, row in baselines.items() if row["seconds"] is not None)


def _baseline(name: str, row: Mapping[str, Any]) -> str:
    found = ", ".join(_unknown(*item) for item in (row.get("unknowns") or {}).items())
    reached = "" if row["rel_l2"] is None else f"reaches {row['rel_l2']:.1e} "
    return " ".join([name, *([f"finds {found}" + (" and" if reached else "")] if found else []), f"{reached}in {duration(row['seconds'])}"])


def _fit(result: Mapping[str, Any]) -> str:
    score = ((result.get("scores") or {}).get("fit") or {}).get("model")
    if not score or score["r2"] is None:
        return ""
    noise = ", ".join(f"{name} {value:.3g}" for name, value in result["noise"].items() if name != "kind")
    return f"R2 {share_explained(score['r2'])} on what was learned from; {result['noise']['kind']} noise {noise}"


def share_explained(r2: float) -> str:
    """An R2, with as many digits as tell it from one."""
    if r2 > ALMOST:
        return f"> {ALMOST}"
    return f"{r2:.{2 if r2 < 0.9 else 1 + math.ceil(-math.log10(1 - r2))}g}"


def _terms(result: Mapping[str, Any]) -> str:
    """In how many simulated data sets the terms were chosen again, least certain first."""
    found = {name: row["inclusion"] for name, row in (result.get("coefficients") or {}).items() if row.get("inclusion") is not None}
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in sorted(found.items(), key=lambda item: item[1]))
    return f"chosen again in data simulated by the model: {shares}" if found else ""


def _unseen(result: Mapping[str, Any]) -> str:
    found = result.get("cross_validation")
    if found is None:
        return ""
    meaning = "far above one where some terms are wrong, or where one fifth alone tells a coefficient"
    return f"each fifth of the data predicted from the rest: {found:.3g} times the error of the fit ({meaning})"


def _forecast(result: Mapping[str, Any]) -> str:
    """The forecast of what was held out, beside what needs no model."""
    scores = (result.get("scores") or {}).get("held_out")
    if not scores:
        return ""
    model, forecast = scores["model"], result["forecast"]
    rivals = ", ".join(f"{name} {row['nrmse']:.3g}" for name, row in scores.items() if name != "model" and row["nrmse"] is not None)
    if model["nrmse"] is None:
        first = NO_FORECAST
    else:
        r2 = "" if model["r2"] is None else f", R2 {share_explained(model['r2'])}"
        first = f"error {model['nrmse']:.3g} standard deviations of the data{r2}, sMAPE {model['smape']:.3g}"
    errors = ", ".join(f"{name} {row['rmse']:.3g}" for name, row in model["channels"].items() if row["rmse"] is not None)
    lines = [
        f"{first}; without a model: {rivals}" if rivals else first,
        f"root mean square error: {errors}" if errors else "",
        f"{valid_for(forecast)}; {inside_band(forecast)}",
    ]
    return ("\n" + " " * 12).join(line for line in lines if line)


def valid_for(forecast: Mapping[str, Any]) -> str:
    """How long a forecast is good, of the time that was held out."""
    where = "" if len(forecast["trajectories"]) == 1 else ", mean over trajectories"
    return f"valid for {forecast['valid_time']:.3g} of {forecast['horizon']:.3g} (running sMAPE up to {forecast['valid_smape']:g}{where})"


def inside_band(forecast: Mapping[str, Any]) -> str:
    """How many of the held-out values lie where they should."""
    if forecast["coverage"] is None:
        return "no value was measured there"
    return f"{100 * forecast['coverage']:.0f} % of the values inside the {100 * forecast['level']:.0f} % band"


def _where(where: Any) -> str:
    if isinstance(where, Mapping):
        return " at " + ", ".join(f"{name}={value:.3g}" for name, value in where.items())
    return ""


def _validation(validation: Mapping[str, Any] | None) -> str:
    if not validation or validation.get("mean_square") is None:
        return ""
    return f"{validation['mean_square']:.2e} mean square on fresh points and measured values, worst {validation['worst']:.2e}"


def _phase(phase: Mapping[str, Any]) -> str:
    return f"{phase['kind']} {phase['steps']:,} steps (ended by {phase['ended_by']})"


def _switch(switch: Mapping[str, Any] | None) -> str:
    if not switch:
        return ""
    text = f"at step {switch['step']:,} by {switch['by']}"
    if switch.get("nsr") is not None and switch.get("threshold") is not None:
        text += f" (noise-to-signal ratio {switch['nsr']:.2e}, threshold {switch['threshold']:.2e})"
    return text


def _unknown(name: str, found: Mapping[str, Any]) -> str:
    spread = found.get("standard_error")
    if not spread:
        return f"{name} = {found['value']:.6g}" + (f" ({found['reason']})" if found.get("reason") else "")
    digits = max(0, 1 - math.floor(math.log10(spread)))
    return f"{name} = {found['value']:.{digits}f} ± {spread:.{digits}f}"


def _next(directory: Path, outcome: str) -> str:
    if outcome == Outcome.STOPPED:
        return f"sciml resume {directory}"
    if outcome == Outcome.DIVERGED:
        return 'a smaller step: --set \'phases=[{kind="adam", learning_rate=1e-4}, {kind="lbfgs"}]\''
    return ""
