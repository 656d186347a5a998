"""DeepXDE on one problem of scripts/bench_accuracy.py: its documented recipe, Adam and then L-BFGS, PyTorch, float64.

    python scripts/peers/deepxde_pde.py PROBLEM REFERENCE.npz SECONDS SEED

Runs in DeepXDE's own environment. Prints JSON lines with seconds since the start and the relative L2 error on the reference's grid.
L-BFGS looks at the clock every thousand iterations, and so ends later than the limit, which is in its favour. Networks, points and
transforms are those of DeepXDE's examples (Burgers.py, diffusion_reaction.py, Allen_Cahn.py; Fisher-KPP takes those of Burgers);
Allen-Cahn has the periodic features and the interval of this benchmark. The first third of the time belongs to Adam.
"""

from __future__ import annotations

import json
import os
import sys
import time

START = time.perf_counter()
os.environ["DDE_BACKEND"] = "pytorch"

import deepxde as dde  # noqa: E402  # pyright: ignore[reportMissingImports]
import numpy as np  # noqa: E402
import torch  # noqa: E402  # pyright: ignore[reportMissingImports]

dde.config.set_default_float("float64")
ADAM_SHARE = 1 / 3


def main() -> None:
    """Trains for the given seconds."""
    name, path, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    dde.config.set_random_seed(seed)
    stored = np.load(path)
    points, values = stored["points"], stored["u"]
    data, network = PROBLEMS[name]()
    model = dde.Model(data, network)
    clock = Clock(points, values, ADAM_SHARE * seconds)
    model.compile("adam", lr=1e-3, verbose=0)
    model.train(iterations=10**7, display_every=10**9, callbacks=[clock], verbose=0)
    clock.until, clock.phase = seconds, "lbfgs"
    dde.optimizers.config.set_LBFGS_options(maxcor=50, ftol=0, gtol=1e-8, maxiter=10**6, maxls=50)
    model.compile("L-BFGS", verbose=0)
    model.train(display_every=10**9, callbacks=[clock], verbose=0)
    clock.report()


class Clock(dde.callbacks.Callback):
    """Reports the error every hundred Adam steps and whenever L-BFGS lets it (every thousand); ends both when their time is over."""

    def __init__(self, points: np.ndarray, values: np.ndarray, until: float) -> None:
        super().__init__()
        self.points, self.values, self.until = points, values, until
        self.phase = "adam"

    def on_epoch_end(self) -> None:
        if self.phase == "lbfgs" or self.model.train_state.iteration % 100 == 0:
            self.report()
        if time.perf_counter() - START > self.until:
            self.model.stop_training = True

    def report(self) -> None:
        found = self.model.predict(self.points)[:, 0]
        error = float(np.linalg.norm(found - self.values) / np.linalg.norm(self.values))
        row = {"seconds": round(time.perf_counter() - START, 2), "rel_l2": error, "phase": self.phase}
        print(json.dumps(row), flush=True)


def space_time(lower: float, upper: float) -> dde.geometry.GeometryXTime:
    """The interval, for one unit of time. DeepXDE puts time last."""
    return dde.geometry.GeometryXTime(dde.geometry.Interval(lower, upper), dde.geometry.TimeDomain(0, 1))


def fisher_kpp() -> tuple[dde.data.TimePDE, dde.nn.FNN]:
    """Soft conditions; network and points of DeepXDE's Burgers example."""
    D, r = 1e-2, 5.0
    domain = space_time(-1, 1)

    def exact(z: np.ndarray) -> np.ndarray:
        speed = 5 / np.sqrt(6) * np.sqrt(r * D)
        return (1 + np.exp(np.sqrt(r / (6 * D)) * (z[:, :1] - speed * z[:, 1:] + 0.3))) ** -2

    def equation(z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return dde.grad.jacobian(u, z, i=0, j=1) - D * dde.grad.hessian(u, z, i=0, j=0) - r * u * (1 - u)

    conditions = [
        dde.icbc.DirichletBC(domain, exact, lambda _, on: on),
        dde.icbc.IC(domain, exact, lambda _, on: on),
    ]
    data = dde.data.TimePDE(domain, equation, conditions, num_domain=2540, num_boundary=80, num_initial=160)
    return data, dde.nn.FNN([2] + [20] * 3 + [1], "tanh", "Glorot normal")


def burgers() -> tuple[dde.data.TimePDE, dde.nn.FNN]:
    """DeepXDE's example Burgers.py."""
    domain = space_time(-1, 1)

    def equation(z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        slope = dde.grad.jacobian(u, z, i=0, j=0)
        return dde.grad.jacobian(u, z, i=0, j=1) + u * slope - 0.01 / np.pi * dde.grad.hessian(u, z, i=0, j=0)

    conditions = [
        dde.icbc.DirichletBC(domain, lambda z: 0, lambda _, on: on),
        dde.icbc.IC(domain, lambda z: -np.sin(np.pi * z[:, :1]), lambda _, on: on),
    ]
    data = dde.data.TimePDE(domain, equation, conditions, num_domain=2540, num_boundary=80, num_initial=160)
    return data, dde.nn.FNN([2] + [20] * 3 + [1], "tanh", "Glorot normal")


def allen_cahn() -> tuple[dde.data.TimePDE, dde.nn.FNN]:
    """Exact periodic features and initial values; points of DeepXDE's example Allen_Cahn.py."""
    domain = space_time(-1, 1)

    def equation(z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return dde.grad.jacobian(u, z, i=0, j=1) - 1e-4 * dde.grad.hessian(u, z, i=0, j=0) - 5 * (u - u**3)

    data = dde.data.TimePDE(domain, equation, [], num_domain=8000, num_boundary=400, num_initial=800)
    network = dde.nn.FNN([3] + [20] * 3 + [1], "tanh", "Glorot normal")
    network.apply_feature_transform(lambda z: torch.cat([torch.cos(np.pi * z[:, :1]), torch.sin(np.pi * z[:, :1]), z[:, 1:]], dim=1))
    network.apply_output_transform(lambda z, u: z[:, :1] ** 2 * torch.cos(np.pi * z[:, :1]) + z[:, 1:] * u)
    return data, network


def diffusion_reaction() -> tuple[dde.data.TimePDE, dde.nn.FNN]:
    """DeepXDE's example diffusion_reaction.py, its exact boundary and initial values included."""
    domain = space_time(-np.pi, np.pi)

    def equation(z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        x, t = z[:, :1], z[:, 1:]
        source = sum((n - 1 / n) * torch.sin(n * x) for n in (2, 3, 4, 8))
        return dde.grad.jacobian(u, z, i=0, j=1) - dde.grad.hessian(u, z, i=0, j=0) - torch.exp(-t) * source

    data = dde.data.TimePDE(domain, equation, [], num_domain=320)
    network = dde.nn.FNN([2] + [30] * 6 + [1], "tanh", "Glorot uniform")

    def hard(z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        x, t = z[:, :1], z[:, 1:]
        return t * (np.pi**2 - x**2) * u + sum(torch.sin(n * x) / n for n in (1, 2, 3, 4, 8))

    network.apply_output_transform(hard)
    return data, network


PROBLEMS = {"fisher_kpp": fisher_kpp, "burgers": burgers, "allen_cahn": allen_cahn, "diffusion_reaction": diffusion_reaction}

if __name__ == "__main__":
    main()
