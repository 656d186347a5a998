"""What brief compilation is worth: whole runs with it and with XLA's own optimisations everywhere, from an empty compile cache.

    python scripts/bench_compilation.py [fisher_kpp hare_lynx ...] [--repeats 3]

Every run is a process of its own with a cache folder of its own; the two sides take turns. Prints a Markdown table of medians. With a
jaxlib that does not know the flags (see sciml.device.KNOWING) both sides are the same. Wall times mean something on an idle machine only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

CONFIGS = ("fisher_kpp", "hare_lynx", "fitzhugh_nagumo")
SIDES = {"brief": {}, "XLA's own": {"XLA_FLAGS": "--xla_backend_optimization_level=3"}}


def main() -> None:
    """Lets the sides take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print("| config | compilation | whole run, s | compiling, s | training, s | milliseconds per evaluation | runs |")
    print("|---|---|---|---|---|---|---|")
    for config in arguments.configs:
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(arguments.repeats):
            for side, variables in SIDES.items():
                found[side].append(measure(config, variables))
        for side, runs in found.items():
            middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            print(
                f"| `{config}` | {side} | {middle['total']:.1f} | {middle['compile']:.1f} | {middle['training']:.1f} "
                f"| {middle['evaluation']:.2f} | {len(runs)} |",
                flush=True,
            )


def measure(config: str, variables: dict[str, str]) -> dict[str, float]:
    """Seconds of one run, by part, and milliseconds of an evaluation in its last phase."""
    with tempfile.TemporaryDirectory() as folder:
        clean = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")}
        environment = clean | variables | {"XDG_CACHE_HOME": folder}
        command = [sys.executable, "-m", "sciml", "run", config, "--device", "cpu", "--out", f"{folder}/runs", "--quiet", "--json"]
        result = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        last = result["phases"][-1]
        return result["seconds"] | {"evaluation": 1e3 * last["seconds"] / last["evaluations"]}


if __name__ == "__main__":
    main()
