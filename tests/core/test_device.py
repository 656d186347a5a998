"""How programs are compiled: briefly on a CPU, in full where it counts, and as the user asked where the user did."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jaxlib.version import __version__ as jaxlib

from sciml import device
from sciml.dynamics.shooting import Shooting
from sciml.errors import ConfigError
from sciml.objective import Objective

PROGRAM = """
import json, os
from sciml import device
{before}
device.configure(device={device!r})
device.configure()
import jax, jax.numpy as jnp
def once(x): return 3 * x
def often(x): return 2 * x
ours = device.optimised(often)
jax.jit(once)(jnp.ones(3))
ours(jnp.ones(3))
try:
    jax.jit(ours)(jnp.ones(3))
    free = True
except ValueError as error:
    free = "compiler_options" not in str(error)
print(json.dumps([os.environ.get("XLA_FLAGS"), device.compilation(), free]))
"""
knows = pytest.mark.skipif(not jaxlib.startswith(device.KNOWING), reason="this jaxlib does not know the flags")


def run(flags=None, before="", where="cpu", **variables):
    """The user's flags afterwards, how it compiled, and whether `optimised` gave nothing of its own to XLA."""
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")} | variables
    environment |= {} if flags is None else {"XLA_FLAGS": flags}
    program = PROGRAM.format(before=before, device=where)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


@knows
@pytest.mark.parametrize("flags", [None, "--xla_force_host_platform_device_count=2"], ids=["no flags", "another flag"])
def test_compilation_is_brief_and_the_flags_are_as_before(flags):
    assert run(flags) == (flags, "brief", False)


@knows
def test_xla_knows_of_it(tmp_path):
    """XLA writes the settings of every program beside what it compiles."""
    run(f"--xla_dump_to={tmp_path}")
    once, often = (next(tmp_path.glob(f"*jit_{name}.debug_options")).read_text() for name in ("once", "often"))
    for setting in ("xla_backend_optimization_level: 1", "xla_cpu_use_fusion_emitters: false"):
        assert setting in once
        assert setting not in often
    assert f"{device.PARTS}: {device.available_cores()}" in once


@pytest.mark.parametrize(
    "flags",
    ["--xla_backend_optimization_level=3", "--xla_backend_optimization_level=1", f"--{device.PARTS}=8"],
    ids=["another level", "the same level", "parts"],
)
def test_a_user_who_states_one_of_the_flags_is_left_alone(flags):
    assert run(flags) == (flags, "own", True)


def test_a_file_of_flags_is_left_alone(tmp_path):
    path = tmp_path / "flags"
    path.write_text("--xla_force_host_platform_device_count=2\n")
    assert run(str(path)) == (str(path), "own", True)


def test_a_jaxlib_that_does_not_know_the_flags_is_left_alone():
    assert run(before="device.KNOWING = 'none'") == (None, "own", True)


@pytest.mark.parametrize(
    ("where", "variables", "how"), [("auto", {}, "own"), ("auto", {"JAX_PLATFORMS": "cpu"}, "brief"), ("cpu", {}, "brief")]
)
def test_an_accelerator_that_may_be_used_is_left_alone(where, variables, how):
    if how == "own" or jaxlib.startswith(device.KNOWING):
        assert run(before="device._has_accelerator = lambda: True", where=where, **variables)[1] == how


def test_a_training_on_a_domain_runs_long_enough_for_all_optimisations():
    assert Objective.runs_long
    assert not Shooting.runs_long


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_run_keeps_away_from_cores_to_which_others_are_bound(monkeypatch):
    cores = sorted(os.sched_getaffinity(0))
    hold = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])]); print(flush=True); sys.stdin.read()"
    for busy in cores[:2]:
        with subprocess.Popen([sys.executable, "-c", hold, str(busy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            holder.stdout.readline()
            monkeypatch.setattr(device.os, "listdir", lambda _, holder=holder: ["self", "1000000000", str(os.getpid()), str(holder.pid)])
            assert device._freest(len(cores) - 1) == sorted(set(cores) - {busy}, key=device._freest(len(cores)).index)
            assert device._freest(len(cores))[-1] == busy
            holder.stdin.close()
    assert sorted(device._freest(len(cores))) == cores


@pytest.mark.parametrize("seed", [0, 7, 2**31 - 1, 2**31, -1])
def test_random_keys_are_those_of_jax(seed):
    ours, theirs = device.random_key(seed), jax.random.key(seed)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(jax.random.key_data(ours), jax.random.key_data(theirs))
    np.testing.assert_array_equal(jax.random.normal(ours, (3,)), jax.random.normal(theirs, (3,)))


def test_a_precision_that_there_is_not():
    with pytest.raises(ConfigError, match="precision = 'double' is not known; write 'float64' or 'float32'"):
        device.configure("double")


@pytest.mark.skipif(device._has_accelerator(), reason="there may be one")
def test_a_gpu_that_there_is_not():
    ask = "from sciml import device; device.configure(device='gpu')"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    assert "ConfigError: device 'gpu' is not available here" in done.stderr
