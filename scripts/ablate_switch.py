"""What the noise-to-signal switch is worth: beside fixed switches and a plateau, and how it moves with the batch.

    python scripts/ablate_switch.py [--problems burgers ...] [--seeds 0 1 2] [--limit 120] [--out runs/ablate_switch]

For each problem, switch and seed one `sciml run` in a process of its own, from an empty compile cache, stopped at the limit: Adam until
the switch, then self-scaled Broyden. All else is the problem's config. Then Adam alone with several batches, each also the point count
for which the ratio is stated. Independent points would give a ratio proportional to 1/batch; a batch is eight Sobol sets under random
digital shifts, whose variance falls with the square of their size where the integrand is smooth (Dick & Pillichshammer 2010, Digital Nets
and Sequences). From that and the ratio at the largest batch follows the step at which the trigger fires at the others. Rows go
to OUT/rows.jsonl as they finish and a stopped script goes on where it was. Prints two Markdown tables and writes OUT/switch.png. The
column `load` is the machine's load average at the start of each run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench_accuracy import run_sciml
from journal import Row, measure_missing

PROBLEMS = ("fisher_kpp", "burgers", "allen_cahn")
LONGEST = 10_000
"""Steps at which a trigger that has not fired gives up: the latest of the fixed switches."""
SWITCHES = {
    "noise": f'{{kind="adam", steps={LONGEST}, until=[{{kind="noise"}}]}}',
    "plateau": f'{{kind="adam", steps={LONGEST}, until=[{{kind="plateau"}}]}}',
    **{f"{steps:,}": f'{{kind="adam", steps={steps}, until=[]}}' for steps in (300, 1_000, 3_000, 10_000)},
}
BATCHES = (256, 512, 1024, 2048)
BATCH_PROBLEM = "fisher_kpp"
BATCH_STEPS = 2_000
THRESHOLD, PATIENCE = 0.1, 3
"""The trigger's defaults."""
EXPONENT = 2
"""Power of 1/batch with which the variance of shifted Sobol sets falls."""


def main() -> None:
    """Runs what is missing, then draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=float, default=120.0, help="wall seconds of each run")
    parser.add_argument("--batch-steps", type=int, default=BATCH_STEPS, help="Adam steps for each batch")
    parser.add_argument("--out", type=Path, default=Path("runs/ablate_switch"))
    arguments = parser.parse_args()
    wanted = measure_missing(arguments.out, plan(arguments), measure, hidden=("windows", "curve"))
    print(switch_table(wanted), batch_table(wanted), sep="\n\n")
    draw(wanted, arguments.problems, arguments.out / "switch.png")


def plan(arguments: argparse.Namespace) -> Iterator[Row]:
    """What identifies each run, seed by seed, so that a script stopped early has compared something."""
    for seed in arguments.seeds:
        for batch in BATCHES:
            yield {"problem": BATCH_PROBLEM, "batch": batch, "steps": arguments.batch_steps, "seed": seed}
        for problem in arguments.problems:
            for switch in SWITCHES:
                yield {"problem": problem, "switch": switch, "limit": arguments.limit, "seed": seed}


def measure(**key: Any) -> Row:
    """One run, with a switch or with a batch."""
    return of_batch(**key) if "batch" in key else of_switch(**key)


def of_switch(problem: str, switch: str, limit: float, seed: int) -> Row:
    """One run to the wall limit; the error is that of the state that it returns."""
    phases = f'phases=[{SWITCHES[switch]}, {{kind="broyden", steps=100000}}]'
    result, steps, wall = run_sciml(problem, limit, seed, phases)
    before = wall - result["seconds"]["total"]
    found = result["switch"] or {"step": None, "by": "the wall limit"}
    return {
        "rel_l2": result["error"]["rel_l2"],
        "switched": found["step"],
        "by": found["by"],
        "steps": result["steps"],
        "seconds": round(wall, 1),
        "ended": result["ended_by"],
        "windows": [window for step in steps for window in step["nsr_windows"]],
        "curve": [(round(before + step["seconds"], 1), step["error"]) for step in steps],
    }


def of_batch(problem: str, batch: int, steps: int, seed: int) -> Row:
    """Adam with a trigger that measures and never fires; the ratio is stated for the batch itself."""
    from sciml import Adam, Noise, Points, prepare
    from sciml.runs.catalog import load_problem

    phases = [Adam(steps=steps, until=(Noise(threshold=1e-300),))]
    points = Points(batch=batch, interior=batch)
    windows: list[Row] = []
    for snapshot in prepare(load_problem(problem), points=points, phases=phases, seed=seed).train():
        windows += [window._asdict() for window in snapshot.nsr_windows]
    return {"windows": windows}


def firing(windows: Sequence[Row], factor: float = 1.0) -> int | None:
    """The step at which the trigger fires on ratios multiplied by `factor`: armed, and the bound low for several windows."""
    streak = 0
    for window in windows:
        low = window["armed"] and window["bound"] is not None and factor * window["bound"] < THRESHOLD
        streak = streak + 1 if low else 0
        if streak == PATIENCE:
            return window["step"]
    return None


# ── report ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def switch_table(rows: Sequence[Row]) -> str:
    """Final errors: median and worst of the seeds, and where each run switched."""
    lines = ["| problem | switch | rel-L2, median | worst | switched at step (by) | seeds | load |", "|---|---|---|---|---|---|---|"]
    for problem in dict.fromkeys(row["problem"] for row in rows if "switch" in row):
        for switch in SWITCHES:
            found = [row for row in rows if row.get("switch") == switch and row["problem"] == problem]
            if not found:
                continue
            errors, loads = [row["rel_l2"] for row in found], [row["load"] for row in found]
            where = ", ".join("none" if row["switched"] is None else f"{row['switched']:,} ({row['by']})" for row in found)
            lines.append(
                f"| `{problem}` | {switch} | {statistics.median(errors):.1e} | {max(errors):.1e} | {where} | {len(found)} "
                f"| {min(loads):g} to {max(loads):g} |"
            )
    return "\n".join(lines)


def batch_table(rows: Sequence[Row]) -> str:
    """The ratio at each batch over that at the largest one, and where the trigger fires against where it should."""
    lines = [
        "| batch | ratio over that of the largest batch, median | as 1/batch | as 1/batch^2 | fires at step | as 1/batch^2 | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for batch in BATCHES:
        found = [row for row in rows if row.get("batch") == batch]
        pairs = [(row, largest(rows, row["seed"])) for row in found]
        ratios = [
            window["nsr"] / other["nsr"]
            for row, reference in pairs
            for window, other in zip(row["windows"][1:], reference["windows"][1:], strict=True)
            if window["nsr"] is not None and other["nsr"]
        ]
        if ratios:
            factor = BATCHES[-1] / batch
            measured = ", ".join(step_text(firing(row["windows"])) for row in found)
            expected = ", ".join(step_text(firing(reference["windows"], factor**EXPONENT)) for _, reference in pairs)
            lines.append(
                f"| {batch:,} | {statistics.median(ratios):.2f} | {factor:.0f} | {factor**2:.0f} | {measured} | {expected} | {len(found)} |"
            )
    return "\n".join(lines)


def largest(rows: Sequence[Row], seed: int) -> Row:
    """The row of the largest batch, or one without windows where it has not been run yet."""
    return next((row for row in rows if row.get("batch") == BATCHES[-1] and row["seed"] == seed), {"windows": []})


def step_text(step: int | None) -> str:
    """A step, or that there is none."""
    return "never" if step is None else f"{step:,}"


def draw(rows: Sequence[Row], problems: Sequence[str], path: Path) -> None:
    """Above the ratio with the switch marked, a line per seed; below the final errors. On the right the batches."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(problems) + 1, figsize=(3.6 * (len(problems) + 1), 6.4), squeeze=False, layout="constrained")
    for column, problem in enumerate(problems):
        draw_ratio(axes[0, column], problem, [row for row in rows if row["problem"] == problem and row.get("switch") == "noise"])
        draw_errors(axes[1, column], [row for row in rows if row["problem"] == problem and "switch" in row])
    draw_batches(axes[0, -1], axes[1, -1], [row for row in rows if "batch" in row])
    axes[0, 0].set_ylabel("noise-to-signal ratio")
    axes[1, 0].set_ylabel("relative L2 error at the limit")
    figure.savefig(path, dpi=160)


