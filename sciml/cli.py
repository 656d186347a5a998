"""The command line. It parses, calls and prints; JAX is imported only by the commands that compute."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from sciml import __version__
from sciml.__main__ import INTERRUPTED
from sciml.errors import ConfigError, Outcome, RunError, ScimlError, suggest
from sciml.runs import catalog

if TYPE_CHECKING:
    from sciml.runs.result import Result

TERMINATED = 143
SIGNALLED = (INTERRUPTED, TERMINATED)


class _Commands(TyperGroup):
    """Commands whose deliberate errors end in one message and their exit code, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except ScimlError as error:
            if as_json:
                typer.echo(json.dumps({"error": str(error), "exit_code": error.exit_code}))
            kind = "" if error.exit_code in SIGNALLED else "error: "
            _stderr().print(f"{kind}{error}", style="red", markup=False, highlight=False, emoji=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name="sciml",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Physics-informed machine learning: from an equation to a verified solution.",
    epilog="Exit codes: 0 ok, 1 the run failed or stopped early, 2 a mistake in what was typed, 130 Ctrl-C, 143 SIGTERM.",
)
new = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Begin something new from a template.")
app.add_typer(new, name="new")

Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, for example network.width=30; may be repeated.")
]
Problems = Annotated[Path | None, typer.Option("--problems", metavar="DIR", help="Look for problems and configs here first.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, gpu or tpu.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads.")]
Precision = Annotated[str | None, typer.Option(help="float64 or float32.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print result.json instead of a summary.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sciml {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A problem or config that `sciml list` shows, or a config file.")],
    overrides: Overrides = [],
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Parent of the run directory.")] = Path("runs"),
    device: Device = None,
    threads: Threads = None,
    precision: Precision = None,
    problems: Problems = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train, compare with the reference, write a run directory.

    A second run of the same config resumes the first where it is unfinished, and reports it where it is complete.
    """
    from sciml.runs import commands

    typed = [*overrides, *_execution(device, threads, precision)]
    result = commands.run(name, overrides=typed, seed=seed, out=out, problems=problems, progress=not quiet)
    _finish(result, as_json)


def _execution(device: str | None, threads: int | None, precision: str | None = None) -> list[str]:
    """Options of their own as settings."""
    options = {"execution.device": device, "execution.threads": threads, "precision": precision}
    return [f"{key}={value}" for key, value in options.items() if value is not None]


@app.command()
def resume(
    directories: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run directory, or several that differ in their seed.")],
    overrides: Overrides = [],
    problems: Problems = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped or killed, or, with --set phases.1.steps=50000, with a complete one.

    Several runs that differ in their seed alone are trained together, in one process.
    """
    from sciml.runs import commands

    results = commands.resume(*directories, overrides=overrides, problems=problems, progress=not quiet)
    if len(results) > 1:
        _finish_all(results, as_json)
    else:
        _finish(results[0], as_json)


@app.command()
def sweep(
    source: Annotated[str, typer.Argument(metavar="FILE.toml|NAME|DIR", help="A sweep's file, or the directory of one that goes on.")],
    overrides: Overrides = [],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Parent of the sweep's directory.")] = Path("sweeps"),
    dask: Annotated[str | None, typer.Option(metavar="local|ADDRESS", help="Execute on Dask workers.")] = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="Execute as Slurm job arrays.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at a time.")] = None,
    ensemble: Annotated[int | None, typer.Option(min=1, help="Seeds that one process trains together.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of each run.")] = None,
    retries: Annotated[int | None, typer.Option(min=0, help="How often a run that died is tried again.")] = None,
    time_limit: Annotated[float | None, typer.Option(min=0.001, metavar="SECONDS", help="Longest time of one attempt at a run.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what has used up its retries.")] = False,
    problems: Problems = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status at the end as JSON.")] = False,
) -> None:
    """Make every run of a sweep that is not complete yet; killed or interrupted, the same command goes on."""
    from sciml.batch.narrate import Narrator
    from sciml.batch.sweep import Listener
    from sciml.batch.sweep import sweep as make

    listener = Listener() if quiet else Narrator(_stderr())
    settings = {"dask": dask, "workers": workers, "ensemble": ensemble, "threads": threads, "retries": retries, "time_limit": time_limit}
    found = make(
        source, out=out, overrides=overrides, problems=problems, retry_failed=retry_failed, slurm=slurm, listener=listener, **settings
    )
    _print_status(found.directory, as_json)
    if not found.complete:
        raise typer.Exit(RunError.exit_code)


