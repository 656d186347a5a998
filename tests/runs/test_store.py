"""Checkpoints come back bit by bit, and a damaged one is never used."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from sciml.errors import RunError
from sciml.runs.store import Store

ARRAYS = {
    "state/hessian": np.random.default_rng(0).standard_normal((20, 20)),
    "state/not finite": np.array([np.nan, -np.inf, -0.0, 5e-324]),
    "state/count": np.array(7, np.int32),
    "state/flag": np.array(True),
    "sampler/key": np.array([1, 2**32 - 1], np.uint32),
    "empty/vector": np.zeros((0,)),
    "empty/matrix": np.zeros((3, 0), np.float32),
    "network/.layers[0]['weight']": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "network/strided": np.arange(10.0)[::3],
    "network/half": np.ones(3, ml_dtypes.bfloat16),
}
CURSOR = {"step": 400, "switch": None, "loss": 0.1, "nsr": float("inf"), "events": ["switch by noise"]}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for path, array in expected.items():
        assert type(found[path]) is np.ndarray, path
        assert (found[path].dtype, found[path].shape) == (array.dtype, array.shape), path
        assert found[path].tobytes() == array.tobytes(), path


def checkpoint_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def stored(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


def test_arrays_and_cursor_come_back(tmp_path: Path) -> None:
    Store(tmp_path).save("latest", ARRAYS, CURSOR)
    arrays, cursor, message = Store(tmp_path).load_latest()
    assert_same(arrays, ARRAYS)
    assert cursor == CURSOR
    assert message is None


def test_nothing_written_is_not_an_error(tmp_path: Path) -> None:
    assert Store(tmp_path).load_latest() is None
    assert Store(tmp_path).load_best() is None
    Store(tmp_path).clean()


def test_keeps_the_latest_two_and_the_best(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in range(4):
        store.save("latest", {"step": np.array(step)}, {"step": step})
        store.save("best", {"best": np.array(-step)}, {"step": step})
    assert stored(tmp_path) == ["best-000004", "latest-000003", "latest-000004"]
    assert store.load_latest().cursor == {"step": 3}
    assert store.load_best().arrays["best"] == -3


def test_few_files(tmp_path: Path) -> None:
    Store(tmp_path).save("latest", {f"layer/{number}": np.ones(5) for number in range(100)}, {})
    assert len(checkpoint_files(tmp_path)) < 20


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two")
    for step in (1, 2):
        Store(directory).save("latest", ARRAYS | {"step": np.array(step)}, {"step": step})
    return directory


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, fill_with_zeros, Path.unlink])
def test_damage_to_any_file_falls_back_to_the_checkpoint_before(two_checkpoints: Path, tmp_path: Path, damage) -> None:
    count = len(checkpoint_files(two_checkpoints / "checkpoints" / "latest-000002"))
    assert count > 3
    for number in range(count):
        directory = tmp_path / str(number)
        shutil.copytree(two_checkpoints, directory)
        victim = checkpoint_files(directory / "checkpoints" / "latest-000002")[number]
        damage(victim)
        arrays, cursor, message = Store(directory).load_latest()
        assert cursor == {"step": 1}, victim
        assert arrays["step"] == 1
        assert "latest-000002 is damaged" in message
        assert "latest-000001 is used" in message


def test_a_stranger_among_the_files_is_noticed(two_checkpoints: Path, tmp_path: Path) -> None:
    shutil.copytree(two_checkpoints, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "latest-000002" / "arrays" / "stranger").write_text("")
    assert "stranger is not in its manifest" in Store(tmp_path / "run").load_latest().message


def test_all_damaged_says_what_to_type(two_checkpoints: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    for folder in (directory / "checkpoints").iterdir():
        flip_a_bit(folder / "cursor.json")
    with pytest.raises(RunError, match=r"latest-000002 is damaged .*latest-000001 is damaged .*`rm -r .*checkpoints` .*`sciml resume"):
        Store(directory).load_latest()


def test_a_damaged_checkpoint_does_not_crowd_out_a_good_one(two_checkpoints: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(two_checkpoints, directory)
    flip_a_bit(directory / "checkpoints" / "latest-000002" / "cursor.json")
    Store(directory).save("latest", {"step": np.array(3)}, {"step": 3})
    assert stored(directory) == ["latest-000001", "latest-000003"]


def test_a_later_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sciml.runs.store.SCHEMA_VERSION", 2)
    Store(tmp_path).save("latest", ARRAYS, CURSOR)
    monkeypatch.undo()
    with pytest.raises(RunError, match="later version of sciml; `pip install --upgrade sciml-jax`"):
        Store(tmp_path).load_latest()


def test_leftovers_of_a_crash_are_cleaned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save("latest", ARRAYS, CURSOR)
    leftover = tmp_path / "checkpoints" / ".staging-latest-000002" / "arrays"
    leftover.mkdir(parents=True)
    assert store.load_latest().cursor == CURSOR
    store.clean()
    assert stored(tmp_path) == ["latest-000001"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [10, 1000, 100_000])
def test_a_full_disk_leaves_the_old_checkpoint_and_says_how_to_go_on(tmp_path: Path, size: int) -> None:
    store = Store(tmp_path)
    store.save("latest", ARRAYS, CURSOR)
    with largest_file(size), pytest.raises(RunError, match=r"no space on disk .* free space and `sciml resume .*`"):
        store.save("latest", {"big": np.random.default_rng(1).standard_normal(100_000)}, {})
    assert stored(tmp_path) == ["latest-000001"]
    assert_same(store.load_latest().arrays, ARRAYS)


def test_a_disk_without_room_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save("latest", ARRAYS, CURSOR)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    store.save("latest", {"fits": np.zeros(100_000)}, {"step": 2})
    with pytest.raises(RunError, match=r"no space on disk .* free space and `sciml resume .*`"):
        store.save("latest", {"big": np.zeros(1_000_000)}, {})
    assert store.load_latest().cursor == {"step": 2}


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_later_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    store = Store(tmp_path)
    store.save("latest", ARRAYS, CURSOR)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"sciml.runs.files.os.{call}", fail)
        with pytest.raises(RunError, match="`sciml resume"):
            store.save("latest", ARRAYS, CURSOR)
    assert stored(tmp_path) == ["latest-000001"]
    assert_same(store.load_latest().arrays, ARRAYS)


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        calls.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr("sciml.runs.files.os.replace", recorded_replace)
    Store(tmp_path).save("latest", ARRAYS, CURSOR)

    target = tmp_path / "checkpoints" / "latest-000001"
    renamed = calls.index(("replace", str(target)))
    synced = {path.replace(".staging-latest-000001", "latest-000001") for what, path in calls[:renamed] if what == "fsync"}
    assert synced >= {str(path) for path in target.rglob("*")} | {str(target)}
    assert ("fsync", str(tmp_path / "checkpoints")) in calls[renamed:]
