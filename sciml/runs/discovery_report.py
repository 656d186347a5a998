"""The report of a discovery: the equations, their coefficients with intervals, the forecast, and what the data cannot tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciml.errors import Outcome
from sciml.runs import report
from sciml.runs.html import Html, card, duration, join, listing, number, page, prose, section, symbol, table, tag
from sciml.runs.summary import NO_FORECAST, share_explained, verdict

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered

Result = Mapping[str, Any]

CAPTIONS = {
    "fit": "Measured values and the fitted solution.",
    "forecast": "The forecast, dashed, with the band in which new measurements should lie; open circles were held out.",
    "phase_portrait": "The fitted solution in the plane of the first two states.",
    "residuals": "What the fit leaves over. A pattern in time says that the equations lack something.",
}

UNIT = "standard deviations of the data"
"""Of what errors of channels in different units are told: of what was learned from."""

WIDEST = 12
"""Coefficients whose correlations fit a page."""


def render(directory: Path, found: Discovered, result: Result) -> Html:
    """The report as HTML. Takes the figures, `config.toml` and `environment.json` that stand in the run directory."""
    folder = directory / "figures"
    sections = (
        _summary(found, result),
        section("What to keep in mind", tag("ul", *(tag("li", text) for text in result["warnings"])) if result.get("warnings") else Html()),
        section("Equations", join([tag("pre", result["equations"]), _figure(folder, "fit")])),
        section("Coefficients", _coefficients(result)),
        section("Forecast", join([_scores(result), _figure(folder, "forecast")])),
        section("Phase portrait", _figure(folder, "phase_portrait")),
        section("Residuals", join([_noise(result), _figure(folder, "residuals")])),
        section("Training", join([_refit(result), report.training(found.history, result, folder / "history.png")])),
        section("Config", listing(directory / "config.toml", "sufficient to repeat the run")),
        section("Environment", report.environment(directory / "environment.json")),
        tag("footer", f"Written by sciml into {directory.name}. Everything in this page stands in the file itself."),
    )
    return page(f"{found.name}: report", *sections)


def _summary(found: Discovered, result: Result) -> Html:
    outcome, sound = verdict(result), result.get("outcome") == Outcome.OK and not result.get("warnings")
    badge = tag("span", outcome, class_="badge ok" if sound else "badge") if outcome else ""
    series = found.series
    lead = (
        f"{series.points} times of {', '.join(series.names)} in {len(series.times)} "
        f"{'trajectory' if len(series.times) == 1 else 'trajectories'}; {found.shooting.noise.kind} noise."
    )
    return tag("header", tag("div", tag("h1", found.name), badge, class_="title"), tag("p", prose(lead), class_="lead"), _cards(result))


def _share(r2: float | None) -> str:
    """An R², typeset."""
    return number(r2) if r2 is None or r2 < 0 else share_explained(r2)


def _cards(result: Result) -> Html:
    scores, seconds = result.get("scores") or {}, result.get("seconds") or {}
    cards = []
    if "fit" in scores:
        cards.append(card("R² of the fit", _share(scores["fit"]["model"]["r2"]), "on what was learned from"))
    if "held_out" in scores:
        cards += _forecast_cards(scores["held_out"], result["forecast"])
    if result.get("cross_validation") is not None:
        note = "times the fit's error, on fifths of the data predicted from the rest; far above one is a bad sign"
        cards.append(card("Unseen parts", number(result["cross_validation"]), note))
    if seconds:
        cards.append(card("Time", duration(seconds.get("total")), join([duration(seconds.get("compile")), " of it compiling"])))
    return tag("div", *cards, class_="cards")


def _forecast_cards(scores: Result, forecast: Result) -> list[Html]:
    """How good the forecast of what was held out is."""
    rivals = {name: row["nrmse"] for name, row in scores.items() if name != "model" and row["nrmse"] is not None}
    best = min(rivals, key=lambda name: rivals[name], default=None)
    note = [
        f"root mean square on held-out data, in {UNIT}",
        *(() if best is None else ("; best baseline: ", best, " ", number(rivals[best]))),
    ]
    inside = "–" if forecast["coverage"] is None else f"{100 * forecast['coverage']:.0f} %"
    mean = "; the mean over all trajectories" if len(forecast["trajectories"]) > 1 else ""
    return [
        card("Forecast error", _error(scores["model"]["nrmse"]), join(note)),
        card(
            "Valid for",
            number(forecast["valid_time"], 3),
            f"of {forecast['horizon']:.3g} that were held out: until its running sMAPE exceeds {forecast['valid_smape']:g}{mean}",
        ),
        card("Inside the band", inside, f"of the held-out values; the band is meant to hold {100 * forecast['level']:.0f} %"),
    ]


def _error(value: float | None) -> Html:
    """An error, typeset."""
    return Html("none") if value is None else number(value)


def _coefficients(result: Result) -> Html:
    coefficients = result["coefficients"]
    chosen, doubtful = (any(each.get(about) is not None for each in coefficients.values()) for about in ("inclusion", "reason"))
    rows = []
    for name, each in coefficients.items():
        interval = "–" if each["lower"] is None else join([number(each["lower"], 4), " to ", number(each["upper"], 4)])
        share = each.get("inclusion")
        shown = () if not chosen else ("–" if share is None else f"{100 * share:.0f} %",)
        reason = (each["reason"] or "",) if doubtful else ()
        rows.append((symbol(name), number(each["value"], 5), number(each["standard_error"]), interval, *shown, *reason))
    if not rows:
        return tag("p", "A network has no coefficients of its own meaning.")
    resampled = ("Chosen again in simulated data",) if chosen else ()
    unidentified = ("What these data cannot tell",) if doubtful else ()
    header = ("Coefficient", "Value", "Standard error", "95 % interval", *resampled, *unidentified)
    return join([table(header, rows, numbers=(1, 2)), _correlations(result["correlations"])])


def _correlations(found: Result) -> Html:
    if len(found) < 2:
        return Html()
    if len(found) > WIDEST:
        return tag("p", f"The correlations of these {len(found)} coefficients stand in result.json.")
    rows = [(symbol(name), *(number(value) for value in row.values())) for name, row in found.items()]
    return join([tag("h3", "Correlations"), table(("", *found), rows, numbers=range(1, len(found) + 1))])


def _scores(result: Result) -> Html:
    scores = (result.get("scores") or {}).get("held_out")
    if not scores:
        return tag("p", "Nothing was held out: how good this forecast is has not been measured. Hold points out with hold_out.")
    names = {name: "this model" if name == "model" else name for name in scores}
    pooled = [(names[name], _error(row["nrmse"]), _error(row["smape"]), _share(row["r2"])) for name, row in scores.items()]
    channels = tuple(scores["model"]["channels"])
    single = [
        (
            symbol(channel),
            *(_error(row["channels"][channel]["rmse"]) for row in scores.values()),
            _share(scores["model"]["channels"][channel]["r2"]),
        )
        for channel in channels
    ]
    lost = tag("p", f"Forecast: {NO_FORECAST}.") if scores["model"]["nrmse"] is None else Html()
    return join(
        [
            lost,
            table(("On the held-out data", f"Root mean square error in {UNIT}", "sMAPE (0 to 200)", "R²"), pooled, numbers=(1, 2, 3)),
            table(("Root mean square error, in its units", *names.values(), "R² of this model"), single, numbers=range(1, len(names) + 2)),
        ]
    )


def _noise(result: Result) -> Html:
    rows = [(symbol(name), number(value)) for name, value in result["noise"].items() if name != "kind"]
    unit = {"lognormal": "of the logarithm", "counts": "of twice the square root"}.get(result["noise"]["kind"], "")
    return table(("Channel", f"Standard deviation of the noise {unit}".strip()), rows, numbers=(1,))


def _refit(result: Result) -> Html:
    refit = result["refit"]
    windows = "one solution per trajectory" if refit["joined"] else f"{refit['windows']} windows"
    state = "converged" if refit["converged"] else "did not converge"
    return tag("p", f"Refit through the solver ({result['solver']}): {windows}, {refit['steps']} Gauss-Newton steps, {state}.")


def _figure(folder: Path, name: str) -> Html:
    return report.figure(folder / f"{name}.png", CAPTIONS[name])
