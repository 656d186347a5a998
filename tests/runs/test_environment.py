"""What a run directory tells about the machine, and where compiled programs may lie."""

from __future__ import annotations

import json
import os
import stat
import zlib
from pathlib import Path

import pytest

from sciml.errors import RunError
from sciml.runs.compile_cache import ZSTD, forget_torn, private_folder
from sciml.runs.environment import allowed_variables, collect, differences


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_listed_variables_and_no_secrets() -> None:
    given = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--flag",
        "CUDA_VISIBLE_DEVICES": "0",
        "SLURM_JOB_ID": "7",
        "SLURM_JWT": "secret",
        "SLURM_ACCESS_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HOME": "/home/someone",
        "MY_JAX_NAME": "no",
        "CUDA_VISIBLE_DEVICES_OF_MINE": "no",
    }
    assert allowed_variables(given) == {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--flag", "CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_ID": "7"}


def test_environment_names_versions_and_device() -> None:
    environment = collect()
    assert json.loads(json.dumps(environment)) == environment
    assert environment["device"]["platform"] == "cpu"
    assert {"python", "jax", "jaxlib", "numpy", "sciml"} <= set(environment["versions"])
    assert environment["threads"] == len(os.sched_getaffinity(0))
    assert os.environ.get("HOME", "no home") not in json.dumps(environment)


def test_no_secret_of_the_environment_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "SLURM_JWT", "JAX_API_KEY", "XLA_PASSWORD", "SSH_AUTH_SOCK", "PATH_TO_MINE"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    written = collect()
    assert written["variables"]["SLURM_JOB_ID"] == "4711"
    assert "hunter2" not in json.dumps(written)


def test_changes_that_matter_are_told() -> None:
    before = {"versions": {"jax": "1", "numpy": "2"}, "threads": 1, "variables": {"SLURM_JOB_ID": "1"}, "platform": "a"}
    now = {"versions": {"jax": "3", "numpy": "2"}, "threads": 2, "variables": {"SLURM_JOB_ID": "2"}, "platform": "b"}
    assert differences(before, now) == ["jax was 1, is 3", "threads was 1, is 2"]
    assert differences(before, before) == []


def test_programs_that_a_kill_left_half_written_are_forgotten(tmp_path: Path) -> None:
    """A whole one stays; what was looked at is not looked at again."""
    whole, torn, zstd, other = (tmp_path / name for name in ("jit_a-1-cache", "jit_b-2-cache", "jit_c-3-cache", "notes.txt"))
    whole.write_bytes(zlib.compress(b"program" * 100))
    torn.write_bytes(zlib.compress(b"program" * 100)[:-5])
    zstd.write_bytes(ZSTD + b"half")
    other.write_bytes(b"mine")
    forget_torn(tmp_path)
    assert [path.exists() for path in (whole, torn, zstd, other)] == [True, False, True, True]
    torn.write_bytes(b"")
    os.utime(torn, (1.0, 1.0))
    forget_torn(tmp_path)
    assert torn.exists(), "older than the last look"
    torn.touch()
    forget_torn(tmp_path)
    assert not torn.exists()
    forget_torn(tmp_path / "missing")


def test_the_compile_cache_is_private(tmp_path: Path) -> None:
    folder = private_folder({"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert folder == tmp_path / "cache" / "sciml" / "compiled"
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)


def test_without_the_variable_it_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert private_folder({}) == tmp_path / ".cache" / "sciml" / "compiled"
    assert private_folder({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / "sciml" / "compiled"


def test_a_folder_of_mine_that_others_can_write_to_is_closed(tmp_path: Path) -> None:
    folder = private_folder({"XDG_CACHE_HOME": str(tmp_path)})
    folder.chmod(0o777)
    folder.parent.chmod(0o775)
    assert private_folder({"XDG_CACHE_HOME": str(tmp_path)}) == folder
    assert (mode(folder), mode(folder.parent)) == (0o700, 0o700)


def test_a_folder_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_folder({"XDG_CACHE_HOME": str(tmp_path)})
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(RunError, match=r"belongs to another user; .*XDG_CACHE_HOME"):
        private_folder({"XDG_CACHE_HOME": str(tmp_path)})


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sciml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="it is a link"):
        private_folder({"XDG_CACHE_HOME": str(tmp_path)})
