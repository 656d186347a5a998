"""A file is either as it was or as it will be; never in between."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from sciml.errors import RunError
from sciml.runs import files


def test_content_is_synced_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    files.write_text(tmp_path / "result.json", "{}")
    assert calls == ["fsync .result.json.partial", "replace", f"fsync {tmp_path.name}"]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    files.write_text(path, "old")
    with pytest.raises(OSError, match="disk"):
        write_half(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["config.toml"]


def write_half(path: Path) -> None:
    with files.replacing(path) as temporary:
        temporary.write_text("ne")
        raise OSError("disk")


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "result.json", {"loss": float("nan")})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "\0\0\0"])
def test_a_json_file_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(RunError, match=r"result\.json cannot be read"):
        files.read_json(tmp_path / "result.json")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("RESOURCE_EXHAUSTED: Failed to write 6967296 bytes: No space left on device [os_error_code='28']"),
    ],
)
def test_no_space_says_what_to_type(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(RunError, match=r"no space on disk .*free space and `sciml resume"), files.disk_errors(tmp_path):
        raise error


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a mistake in the code"), files.disk_errors(tmp_path):
        raise ValueError("a mistake in the code")


def test_json_is_written_for_people_too(tmp_path: Path) -> None:
    files.write_json(tmp_path / "result.json", {"outcome": "ok"})
    assert (tmp_path / "result.json").read_text() == json.dumps({"outcome": "ok"}, indent=2) + "\n"
