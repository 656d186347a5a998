"""How programs are compiled: briefly on a CPU, in full where it counts, and as the user asked where the user did."""

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

from sciml import device

PROGRAM = """
import json, os
from sciml import device
{before}
device.configure(device={device!r})
import jax.numpy as jnp
print(json.dumps([os.environ.get("XLA_FLAGS"), device.optimised(lambda x: 2 * x)(jnp.ones(3)).tolist(), "compilation" in device._settled]))
"""
FLAGS = ["--xla_backend_optimization_level=1", "--xla_cpu_use_fusion_emitters=false"]


def run(flags=None, before="", where="cpu"):
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    environment |= {} if flags is None else {"XLA_FLAGS": flags}
    program = PROGRAM.format(before=before, device=where)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    stated, doubled, brief = json.loads(done.stdout)
    assert doubled == [2.0, 2.0, 2.0]
    return stated, brief


@pytest.mark.skipif(not version("jaxlib").startswith(device.KNOWING), reason="this jaxlib does not know the flags")
@pytest.mark.parametrize(
    ("given", "expected", "brief"),
    [
        (None, FLAGS, True),
        ("--xla_force_host_platform_device_count=2", ["--xla_force_host_platform_device_count=2", *FLAGS], True),
        (" ".join(FLAGS), FLAGS, True),
        ("--xla_backend_optimization_level=3", ["--xla_backend_optimization_level=3"], False),
    ],
    ids=["nothing stated", "something else stated", "by a parent", "by the user"],
)
def test_compilation_is_brief_where_nobody_asked_for_another(given, expected, brief):
    stated, found = run(given)
    assert stated.split() == expected
    assert found == brief


def test_a_jaxlib_that_does_not_know_the_flags_is_left_alone():
    assert run(before="device.KNOWING = 'none'") == (None, False)


def test_flags_of_a_parent_on_a_cpu_do_not_reach_an_accelerator():
    before = "device._has_accelerator = lambda: True"
    stated, brief = run("--xla_force_host_platform_device_count=2 " + " ".join(FLAGS), before, "auto")
    assert (stated, brief) == ("--xla_force_host_platform_device_count=2", False)
