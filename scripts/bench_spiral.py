"""A neural ODE learns a spiral in 500 Adam steps: wall time with compilation, sciml beside torchdiffeq, on this machine, in one run.

    python scripts/bench_spiral.py                  # medians of 3; the first time PyTorch is installed, too
    python scripts/bench_spiral.py --repeats 1 --steps 20

Protocol (the spiral of Chen et al. 2018, in the form of the SciML comparison of differential equation solvers): y' = A y^3 from (2, 0), 30
times on [0, 1.5]; the network 2-50-2 (tanh) takes y^3; 500 Adam steps with the learning rate 0.01 on the mean square error of the whole
trajectory, float64, tolerances 1e-4 and 1e-6. sciml is `prepare` and `Discovery.train` with one window and one phase: its network starts
from the slopes of the data, its starting state is fitted, too, and the time of all that counts. torchdiffeq is `odeint` (Dormand-Prince)
differentiated by PyTorch, which its users find faster than its adjoint on short trajectories. Each repeat is a process of its own, so that
it compiles; imports do not count. A third side is sciml once more with the compiled programs of an earlier run, as `sciml run` keeps them
in the user's cache folder: what a second run takes. The sides take turns. Wall time means something on an idle machine only; processor
seconds, summed over threads, stand beside it. torchdiffeq is installed into an environment in the user's cache folder (set
PIP_EXTRA_INDEX_URL to https://download.pytorch.org/whl/cpu to keep the CUDA libraries out).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers.environments import cache_folder, environment  # pyright: ignore[reportMissingImports]

WIDTH, LEARNING_RATE, RTOL, ATOL = 50, 0.01, 1e-4, 1e-6
REQUIREMENTS = ("torch==2.13.0", "torchdiffeq==0.2.5")
PEER = Path(__file__).with_name("peers") / "torchdiffeq_spiral.py"


def main() -> None:
    """Lets the sides take turns and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--width", type=int, default=WIDTH, help="units of the network's layer")
    parser.add_argument("--environment", type=Path, default=cache_folder() / "bench-torchdiffeq", help="where torchdiffeq is or goes")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(learn(json.load(sys.stdin))))
        return
    rival = environment(arguments.environment, REQUIREMENTS)
    ours = [sys.executable, __file__, "--worker"]
    load, request = os.getloadavg()[0], json.dumps(task(arguments.steps, arguments.width))
    with tempfile.TemporaryDirectory() as folder:
        kept = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        sides = {"sciml": (ours, {}), "sciml, second run": (ours, kept), "torchdiffeq": ([str(rival), str(PEER)], {})}
        once(ours, kept, request)
        rows: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for _ in range(arguments.repeats):
            for side, (command, variables) in sides.items():
                rows[side].append(once(command, variables, request))
                print(side, rows[side][-1], file=sys.stderr, flush=True)
    print(f"{table(rows)}\nLoad average of the machine before the first repeat: {load:.1f}.")


def once(command: list[str], variables: dict[str, str], request: str) -> dict[str, Any]:
    """One repeat in a process of its own."""
    answer = subprocess.run(command, input=request, env=os.environ | variables, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{command[0]} failed:\n{answer.stderr}")
    return json.loads(answer.stdout.splitlines()[-1])


def task(steps: int, width: int) -> dict[str, Any]:
    """What both sides are given."""
    import numpy as np
    from scipy.integrate import solve_ivp

    times = np.linspace(0.0, 1.5, 30)
    matrix = np.array([[-0.1, 2.0], [-2.0, -0.1]])
    values = solve_ivp(lambda _, state: matrix @ state**3, (0.0, 1.5), [2.0, 0.0], t_eval=times, rtol=1e-11, atol=1e-12).y.T
    return {
        "times": times.tolist(), "values": values.tolist(), "steps": steps,
        "width": width, "learning_rate": LEARNING_RATE, "rtol": RTOL, "atol": ATOL,
    }  # fmt: skip


def learn(request: dict[str, Any]) -> dict[str, Any]:
    """Our side: seconds from the data to the last step, and the mean square error there."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    import sciml
    from sciml.device import configure, random_key
    from sciml.dynamics.preparing import prepare
    from sciml.dynamics.vector_fields import NeuralODE, Scaling
    from sciml.nets.mlp import MLP
    from sciml.settings import Adam, Integrator, Shooting

    class Cubic(eqx.Module):
        """A network of the cubes of the states."""

        inner: MLP

        def __call__(self, state: jax.Array) -> jax.Array:
            return self.inner(state**3)

    configure("float64")
    values, count = np.array(request["values"]), len(request["times"])
    start, spent = time.perf_counter(), time.process_time()
    series = sciml.TimeSeries.from_arrays(np.array(request["times"]), values, ("x", "y"))
    network = Cubic(MLP(2, 2, request["width"], 1, "tanh", key=random_key(0)))
    plain = Scaling((0.0, 0.0), (1.0, 1.0), (), (), 1.0)
    experiment = prepare(
        series,
        vector_field=NeuralODE(network=network, scaling=plain, states=series.names, channels=series.names),
        shooting=Shooting(intervals=count - 1),
        integrator=Integrator(rtol=request["rtol"], atol=request["atol"]),
        phases=(Adam(steps=request["steps"], learning_rate=request["learning_rate"], until=()),),
    )
    *_, snapshot = experiment.train(every=request["steps"])
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    assert snapshot.step == request["steps"], "a phase without triggers takes all its steps"
    predicted = np.asarray(experiment.objective.predictions(jnp.asarray(snapshot.trainable)))[0]
    return {"seconds": seconds, "processor": spent, "loss": float(np.mean((predicted - values) ** 2)), "version": f"JAX {jax.__version__}"}


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown."""
    middle = {side: statistics.median(row["seconds"] for row in found) for side, found in rows.items()}
    header = (
        "side",
        "seconds, compilation included (median)",
        "each",
        "processor seconds (median)",
        "mean square error (median)",
        "times faster",
    )
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for side, found in rows.items():
        each = ", ".join(f"{row['seconds']:.1f}" for row in found)
        loss, spent = (statistics.median(row[what] for row in found) for what in ("loss", "processor"))
        name = f"{side} ({found[0]['version']})"
        lines.append(f"| {name} | {middle[side]:.1f} | {each} | {spent:.1f} | {loss:.1e} | {middle['torchdiffeq'] / middle[side]:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
