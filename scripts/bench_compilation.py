"""What brief compilation is worth: whole runs with the flags of sciml.device.BRIEF and with XLA's own, from an empty compile cache.

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

from sciml.device import BRIEF, FULL

CONFIGS = ("fisher_kpp", "hare_lynx", "fitzhugh_nagumo")
SIDES = {"brief": BRIEF, "XLA's own": FULL}


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
            for side, flags in SIDES.items():
                found[side].append(measure(config, flags))
        for side, runs in found.items():
            middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            print(
                f"| `{config}` | {side} | {middle['total']:.1f} | {middle['compile']:.1f} | {middle['training']:.1f} "
                f"| {middle['evaluation']:.2f} | {len(runs)} |",
                flush=True,
            )


def measure(config: str, flags: dict[str, object]) -> dict[str, float]:
    """Seconds of one run, by part, and milliseconds of an evaluation in its last phase."""
    with tempfile.TemporaryDirectory() as folder:
        stated = " ".join(f"--{name}={str(value).lower()}" for name, value in flags.items())
        environment = os.environ | {"XLA_FLAGS": stated, "XDG_CACHE_HOME": folder}
        command = [sys.executable, "-m", "sciml.cli", "run", config, "--device", "cpu", "--out", f"{folder}/runs", "--quiet", "--json"]
        result = json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        last = result["phases"][-1]
        return result["seconds"] | {"evaluation": 1e3 * last["seconds"] / last["evaluations"]}


if __name__ == "__main__":
    main()
