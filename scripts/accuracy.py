"""The accuracy table: `sciml run` on each config with seeds 0, 1, 2, from an empty compile cache, worst seed reported.

    python scripts/accuracy.py [--out runs/accuracy] [--seeds 0 1 2] [NAME ...]

Rows are written to OUT/rows.jsonl as they finish; a stopped script goes on where it was. Peak memory is the run's own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from journal import measure_missing

LIMITS = {
    "fisher_kpp": (150, 1e-7, 1e-9),
    "fisher_kpp_lbfgs": (150, 1e-3, 1e-4),
    "fisher_kpp_flax": (150, 1e-6, 1e-8),
    "poisson_2d": (150, 1e-5, 1e-8),
    "wave": (150, 1e-5, 1e-8),
    "heat_2d": (150, 1e-5, 1e-8),
    "burgers": (600, 1e-6, 1e-8),
    "allen_cahn": (600, 3e-5, 1e-6),
    "nagumo": (150, 1e-7, 1e-9),
    "diffusion_reaction": (150, 1e-7, 1e-9),
    "reaction_rho5": (120, 1e-6, 1e-9),
    "reaction_diffusion_rho5": (180, 1e-5, 1e-8),
    "kpp_sharp_1e2": (300, 1e-5, 1e-8),
    "kpp_sharp_1e3": (300, 1e-5, 1e-8),
    "kpp_sharp_1e4": (300, 1e-5, 1e-8),
    "allen_cahn_smooth": (600, 1e-6, 1e-8),
    "gray_scott_1d": (600, 1e-3, 1e-6),
    "zeldovich": (150, 1e-6, 1e-8),
    "drifting_pulse": (150, 1e-6, 1e-8),
    "two_species": (150, 1e-6, 1e-8),
}
"""Wall seconds and relative L2 that a run should stay within, and the error aimed at."""

UNSEEN = Path(__file__).parent / "unseen"
"""Problems that are not shipped: nothing was ever chosen by looking at them. They run with every default."""


def main() -> None:
    """Runs what is missing, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(LIMITS))
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in LIMITS]
    if unknown:
        parser.error(f"no limits for {', '.join(unknown)}; known: {', '.join(LIMITS)}")
    keys = ({"name": name, "seed": seed} for seed in arguments.seeds for name in arguments.names)
    print(table(measure_missing(arguments.out, keys, partial(measure, out=arguments.out))))


def measure(name: str, seed: int, out: Path) -> dict[str, Any]:
    """One run in a process of its own, with a compile cache that is empty."""
    with tempfile.TemporaryDirectory() as cache:
        began = time.monotonic()
        command = [sys.executable, "-m", "sciml", "run", name, "--seed", str(seed), "--out", str(out), "--json", "--quiet"]
        command += ["--problems", str(UNSEEN)] if (UNSEEN / f"{name}.py").exists() else []
        process = subprocess.Popen(command, env=os.environ | {"XDG_CACHE_HOME": cache}, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"sciml run {name} --seed {seed} failed with exit code {os.waitstatus_to_exitcode(status)}:\n{text}")
    result = json.loads(text)
    result = result.get("result", result)
    return {
        "wall": round(wall, 1),
        "rel_l2": result["error"]["rel_l2"],
        "reference": result["error"]["reference"],
        "switch": result["switch"],
        "phases": [(phase["kind"], phase["steps"], phase["ended_by"]) for phase in result["phases"]],
        "baselines": result["baselines"],
        "peak_memory_gib": round(usage.ru_maxrss / (2**20 if sys.platform == "linux" else 2**30), 2),
    }


def classical(row: dict[str, Any]) -> str:
    """Error and seconds of the classical solver beside the run: the baseline, or the reference where that is one."""
    if row["reference"]["kind"] != "exact":
        return f"{row['reference']['kind']}: {row['reference']['estimated_error']:.0e} in {row['reference']['seconds']:.1f} s"
    solved = {name: each for name, each in row["baselines"].items() if each["rel_l2"] is not None}
    return "; ".join(f"{name}: {each['rel_l2']:.0e} in {each['seconds']:.1f} s" for name, each in solved.items()) or "none"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: per config the worst error and the longest wall time over its seeds, beside the limits."""
    lines = [
        "| config | wall (worst) | limit | rel-L2, worst of seeds | per seed | at most | aim "
        "| switch at step (by) | reference error | classical solver | peak memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        wall_limit, limit, aim = LIMITS[name]
        switches = ", ".join(f"{row['switch']['step']} ({row['switch']['by']})" if row["switch"] else "-" for row in mine)
        lines.append(
            f"| `{name}` | {max(row['wall'] for row in mine):.0f} s | {wall_limit} s | **{max(row['rel_l2'] for row in mine):.1e}** "
            f"| {', '.join(format(row['rel_l2'], '.1e') for row in mine)} | {limit:.0e} | {aim:.0e} | {switches} "
            f"| {mine[0]['reference']['estimated_error']:.0e} | {classical(mine[0])} "
            f"| {max(row['peak_memory_gib'] for row in mine):.2f} GiB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