@app.command()
def status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep, or a folder of runs.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every few seconds while somebody works on it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON; with --watch, a line whenever the counts change.")] = False,
) -> None:
    """Show how far a sweep is and what has failed."""
    if watch:
        from sciml.batch.narrate import watch as show

        show(directory, Console(), as_json)
    else:
        _print_status(directory, as_json)


@app.command()
def table(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep, or a folder of runs.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="csv, latex or json.")] = "csv",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --to json.")] = False,
    over_seeds: Annotated[bool, typer.Option("--over-seeds", help="A row per combination: median, worst, best and spread.")] = False,
    columns: Annotated[str | None, typer.Option("--columns", metavar="A,B,C", help="Only these columns, in this order.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write; without it, to the terminal.")] = None,
) -> None:
    """Print a row for each run of a sweep: its axes, state, error, residual, steps and seconds."""
    from sciml.batch.table import FORMATS
    from sciml.batch.table import table as make

    if as_json and to not in ("csv", "json"):
        raise ConfigError(f"--to {to} and --json say different things; leave one of them out")
    to = "json" if as_json else to
    if to not in FORMATS:
        raise ConfigError(f"--to {to} does not exist; {suggest(to, FORMATS)}")
    chosen = None if columns is None else [column.strip() for column in columns.split(",") if column.strip()]
    text = make(directory, to, over_seeds=over_seeds, columns=chosen)
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, str(text))


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep, or a folder of runs.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the path as JSON.")] = False,
) -> None:
    """Write DIR/report.html: best runs, spread over seeds, figures, failures by reason, all runs."""
    from sciml.batch.report import report as make

    path = make(directory)
    typer.echo(json.dumps({"report": str(path)}) if as_json else str(path))


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show in what two runs differ, and what came out of each."""
    from sciml.batch.compare import compare as look
    from sciml.batch.compare import describe

    found = look(first, second)
    typer.echo(json.dumps(found, indent=2) if as_json else describe(found))


@app.command()
def discover(
    table: Annotated[Path, typer.Argument(metavar="FILE.csv", help="A header, then one row per time; the first column is time.")],
    controls: Annotated[
        list[str], typer.Option("--control", metavar="NAME", help="A column that is an input, not a state; may be repeated.")
    ] = [],
    unit: Annotated[str | None, typer.Option(help="In what to count times that are dates: ms, s, min, h, d or y.")] = None,
    hold_out: Annotated[
        int, typer.Option(min=0, metavar="N", help="Keep the last N rows of each trajectory from the fit and forecast them.")
    ] = 0,
    noise: Annotated[str | None, typer.Option(help="gaussian, lognormal (errors by a factor) or counts; else the data choose.")] = None,
    field: Annotated[
        str, typer.Option(help="sparse (few candidate terms) or neural (a network, and what can be read out of it).")
    ] = "sparse",
    overrides: Overrides = [],
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Parent of the run directory.")] = Path("runs"),
    device: Device = None,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find the equation behind a table of measurements: coefficients with intervals, a forecast with bands.

    Empty cells were not measured; rows with equal entries in a column `trajectory` belong together. It is a run like any other:
    `sciml resume RUN` goes on with it, `sciml.load(RUN)` reads it, report.html is written. With a vector field of your own, type
    `sciml run NAME` instead.
    """
    from sciml.runs import commands

    document = {
        "kind": "discovery",
        "problem": catalog.name_of(table.stem),
        "series": {"file": str(table), "controls": list(controls), **({} if unit is None else {"unit": unit})},
        "hold_out": hold_out,
        **({} if noise is None else {"noise": noise}),
        "vector_field": {"kind": field},
        "seed": seed,
    }
    result = commands.run(document, overrides=[*overrides, *_execution(device, threads)], out=out, progress=not quiet)
    _finish(result, as_json)


@app.command()
def predict(
    directory: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    at: Annotated[Path, typer.Option(metavar="POINTS.csv", help="Points: a header with the coordinates' names, then one point per line.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Where to write; without it, to the terminal.")] = None,
    problems: Problems = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print coordinates and fields as JSON lists.")] = False,
) -> None:
    """Evaluate the solution of a run at the points of a CSV file."""
    from sciml.runs.commands import require_run

    require_run(directory)
    if out is not None and out.exists() and out.samefile(at):
        raise ConfigError(f"--out {out} would overwrite the points; name another file")
    from sciml.runs.load import load
    from sciml.runs.points import count_outside, format_fields, read_points
    from sciml.solution import Solution

    solution = load(directory, problems)
    if not isinstance(solution, Solution):
        raise ConfigError(
            f"{directory} holds dynamics, which have no points; sciml.load({str(directory)!r}).forecast(times) continues them"
        )
    box = solution.problem.domain
    points = read_points(at, box.coordinates)
    values = solution(**points)
    fields = values if isinstance(values, dict) else {solution.problem.observable_names[0]: values}
    columns = {name: [float(value) for value in column] for name, column in {**points, **fields}.items()} if as_json else {}
    text = json.dumps(columns) + "\n" if as_json else format_fields(points, fields)
    if outside := count_outside(points, box.intervals):
        typer.echo(f"extrapolated: {outside} of {len(points[box.coordinates[0]])} points are outside {box}", err=True)
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)


