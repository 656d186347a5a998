"""report.html: what was solved, how well, against what and at which cost; one file that anyone can open or send."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciml.errors import CONVERGED, NO_BOUND, Outcome
from sciml.runs import files
from sciml.runs.html import Html, card, duration, join, listing, number, page, picture, prose, section, symbol, table, tag

if TYPE_CHECKING:
    from sciml.dynamics.discovered import Discovered
    from sciml.problem import Problem
    from sciml.solution import Solution

NAME = "report.html"
Result = Mapping[str, Any]

LARGEST_LISTING = 20
"""Events that are listed; a run with more says how many there were."""

CAPTIONS = {
    "solution": "The solution, the reference and the pointwise error, as far as the problem has them.",
    "history": "Residuals, error and the noise-to-signal ratio of the gradient over the optimiser's steps; "
    "validation residuals are those on points that are never trained on, and on measured values.",
}


def write(directory: Path, solution: Solution | Discovered, result: Result) -> Path:
    """Writes `report.html` of a solution or of discovered dynamics into a run directory and returns its path.

    Takes the figures, `config.toml` and `environment.json` that stand there; what is missing is left out.
    """
    from sciml.dynamics.discovered import Discovered
    from sciml.runs import discovery_report

    path = directory / NAME
    draw = discovery_report.render if isinstance(solution, Discovered) else render
    files.write_text(path, draw(directory, solution, result))  # type: ignore[arg-type]
    return path


def render(directory: Path, solution: Solution, result: Result) -> Html:
    """The report as HTML."""
    sections = (
        _summary(solution, result),
        section("What was solved", _what_was_solved(solution)),
        section("How well", _how_well(result, directory / "figures" / "solution.png")),
        section("Unknown coefficients", _unknowns(result)),
        section("Training", training(solution.history, result, directory / "figures" / "history.png")),
        section("Further figures", _further_figures(directory / "figures")),
        section("Config", listing(directory / "config.toml", "sufficient to repeat the run")),
        section("Environment", environment(directory / "environment.json")),
        tag("footer", f"Written by sciml into {directory.name}. Everything in this page stands in the file itself."),
    )
    return page(f"{solution.problem.name}: report", *sections)


# ── the first screen ──────────────────────────────────────────────────────────────────────────────────────────────────


def _summary(solution: Solution, result: Result) -> Html:
    outcome = str(result.get("outcome", ""))
    badge = tag("span", outcome, class_="badge ok" if outcome == Outcome.OK else "badge") if outcome else ""
    title = tag("div", tag("h1", solution.problem.name), badge, class_="title")
    return tag("header", title, tag("p", prose(_first_line(solution.problem)), class_="lead"), _cards(result))


def _cards(result: Result) -> Html:
    error, seconds, validation = (result.get(name) or {} for name in ("error", "seconds", "validation"))
    cards = []
    if error:
        cards.append(card("Relative L² error", _amount(error), f"against the {_kind(error)} reference"))
    if validation:
        note = join(["on fresh points and measured values; largest ", number(validation.get("worst"))])
        cards.append(card("Mean square residual", number(validation.get("mean_square")), note))
    if seconds:
        note = join([duration(seconds.get("compile")), " of it compiling"])
        cards.append(card("Time", duration(seconds.get("total")), note))
    if "parameters" in result:
        note = f"{result.get('precision', '')}, seed {result.get('seed', '–')}"
        cards.append(card("Trainable numbers", f"{result['parameters']:,}", note))
    return tag("div", *cards, class_="cards")


def _amount(error: Result) -> Html:
    """The error, or what bounds it from above when it is below the error of the reference."""
    if error.get("at_floor"):
        own = error["reference"]["estimated_error"]
        return join(["below ", number(own)]) if own < CONVERGED else join([NO_BOUND])
    return number(error.get("rel_l2"))


def _kind(error: Result) -> str:
    return str(error["reference"]["kind"]).replace("_", " ")


# ── sections ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _what_was_solved(solution: Solution) -> Html:
    problem = solution.problem
    rows = [(symbol(name), join([number(lower, 6), " to ", number(upper, 6)])) for name, (lower, upper) in problem.domain.intervals.items()]
    tables = [tag("div", tag("h3", "Domain"), table(("Coordinate", "Interval"), rows))]
    coefficients = [(symbol(name), number(value, 6) if isinstance(value, float) else value) for name, value in problem.coefficients.items()]
    coefficients += [(symbol(name), f"to be found, from {unknown.start:g}") for name, unknown in problem.unknowns.items()]
    if coefficients:
        tables.append(tag("div", tag("h3", "Coefficients"), table(("Coefficient", "Value"), coefficients)))
    conditions = "\n".join(describe(condition) for condition in problem.conditions())
    return join(
        [
            *(tag("p", prose(paragraph)) for paragraph in _paragraphs(problem)[1:]),
            tag("h3", "Equation, zero where the physics holds"),
            tag("pre", _source(problem.equation)),  # type: ignore[attr-defined]
            *((tag("h3", "Conditions"), tag("pre", conditions)) if conditions else ()),
            tag("div", *tables, class_="columns"),
        ]
    )


def _how_well(result: Result, picture: Path) -> Html:
    error = result.get("error")
    if not error:
        reason = f" ({result['error_reason']})" if result.get("error_reason") else ""
        text = f"There is no reference{reason}: nothing but the residual on fresh points says how well it is solved."
        return join([tag("p", text), figure(picture)])
    reference = error["reference"]
    place = join(part for name, value in error["where"].items() for part in (", ", symbol(name), " = ", number(value, 4)))
    rows: list[tuple[Any, Html]] = [("Relative L² error", _amount(error))]
    if len(error["fields"]) > 1:
        rows += [(join(["of the field ", symbol(name)]), number(value)) for name, value in error["fields"].items()]
    rows += [
        (join(["Largest error, at ", Html(place.removeprefix(", "))]), number(error["max_abs"])),
        (f"Error of the reference itself ({_kind(error)}), estimated", number(reference["estimated_error"])),
    ]
    return join([table(("Measured on the reference's grid", ""), rows, numbers=(1,)), _floor_note(error), _rivals(result), figure(picture)])


def _floor_note(error: Result) -> Html:
    if not error.get("at_floor"):
        return Html()
    if not error["reference"]["estimated_error"] < CONVERGED:
        return tag("p", "The reference's own estimate of its error is so large that it says nothing: its solver has not converged.")
    return tag("p", "The solution differs from the reference by less than the reference is uncertain, so only a bound can be stated.")


def _rivals(result: Result) -> Html:
    """The network beside the solver of the reference and the other classical solvers that were run."""
    error, seconds = result["error"], result.get("seconds") or {}
    rows = [("This network", _amount(error), duration(seconds.get("total")))]
    if error["reference"]["kind"] != "exact":
        own = join(["± ", number(error["reference"]["estimated_error"])])
        rows.append((f"Reference: {_kind(error)}", own, duration(error["reference"]["seconds"])))
    baselines = result.get("baselines") or {}
    rows += [
        (
            name.replace("_", " "),
            join([number(row.get("rel_l2")), f" ({row['reason']})" if row.get("reason") else ""]),
            duration(row.get("seconds")),
        )
        for name, row in baselines.items()
    ]
    if len(rows) == 1:
        return Html()
    heading = tag("h3", "Beside classical solvers")
    return join([heading, table(("Method", "Relative L² error", "Time"), rows, numbers=(1, 2))])


def _unknowns(result: Result) -> Html:
    """Each coefficient with its standard error, as the network and, where there is one, a classical fit have found it."""
    fits = {name: row["unknowns"] for name, row in (result.get("baselines") or {}).items() if row.get("unknowns")}
    rows = []
    for name, found in (result.get("unknowns") or {}).items():
        rows.append((symbol(name), "this network", *_estimate(found)))
        rows += [("", f"classical: {fit.replace('_', ' ')}", *_estimate(others[name])) for fit, others in fits.items()]
    return table(("Coefficient", "Found by", "Value", "Standard error"), rows, numbers=(2, 3)) if rows else Html()


def _estimate(found: Result) -> tuple[Html, Html | str]:
    spread = found.get("standard_error")
    return number(found.get("value"), 6), found.get("reason") or "–" if spread is None else join(["± ", number(spread)])


def _further_figures(folder: Path) -> Html:
    return join(figure(path) for path in sorted(folder.glob("*.png")) if path.stem not in CAPTIONS)


def figure(path: Path, caption: str = "") -> Html:
    """A picture inside the page, or nothing where the file is missing."""
    return picture(path, caption or CAPTIONS.get(path.stem, path.stem.replace("_", " ")))


def training(history: Sequence[Result], result: Result, picture: Path) -> Html:
    """Phases, the switch between them, the picture of the history, and events."""
    phases: Sequence[Result] = result.get("phases") or ()
    if not phases:
        return figure(picture)
    rows = [
        (
            f"{position}. {phase['kind']}",
            f"{phase['steps']:,}",
            f"{phase['evaluations']:,}",
            duration(phase.get("seconds")),
            number(phase.get("loss")),
            str(phase["ended_by"]),
        )
        for position, phase in enumerate(phases, 1)
    ]
    header = ("Phase", "Steps", "Evaluations", "Time", "Loss", "Ended by")
    return join([_switch(result), table(header, rows, numbers=(1, 2, 3, 4)), figure(picture), _events(history)])


def _switch(result: Result) -> Html:
    from sciml.figures import switch_text

    switch = result.get("switch")
    if not switch:
        return tag("p", "No phase was ended by a trigger that watches the gradient's noise.") if len(result["phases"]) > 1 else Html()
    text = switch_text(switch)
    return tag("p", f"{text[0].upper()}{text[1:]}.")


def _events(history: Sequence[Result]) -> Html:
    events = [event for row in history for event in row.get("events") or ()]
    if not events:
        return Html()
    listed = [tag("li", event) for event in events[:LARGEST_LISTING]]
    if len(events) > LARGEST_LISTING:
        listed.append(tag("li", f"and {len(events) - LARGEST_LISTING} more in metrics.jsonl"))
    return join([tag("h3", "Events"), tag("ul", *listed)])


def environment(path: Path) -> Html:
    """Versions and hardware, folded."""
    if not path.exists():
        return Html()
    rows = list(_flat(files.read_json(path)))
    return tag("details", tag("summary", "Versions, device and variables"), table(("Name", "Value"), rows)) if rows else Html()


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name} ")
        elif value is not None:
            rows.append((f"{prefix}{name}", str(value)))
    return rows


# ── what a problem says about itself ──────────────────────────────────────────────────────────────────────────────────


def describe(condition: Any) -> str:
    """A condition as one would write it, with functions by their names: `Initial(start, hard=False, weight=100)`."""
    if is_dataclass(condition):
        given = {
            each.name: getattr(condition, each.name)
            for each in fields(condition)
            if each.init and (each.name == "value" or getattr(condition, each.name) != each.default)
        }
    else:
        given = {name: value for name, value in vars(condition).items() if not name.startswith("_")}
    parts = [_written(value) if name == "value" else f"{name}={_written(value)}" for name, value in given.items()]
    return f"{type(condition).__name__}({', '.join(parts)})"


def _written(value: Any) -> str:
    """A value in one word: functions by name, tables by the names and lengths of their columns."""
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {len(column)} values" for name, column in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _source(function: Callable[..., Any]) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except OSError:
        return f"def {function.__name__}{inspect.signature(function)}: ...  # defined interactively, source not available"


def _first_line(problem: Problem) -> str:
    return _paragraphs(problem)[0] if _paragraphs(problem) else ""


def _paragraphs(problem: Problem) -> list[str]:
    """The docstring's paragraphs; the text that a dataclass makes up where there is none is left out."""
    text = inspect.cleandoc(type(problem).__doc__ or "")
    if text.startswith(f"{type(problem).__name__}("):
        return []
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]


__all__ = ["NAME", "describe", "render", "write"]
