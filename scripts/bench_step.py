"""Milliseconds per Adam step on a Burgers residual: sciml beside DeepXDE on PyTorch, on this machine, in one run.

    python scripts/bench_step.py            # about five minutes, most of it the first installation of PyTorch
    python scripts/bench_step.py --quick    # fewer and shorter repeats

Both train the same network (2-64-64-64-64-1, tanh) on 4,096 interior points of u_t + u u_x - nu u_xx = 0 with nu = 0.01 / pi
and no boundary terms. sciml runs what `sciml run` runs (`sciml.prepare`, its training loop, fresh points at every step);
DeepXDE runs `Model.train` on a fixed set of points. Each side and precision lives in a process of its own, started once and
warmed up; then they take turns, one at a time. Reported are medians of the step times and the best rates of matrix products;
a machine that does something else meanwhile gives no result. DeepXDE and PyTorch are installed into an environment in the
user's cache folder (`pip install torch==2.13.0 deepxde`; set PIP_EXTRA_INDEX_URL to https://download.pytorch.org/whl/cpu to
keep the CUDA libraries out).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from peers.environments import cache_folder, environment  # pyright: ignore[reportMissingImports]

WIDTH, HIDDEN_LAYERS, POINTS = 64, 4, 4096
VISCOSITY = 0.01 / math.pi
REQUIREMENTS = ("torch==2.13.0", "deepxde")
CHUNK = 100
"""Steps between two snapshots, as in `sciml run`; their validation is part of our time."""
Precision = Literal["float32", "float64"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
LARGE = (2048, 2048, 2048)
BLOCK = (128, WIDTH, WIDTH)
"""A cache block of points through one hidden layer: the matrix product that the step is made of."""


def main() -> None:
    """Starts the workers, lets them take turns and prints a Markdown table."""
    arguments = _arguments()
    if arguments.worker:
        serve(arguments.worker, arguments.precision)
        return
    repeats, steps = (3, CHUNK) if arguments.quick else (9, 2 * CHUNK)
    rivals = environment(arguments.environment, REQUIREMENTS)
    workers = {
        (side, precision): Worker(python, side, precision)
        for precision in PRECISIONS
        for side, python in (("sciml", Path(sys.executable)), ("deepxde", rivals))
        if side not in arguments.skip
    }
    load = os.getloadavg()[0]
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in workers}
    rates = {key: {"large": 0.0, "block": 0.0} for key in workers}
    for _ in range(repeats):
        for key, worker in workers.items():
            seconds[key].append(worker.ask({"steps": steps})["seconds_per_step"])
            measured = worker.ask({"products": 1})
            rates[key] = {name: max(rate, measured[name]) for name, rate in rates[key].items()}
    versions = {side: worker.version for (side, _), worker in workers.items()}
    for worker in workers.values():
        worker.close()
    print(f"{table(seconds, rates, versions)}\nLoad average of the machine before the first repeat: {load:.1f} (idle workers included).")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter repeats")
    parser.add_argument("--skip", action="append", default=[], choices=("sciml", "deepxde"), help="leave one side out")
    parser.add_argument("--environment", type=Path, default=cache_folder() / "bench-deepxde", help="where DeepXDE is or goes")
    parser.add_argument("--worker", choices=("sciml", "deepxde"), help=argparse.SUPPRESS)
    parser.add_argument("--precision", choices=PRECISIONS, help=argparse.SUPPRESS)
    return parser.parse_args()


# ── what is compared ──────────────────────────────────────────────────────────────────────────────────────────────────


def step_operations() -> int:
    """Floating-point operations of the matrix products that one step needs at least (2 per multiply-add).

    Forward, the value and the derivatives u_t, u_x, u_xx pass through the three hidden-to-hidden layers and the output layer
    as four streams; the first layer multiplies only the values, because the derivatives of its input are constant. Backward,
    every such product has two: one for its input and one for its weights (the first layer's input needs none). Additions,
    tanh, the equation and Adam are left out.
    """
    streams = 4
    later_layers = (HIDDEN_LAYERS - 1) * WIDTH * WIDTH + WIDTH
    forward = 2 * WIDTH + streams * later_layers
    backward = 2 * WIDTH + streams * 2 * later_layers
    return 2 * POINTS * (forward + backward)


def start_sciml(precision: Precision) -> tuple[Callable[[int], float], str]:
    """Our side: `sciml.prepare` with the equation alone and one Adam phase, timed between snapshots of its training loop."""
    import sciml

    class Nothing(sciml.Condition):
        """Keeps `prepare` from asking for initial and boundary conditions."""

        def terms(self, problem: sciml.Problem) -> list[sciml.Term]:
            return []

    class Burgers(sciml.Problem):
        """Viscous Burgers equation without boundary terms."""

        domain = sciml.Box(t=(0.0, 1.0), x=(-1.0, 1.0))

        def equation(self, u: Any, u_t: Any, u_x: Any, u_xx: Any) -> Any:
            return u_t + u * u_x - VISCOSITY * u_xx

        def conditions(self) -> list[sciml.Condition]:
            return [Nothing()]

    experiment = sciml.prepare(
        Burgers(),
        network=sciml.Network(width=WIDTH, depth=HIDDEN_LAYERS),
        points=sciml.Points(interior=POINTS, batch=POINTS),
        phases=[sciml.Adam(steps=10**9, until=())],
        precision=precision,
    )
    snapshots = iter(experiment.train(every=CHUNK))

    def seconds_per_step(steps: int) -> float:
        chunks = math.ceil(steps / CHUNK)
        start = time.perf_counter()
        for _ in range(chunks):
            next(snapshots)
        return (time.perf_counter() - start) / (chunks * CHUNK)

    return seconds_per_step, f"sciml {sciml.__version__}"


def start_deepxde(precision: Precision) -> tuple[Callable[[int], float], str]:
    """DeepXDE's side: `Model.train` with Adam; a callback times the steps alone, without the tests before and after them."""
    os.environ["DDE_BACKEND"] = "pytorch"
    import deepxde  # pyright: ignore[reportMissingImports]
    import torch  # pyright: ignore[reportMissingImports]

    deepxde.config.set_default_float(precision)
    domain = deepxde.geometry.GeometryXTime(deepxde.geometry.Interval(-1, 1), deepxde.geometry.TimeDomain(0, 1))

    def burgers(inputs: Any, u: Any) -> Any:
        u_x = deepxde.grad.jacobian(u, inputs, i=0, j=0)
        u_t = deepxde.grad.jacobian(u, inputs, i=0, j=1)
        u_xx = deepxde.grad.hessian(u, inputs, i=0, j=0)
        return u_t + u * u_x - VISCOSITY * u_xx

    class Clock(deepxde.callbacks.Callback):
        def on_epoch_begin(self) -> None:
            if self.model.train_state.iteration == self.first:
                self.start = time.perf_counter()

        def on_epoch_end(self) -> None:
            self.end = time.perf_counter()

    data = deepxde.data.TimePDE(domain, burgers, [], num_domain=POINTS)
    network = deepxde.nn.FNN([2, *[WIDTH] * HIDDEN_LAYERS, 1], "tanh", "Glorot normal")
    model = deepxde.Model(data, network)
    model.compile("adam", lr=1e-3, verbose=0)
    clock = Clock()

    def seconds_per_step(steps: int) -> float:
        clock.first = model.train_state.iteration
        model.train(iterations=steps, display_every=10**9, callbacks=[clock], verbose=0)
        return (clock.end - clock.start) / steps

    return seconds_per_step, f"DeepXDE {deepxde.__version__}, PyTorch {torch.__version__}"


# ── the machine's matrix products ─────────────────────────────────────────────────────────────────────────────────────


def sciml_products(precision: Precision) -> Callable[[tuple[int, int, int], int], float]:
    """Seconds of a number of chained matrix products in XLA."""
    import jax
    import jax.numpy as jnp

    def seconds(shape: tuple[int, int, int], count: int) -> float:
        rows, inner, columns = shape
        right = jnp.full((inner, columns), 1.0 / inner, precision)
        chained = jax.jit(lambda left: jax.lax.fori_loop(0, count, lambda _, value: value @ right, left))
        left = jnp.ones((rows, inner), precision)
        return best_of(lambda: chained(left).block_until_ready())

    return seconds


def deepxde_products(precision: Precision) -> Callable[[tuple[int, int, int], int], float]:
    """Seconds of a number of chained matrix products in PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    def seconds(shape: tuple[int, int, int], count: int) -> float:
        rows, inner, columns = shape
        right = torch.full((inner, columns), 1.0 / inner, dtype=getattr(torch, precision))
        left = torch.ones((rows, inner), dtype=getattr(torch, precision))

        def chained() -> None:
            value = left
            for _ in range(count):
                value = value @ right

        with torch.no_grad():
            return best_of(chained)

    return seconds


def best_of(call: Callable[[], Any], repeats: int = 3) -> float:
    """The shortest of several calls after one that warms up: a rate that the machine can reach."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


SIDES = {"sciml": (start_sciml, sciml_products), "deepxde": (start_deepxde, deepxde_products)}


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve(side: str, precision: Precision) -> None:
    """A worker: answers one JSON line per request line, until its input ends. Whatever libraries print goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    start, products = SIDES[side]
    seconds_per_step, version = start(precision)
    seconds_per_step(50)
    print(json.dumps({"version": version}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if "steps" in request:
            answer = {"seconds_per_step": seconds_per_step(request["steps"])}
        else:
            answer = rates(products(precision), request["products"])
        print(json.dumps(answer), file=answers)


def rates(seconds: Callable[[tuple[int, int, int], int], float], count: int) -> dict[str, float]:
    """Operations per second of `count` large products, and of as many block products as take a comparable time."""

    def rate(shape: tuple[int, int, int], times: int) -> float:
        return 2 * math.prod(shape) * times / seconds(shape, times)

    return {"large": rate(LARGE, count), "block": rate(BLOCK, 2000 * count)}


class Worker:
    """A process that times one side in one precision, warmed up when the constructor returns."""

    def __init__(self, python: Path, side: str, precision: str) -> None:
        command = [str(python), __file__, "--worker", side, "--precision", precision]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version: str = self._answer()["version"]

    def ask(self, request: dict[str, Any]) -> dict[str, float]:
        """Sends one request and waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the worker and waits for it."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended early with exit code {self._process.wait()}; its message stands above")
        return json.loads(line)


