"""Engines share out cores and devices, say what they lack before anything starts, and give the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dask
import psutil
import pytest
from waiting import wait_for

import sciml
from sciml.batch import attempt, engines
from sciml.batch.dask import Dask
from sciml.batch.engines import EngineLostError, make_engine, share_out
from sciml.batch.settings import Engine
from sciml.errors import ConfigError

SWEEP = """
base = "poisson_2d"
seeds = 2
[set]
log_every = 5
network = { width = 4, depth = 1 }
points = { interior = 64, boundary = 32, initial = 32, batch = 64, validation = 64 }
phases = [{ kind = "adam", steps = 10, until = [] }]
execution = { report = false }
[engine]
workers = 2
threads = 1
"""


@pytest.mark.parametrize(
    ("settings", "cores", "expected"),
    [
        ({}, [0, 1], [((0,), "", 1), ((1,), "", 1)]),
        ({"threads": 2}, [0, 1, 2, 3], [((0, 1), "", 1), ((2, 3), "", 1)]),
        ({"workers": 1}, [4, 5, 6], [((4, 5, 6), "", 1)]),
        ({"workers": 3}, [0, 1], [((0,), "", 1), ((1,), "", 1), ((0,), "", 1)]),
        ({"threads": 8}, [0, 1], [((0, 1), "", 1)]),
        ({"devices": ("0", "1")}, [0, 1, 2, 3], [((0, 1), "0", 1), ((2, 3), "1", 1)]),
        ({"devices": ("0",), "workers": 2}, [0, 1], [((0,), "0", 2), ((1,), "0", 2)]),
    ],
)
def test_cores_and_devices_are_shared_out(settings, cores, expected) -> None:
    assert share_out(Engine(**settings), cores) == expected


@pytest.mark.parametrize(
    ("plugin", "visible", "expected"), [(True, None, ("0", "1")), (True, "1, 3", ("1", "3")), (True, "", ()), (False, None, ())]
)
def test_runs_are_dealt_out_to_the_cuda_devices_that_jax_can_use(tmp_path, monkeypatch, plugin, visible, expected) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(engines, "GPUS", tmp_path)
    monkeypatch.setattr(engines, "find_spec", lambda name: object() if plugin and name == "jax_cuda12_plugin" else None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert engines.cuda_devices() == expected


def test_runs_that_share_a_device_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    task = attempt.Task("", "", "", "", None, "", 1, None, 1.0, "", device="1", sharers=3)
    assert attempt._environment(task) | {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.250", "CUDA_VISIBLE_DEVICES": "1"} == attempt._environment(
        task
    )
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.1")
    assert attempt._environment(task)["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.1", "what the user says goes"


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'sciml-jax\[cluster\]'"):
        make_engine(Engine(dask="local"), Path())


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_scheduler_that_cannot_be_reached(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("sciml.batch.dask.PATIENCE", 1.0)
    with pytest.raises(ConfigError, match="no Dask scheduler can be reached there"):
        make_engine(Engine(dask=address), Path())
    assert dask.config.get("scheduler", None) is None, "what computes with Dask in this process must not look for a cluster"


@pytest.mark.filterwarnings("default")
def test_a_dask_scheduler_without_workers_and_one_that_dies(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    contact = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        + ["--scheduler-file", str(contact)],
        stderr=subprocess.DEVNULL,
    )
    try:
        address = wait_for(lambda: contact.exists() and contact.read_text() and json.loads(contact.read_text())["address"])
        engine = make_engine(Engine(dask=address, workers=2, threads=1), tmp_path)
        said = engine.look()
        assert "workers, threads of [engine] say nothing here" in said
        assert f"`dask worker {address}` starts one" in said
        assert engine.look() == "", "once is enough"
        scheduler.kill()
        with pytest.raises(EngineLostError, match="the Dask scheduler is gone"):
            wait_for(lambda: engine.look())
        engine.shutdown()
    finally:
        scheduler.kill()
        scheduler.wait()


@pytest.mark.filterwarnings("default")
def test_a_dask_worker_with_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("sciml.batch.dask.worker_version", lambda: "0.0.9")
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        pytest.raises(ConfigError, match="has sciml 0.0.9, this is .* install the same version on all workers"),
    ):
        make_engine(Engine(dask=cluster.scheduler_address), Path())


@pytest.mark.filterwarnings("default")
def test_the_dask_engine_listens_on_the_loopback_only_and_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    file = tmp_path / "poisson.toml"
    file.write_text(SWEEP)
    listening: list[str] = []

    def looked(self: Dask, settings: Engine) -> None:
        begin(self, settings)
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        sockets = [each for process in processes for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        listening.extend(each.laddr.ip for each in sockets)

    begin = Dask.__init__
    monkeypatch.setattr(Dask, "__init__", looked)
    made = [sciml.sweep(file, out=tmp_path / name, dask=dask) for name, dask in (("local", None), ("dask", "local"))]
    assert [sweep.counts for sweep in made] == [{"ok": 2}, {"ok": 2}]
    for one, other in zip(*(sweep.runs for sweep in made), strict=True):
        assert (one.directory / "solution.nc").read_bytes() == (other.directory / "solution.nc").read_bytes()
    assert listening
    assert set(listening) == {"127.0.0.1"}
    together = sciml.sweep(file, out=tmp_path / "together", dask="local", ensemble=2)
    assert [[(note["reason"], note["together"]) for note in run.attempts] for run in together.runs] == [[("done", 2)]] * 2
    assert [row["error"] for row in together.table] == pytest.approx([row["error"] for row in made[0].table], rel=1e-6)
