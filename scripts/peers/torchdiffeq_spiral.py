"""torchdiffeq on the spiral of scripts/bench_spiral.py: one request on standard input, seconds and mean square error on standard output.

Runs in torchdiffeq's own environment.
"""

from __future__ import annotations

import json
import sys
import time

import torch  # pyright: ignore[reportMissingImports]
import torchdiffeq  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Trains for the given steps."""
    request = json.load(sys.stdin)
    torch.manual_seed(0)
    start, spent = time.perf_counter(), time.process_time()
    times, values = (torch.tensor(request[name], dtype=torch.float64) for name in ("times", "values"))
    inner = torch.nn.Sequential(torch.nn.Linear(2, request["width"]), torch.nn.Tanh(), torch.nn.Linear(request["width"], 2)).double()
    optimiser = torch.optim.Adam(inner.parameters(), lr=request["learning_rate"])

    def predicted() -> torch.Tensor:
        field = lambda t, state: inner(state**3)  # noqa: E731
        return torchdiffeq.odeint(field, values[0], times, rtol=request["rtol"], atol=request["atol"])

    for _ in range(request["steps"]):
        optimiser.zero_grad()
        torch.mean((predicted() - values) ** 2).backward()
        optimiser.step()
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    with torch.no_grad():
        loss = float(torch.mean((predicted() - values) ** 2))
    version = f"torchdiffeq {torchdiffeq.__version__}, PyTorch {torch.__version__}"
    print(json.dumps({"seconds": seconds, "processor": spent, "loss": loss, "version": version}))


if __name__ == "__main__":
    main()
