"""Kill -9 at random instants and at named points; resume; the same bytes as if nothing had happened."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from killing import Killable, content, kill, wait_for_row

from sciml.runs.crash_points import POINTS
from sciml.runs.store import Store

pytestmark = pytest.mark.crash

SEED = int(os.environ.get("SCIML_CRASH_SEED", time.time_ns() % 2**32))
KILLS = 5

COUNTS = {
    "checkpoint:arrays-written": 4,
    "checkpoint:before-rename": 3,
    "checkpoint:after-rename": 5,
    "metrics:mid-line": 42,
    "switch": 2,
    "result:before-rename": 1,
}


class Undisturbed(NamedTuple):
    """What a run ends with if nothing happens, and the seconds from the first sight of its directory to its end."""

    content: dict[str, Any]
    seconds: float
    cache: Path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run twice: first with an empty compile cache, then as all later runs will, which must make no difference."""
    cache = tmp_path_factory.mktemp("cache")
    found, seconds = [], 0.0
    for name in ("cold", "warm"):
        killable = Killable(tmp_path_factory.mktemp(name), cache)
        process = killable.begin()
        while killable.directory is None and process.poll() is None:
            time.sleep(0.01)
        start = time.monotonic()
        _, errors = process.communicate(timeout=400)
        seconds = time.monotonic() - start
        assert process.returncode == 0, errors
        found.append(content(killable.directory))
    assert found[0] == found[1]
    return Undisturbed(found[1], seconds, cache)


@pytest.fixture
def killable(tmp_path: Path, undisturbed: Undisturbed) -> Killable:
    return Killable(tmp_path, undisturbed.cache)


@pytest.mark.parametrize("draw", range(KILLS))
def test_killed_at_a_random_instant(killable: Killable, undisturbed: Undisturbed, draw: int) -> None:
    instant = random.Random(SEED + draw).uniform(0.0, undisturbed.seconds)
    process = killable.begin()
    while killable.directory is None and process.poll() is None:
        time.sleep(0.001)
    time.sleep(instant)
    killed = kill(process)
    print(f"SCIML_CRASH_SEED={SEED}: killed {instant:.3f} s after the run directory appeared ({'in time' if killed else 'too late'})")
    assert killable.complete() == undisturbed.content


@pytest.mark.parametrize("kind", ["lbfgs", "broyden"])
def test_killed_inside_a_line_search(killable: Killable, undisturbed: Undisturbed, kind: str) -> None:
    """The second-order phases spend their time in line searches, on the device, chunk by chunk."""
    process = killable.begin()
    wait_for_row(killable, process, kind)
    time.sleep(random.Random(SEED).uniform(0.0, 0.1))
    killed = kill(process)
    print(f"SCIML_CRASH_SEED={SEED}: {'killed' if killed else 'too late'}")
    assert killable.complete() == undisturbed.content


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(killable: Killable, undisturbed: Undisturbed, point: str) -> None:
    process = killable.begin(crash_at=f"{point}:{COUNTS[point]}")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    assert not (killable.directory / "result.json").exists()
    assert killable.complete() == undisturbed.content


def test_killed_again_and_again(killable: Killable, undisturbed: Undisturbed) -> None:
    for point in ("metrics:mid-line:3", "checkpoint:before-rename:4", "checkpoint:after-rename:1", "switch:1"):
        process = killable.resume(crash_at=point)
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, point
    assert killable.complete() == undisturbed.content


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop(killable: Killable, undisturbed: Undisturbed, number: signal.Signals, code: int) -> None:
    process = killable.begin()
    wait_for_row(killable, process, "lbfgs")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert f"sciml resume {killable.directory}" in errors
    if number == signal.SIGTERM:
        assert killable.complete() == undisturbed.content


def test_a_flipped_bit_costs_only_time(killable: Killable, undisturbed: Undisturbed) -> None:
    process = killable.begin()
    wait_for_row(killable, process, "broyden")
    kill(process)
    newest = max(killable.directory.glob("checkpoints/latest-*"))
    victim = max(newest.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    damaged = bytearray(victim.read_bytes())
    damaged[len(damaged) // 3] ^= 4
    victim.write_bytes(damaged)
    process = killable.resume()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"{newest.name} is damaged" in errors
    assert content(killable.directory) == undisturbed.content


def test_the_comparison_sees_a_single_bit(killable: Killable, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A test of this test: one bit of the curvature memory, flipped in a checkpoint with a valid hash, shows at the end."""
    kinds = [row["kind"] for row in undisturbed.content["metrics"]]
    process = killable.begin(crash_at=f"metrics:mid-line:{kinds.index('broyden') + 25}")
    process.communicate(timeout=300)
    store = Store(killable.directory)
    store.clean()
    arrays, cursor, _ = store.load_latest()
    assert cursor["cursor"]["running"]
    name = "train/state/metric/matrix"
    memory = arrays[name].copy()
    assert memory.shape == (memory.shape[0],) * 2
    memory.view("uint64")[0, 0] ^= 1 << 30  # the last bits may be lost in the next update
    shutil.rmtree(killable.directory / "checkpoints")
    store.save("latest", arrays | {name: memory}, cursor)
    assert killable.complete() != undisturbed.content