# ── report ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(seconds: dict[tuple[str, str], list[float]], rates: dict[tuple[str, str], dict[str, float]], versions: dict[str, str]) -> str:
    """Markdown: step times, their ratio, and the share of the machine's matrix-product rate that a step reaches."""
    operations = step_operations()
    lines = [
        f"MLP 2-{'-'.join([str(WIDTH)] * HIDDEN_LAYERS)}-1, {POINTS:,} points, Burgers residual, Adam; "
        f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}; {'; '.join(versions.values())}.",
        f"The matrix products of a step take at least {operations / 1e9:.3f} GFLOP.",
        "",
        "| precision | side | ms per step (median) | spread | times faster than DeepXDE | GFLOP/s | share of the machine's rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for (side, precision), samples in seconds.items():
        median = statistics.median(samples)
        rival = seconds.get(("deepxde", precision))
        ratio = f"{statistics.median(rival) / median:.2f}" if rival else "-"
        peak = max(rate["large"] for (_, other), rate in rates.items() if other == precision)
        lines.append(
            f"| {precision} | {side} | {median * 1e3:.1f} | {min(samples) * 1e3:.1f} to {max(samples) * 1e3:.1f} | {ratio} "
            f"| {operations / median / 1e9:.0f} | {operations / median / peak:.0%} |"
        )
    lines += [
        "",
        f"| precision | matrix products in | {_shape(LARGE)}, GFLOP/s | {_shape(BLOCK)}, GFLOP/s |",
        "|---|---|---|---|",
    ]
    for (side, precision), rate in rates.items():
        library = {"sciml": "XLA", "deepxde": "PyTorch"}[side]
        lines.append(f"| {precision} | {library} | {rate['large'] / 1e9:.0f} | {rate['block'] / 1e9:.0f} |")
    lines += ["", "The machine's rate is the best that either library reached in any repeat with the large product."]
    return "\n".join(lines)


def _shape(shape: tuple[int, int, int]) -> str:
    return " x ".join(str(size) for size in shape)


if __name__ == "__main__":
    main()