@app.command("list")
def list_(
    problems: Problems = None, as_json: Annotated[bool, typer.Option("--json", help="Print names, files and summaries as JSON.")] = False
) -> None:
    """Show the problems and configs that can be run by name."""
    console, found = Console(), catalog.available(problems)
    if as_json:
        plain = {title: [{**entry._asdict(), "path": str(entry.path)} for entry in entries] for title, entries in found.items()}
        typer.echo(json.dumps(plain, indent=2))
        return
    for title, entries in found.items():
        lines = Table(box=None, pad_edge=False, header_style="bold")
        lines.add_column(title, no_wrap=True)
        lines.add_column("")
        for entry in entries:
            lines.add_row(entry.name, _plain(entry.summary))
        if entries:
            console.print(lines)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A problem, a config or a sweep, or the file of one.")],
    overrides: Overrides = [],
    problems: Problems = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find what can be found wrong without training; of a sweep, show which runs it would make."""
    from sciml.batch.check import check as look

    findings = look(name, overrides=overrides, problems=problems)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        lines = Table(box=None, pad_edge=False, show_header=False)
        for finding in findings:
            lines.add_row("[green]ok[/green]" if finding.ok else "[red]wrong[/red]", finding.name, _plain(finding.text))
        Console().print(lines)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ConfigError.exit_code)


@new.command("problem")
def new_problem(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits and underscores.")],
    problems: Annotated[Path, typer.Option("--problems", metavar="DIR", help="Where to write it.")] = Path("problems"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the path as JSON.")] = False,
) -> None:
    """Write DIR/NAME.py from the template, ready to be edited and run."""
    path = catalog.new_problem(name, problems)
    written = f"{path} written; edit it, then type: sciml check {name} --problems {problems}"
    typer.echo(json.dumps({"path": str(path)}) if as_json else written)


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(metavar="config|sweep", help="What the file describes.")] = "config",
    as_json: Annotated[bool, typer.Option("--json", help="It is always JSON.")] = True,
) -> None:
    """Print the JSON Schema of a config or of a sweep's file, for editors."""
    from sciml.batch.schema import schema as make

    typer.echo(json.dumps(make(kind), indent=2))


def main() -> None:
    """Reads the command line and does what it says."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # our factorisations are small: threads only wait (docs/decisions/017)
    os.environ.setdefault("EQX_ON_ERROR", "nan")  # JAX keeps no program that may raise from within, as Diffrax's would (decision 057)
    app(prog_name="sciml")


def _finish(result: Result, as_json: bool) -> None:
    from sciml.runs.summary import summary

    if as_json:
        typer.echo(json.dumps({"directory": str(result.directory), **result.result}, indent=2))
    else:
        typer.echo(summary(result.directory, result.result))
    if result.outcome != Outcome.OK:
        raise typer.Exit(RunError.exit_code)


def _finish_all(results: list[Result], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([{"directory": str(each.directory), **each.result} for each in results], indent=2))
    else:
        for each in results:
            error = (each.result.get("error") or {}).get("rel_l2")
            typer.echo(f"{each.directory}: {each.outcome}" + ("" if error is None else f", error {error:.2e}"))
    if any(each.outcome != Outcome.OK for each in results):
        raise typer.Exit(RunError.exit_code)


def _print_status(directory: Path, as_json: bool) -> None:
    from sciml.batch.status import describe
    from sciml.batch.status import status as look

    found = look(directory)
    typer.echo(json.dumps(found, indent=2) if as_json else describe(found))


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written: {error.strerror or error}") from error


def _plain(text: str) -> str:
    """Text without mark-up: neither Rich's nor the commonest LaTeX."""
    from rich.markup import escape

    from sciml.runs.html import plain

    return escape(plain(text))


def _stderr() -> Console:
    return Console(file=sys.stderr)


if __name__ == "__main__":
    main()