def draw_ratio(axis: Any, problem: str, rows: Sequence[Row]) -> None:
    """The ratio of each window, a line per seed, with the switch."""
    for number, row in enumerate(rows):
        known = [window for window in row["windows"] if window["nsr"]]
        axis.semilogy([window["step"] for window in known], [window["nsr"] for window in known], "o-", ms=3, lw=1, color=f"C{number}")
        if row["switched"] is not None:
            axis.axvline(row["switched"], color=f"C{number}", ls="--", lw=1)
    axis.axhline(THRESHOLD, color="grey", lw=1, ls=":")
    axis.set_title(f"{problem}: ratio and switch (dashed)", fontsize=10)
    axis.set_xlabel("Adam step")
    axis.grid(alpha=0.3)


def draw_errors(axis: Any, rows: Sequence[Row]) -> None:
    """The final error of every run."""
    for position, switch in enumerate(SWITCHES):
        errors = [row["rel_l2"] for row in rows if row["switch"] == switch]
        axis.semilogy([position] * len(errors), errors, "o", color="#0072b2" if switch == "noise" else "#555555", ms=5, alpha=0.8)
    axis.set_xticks(range(len(SWITCHES)), list(SWITCHES), rotation=30)
    axis.set_xlim(-0.5, len(SWITCHES) - 0.5)
    axis.set_xlabel("switch")
    axis.grid(alpha=0.3)


def draw_batches(above: Any, below: Any, rows: Sequence[Row]) -> None:
    """The ratio times the batch's square, which should not depend on the batch, and where the trigger fires."""
    for number, batch in enumerate(BATCHES):
        for row in (row for row in rows if row["batch"] == batch):
            known = [window for window in row["windows"] if window["nsr"]]
            label = f"batch {batch:,}" if row["seed"] == rows[0]["seed"] else None
            scaled = [batch**EXPONENT * window["nsr"] for window in known]
            above.semilogy([window["step"] for window in known], scaled, lw=1, color=f"C{number}", label=label)
            expected = firing(largest(rows, row["seed"])["windows"], (BATCHES[-1] / batch) ** EXPONENT)
            for step, marker in ((firing(row["windows"]), "o"), (expected, "_")):
                if step is not None:
                    below.semilogx(batch, step, marker, color=f"C{number}", ms=8)
    above.set_title(f"{BATCH_PROBLEM}: batch^2 x ratio", fontsize=10)
    above.set_xlabel("Adam step")
    above.grid(alpha=0.3)
    if rows:
        above.legend(fontsize=8)
    below.set_title("step of firing: measured (o), expected (_)", fontsize=10)
    below.set_xlabel("batch")
    below.grid(alpha=0.3)


if __name__ == "__main__":
    main()
