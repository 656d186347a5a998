"""Seconds are counted once, over sessions and over nested compilations."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import pytest

from sciml.runs.stopwatch import CompileTime, Stopwatch


def test_nested_intervals_count_once() -> None:
    compile_time = CompileTime()
    for start, end in ((0.0, 1.0), (2.0, 3.0), (3.5, 4.0), (1.5, 5.0), (6.0, 7.0)):
        compile_time.add(start, end)
    assert compile_time.seconds == pytest.approx(1.0 + 3.5 + 1.0)


def test_jax_tells_when_it_compiles() -> None:
    compile_time = CompileTime()
    start = time.perf_counter()
    with compile_time.measured():
        jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x) + 1.25)(jnp.ones((7, 7))).block_until_ready()
    compiled = compile_time.seconds
    assert 0 < compiled < time.perf_counter() - start
    jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x) + 2.25)(jnp.ones((7, 7)))
    assert compile_time.seconds == compiled


def test_sessions_add_up() -> None:
    watch = Stopwatch(CompileTime(), time.perf_counter())
    watch.go_on({"total": 100.0, "compile": 10.0, "training": 50.0, "phases": [30.0, 20.0]})
    with watch.training() as lap:
        time.sleep(0.01)
        lap.phase = 2
    seconds = watch.seconds
    assert seconds["total"] == pytest.approx(100.0, abs=1.0)
    assert seconds["total"] > 100.0
    assert seconds["compile"] == 10.0
    assert seconds["phases"][:2] == [30.0, 20.0]
    assert seconds["training"] == pytest.approx(50.0 + seconds["phases"][2])
    assert 0.01 <= watch.phase(2) < 1.0
