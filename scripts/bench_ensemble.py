"""Seeds of one small problem: a process for each beside processes that train many together, by wall time and CPU time.

`python scripts/bench_ensemble.py` makes the same sweep (fisher_kpp, 32 seeds, 1,000 steps of Adam) once per row of the table, with an
empty compile cache and then with a warm one. Where other work loads the machine, compare the CPU seconds. `--kernels` shows
instead what a step costs each seed, by how many seeds are one computation: what is left of the gain without processes and compiling.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SWEEP = """
base = "fisher_kpp"
seeds = {seeds}
[set]
phases = [{{ kind = "adam", steps = {steps}, until = [] }}]
execution = {{ report = false }}
"""


class Cost(NamedTuple):
    """Seconds of one sweep, of the clock and of all processors, and the shares of its runs' time that compiling and training took."""

    wall: float
    cpu: float
    compiling: float
    training: float


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="sweeps with a warm cache, of which the median is shown")
    parser.add_argument(
        "--together", type=int, nargs="*", help="seeds per process; default: 1, the seeds shared out among the workers, all"
    )
    parser.add_argument("--kernels", type=int, nargs="+", metavar="SEEDS", help="only what a step of Adam costs, for so many seeds at once")
    arguments = parser.parse_args()
    if arguments.kernels:
        kernels(arguments.kernels)
        return
    sizes = arguments.together or [1, -(-arguments.seeds // arguments.workers), arguments.seeds]
    print("| seeds per process | cache | wall s | CPU s | compiling | training | checking, measuring, saving |")
    print("|---|---|---|---|---|---|---|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            costs = [measure(Path(folder), number, size, arguments) for number in range(1 + arguments.repeats)]
        report(size, "cold", costs[:1])
        report(size, "warm", costs[1:])


def measure(folder: Path, number: int, size: int, arguments: argparse.Namespace) -> Cost:
    """Make the sweep once, in a folder of its own; the compile cache is that of `folder`."""
    file = folder / "seeds.toml"
    file.write_text(SWEEP.format(seeds=arguments.seeds, steps=arguments.steps))
    out = folder / f"sweeps-{number}"
    workers = min(arguments.workers, -(-arguments.seeds // size))
    cores = ["--workers", str(workers), "--threads", str(arguments.workers // workers)]
    options = ["--out", str(out), *cores, "--ensemble", str(size), "--quiet"]
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    before, started = used(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "sciml", "sweep", str(file), *options], env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, cpu = time.perf_counter() - started, used() - before
    spent = [json.loads(path.read_text())["seconds"] for path in out.glob("*/runs/*/result.json")]
    assert len(spent) == arguments.seeds
    total, *shares = (sum(each[name] for each in spent) for name in ("total", "compile", "training"))
    return Cost(wall, cpu, *(share / total for share in shares))


def used() -> float:
    """CPU seconds of all processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def report(size: int, cache: str, costs: list[Cost]) -> None:
    """One row: medians."""
    if not costs:
        return
    middle = Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))
    shares = (middle.compiling, middle.training, 1 - middle.compiling - middle.training)
    print(
        f"| {size} | {cache} | {middle.wall:.0f} | {middle.cpu:.0f} | " + " | ".join(f"{share:.0%}" for share in shares) + " |", flush=True
    )


def kernels(sizes: list[int], steps: int = 60, repeats: int = 5) -> None:
    """CPU time of one seed's step of Adam on one thread: the best of a few repeats."""
    from sciml.device import configure

    configure("float64", threads=1)
    from sciml.optim.runners import Lane
    from sciml.runs.catalog import load_problem
    from sciml.settings import Adam
    from sciml.solve import prepare_seeds

    phase = Adam(steps=10**6, until=())
    experiments = prepare_seeds(load_problem("fisher_kpp", {}), range(max(sizes)), phases=(phase,))
    runner = experiments[0].programs.runner(phase)
    print("| seeds at once | CPU ms per seed and step |\n|---|---|")
    for size in sizes:
        chosen = experiments[:size]
        states = [runner.begin(each.objective.instance, each.start, None, 0) for each in chosen]
        costs = []
        for until in range(steps, (repeats + 2) * steps, steps):
            started = time.process_time()
            lanes = [Lane(runner, each.objective.instance, state, None, until) for each, state in zip(chosen, states, strict=True)]
            states = runner.advance(lanes)
            states[-1].theta.block_until_ready()
            costs.append((time.process_time() - started) / (size * steps) * 1e3)
        print(f"| {size} | {min(costs[1:]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
