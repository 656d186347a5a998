"""What is drawn of a sweep: a map over two axes of numbers, and logarithmic axes where the sweep's file says so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import LogNorm

import sciml
from sciml.batch import plan
from sciml.batch.error_map import edges, find_grid, map_figure
from sciml.batch.figures import axes_figure
from sciml.batch.scales import read_logarithmic
from sciml.batch.settings import read_sweep
from sciml.runs import files
from sciml.runs.config import run_name

SPREAD = '"parameters.D" = { from = 0.01, to = 0.04, count = 3, scale = "log" }'


def group(x: Any, y: Any, median: float | None) -> dict[str, Any]:
    return {"x": x, "y": y, "runs": 1, "ok": 1, "measure": "error", "median": median}


GROUPS = [group(x, y, None if (x, y) == (4.0, 5) else 10.0 ** -(x + y)) for x in (1.0, 2.0, 4.0) for y in (3, 5)]


def test_the_map_has_a_logarithmic_colour_and_the_axes_of_the_file() -> None:
    panel, bar = map_figure(GROUPS, "x", "y", ("x",)).axes
    mesh = panel.collections[0]
    assert isinstance(mesh.norm, LogNorm)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (1e-7, 1e-4)
    assert (panel.get_xscale(), panel.get_yscale(), bar.get_ylabel()) == ("log", "linear", "median error")
    values = np.ma.asarray(mesh.get_array())
    assert np.allclose(values.filled(0.0), [[1e-4, 1e-5, 1e-7], [1e-6, 1e-7, 0.0]], rtol=1e-12)
    assert len(panel.texts) == 5, "the combination without a median has no number"
    assert panel.get_legend() is not None
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "2", "4"]


def test_a_map_of_equal_errors_can_be_drawn(tmp_path: Path) -> None:
    map_figure([group(x, y, 1e-3) for x in (1, 2) for y in (1, 2)], "x", "y").savefig(tmp_path / "map.png")


@pytest.mark.parametrize(
    ("groups", "axes", "expected"),
    [
        (GROUPS, ["x", "y", "seed"], ("x", "y")),
        (GROUPS[:-1], ["x", "y"], None),
        ([row | {"z": row["x"]} for row in GROUPS], ["x", "y", "z"], None),
        ([row | {"y": str(row["y"])} for row in GROUPS], ["x", "y"], None),
        ([row | {"y": row["y"] == 3} for row in GROUPS], ["x", "y"], None),
        ([row | {"z": 1.0} for row in GROUPS], ["x", "z", "y"], ("x", "y")),
    ],
)
def test_two_axes_of_numbers_in_all_combinations_are_a_map(groups: Any, axes: list[str], expected: Any) -> None:
    assert find_grid(groups, axes) == expected


def test_cells_end_half_way_between_values() -> None:
    assert edges([1.0, 2.0, 4.0], logarithmic=False).tolist() == [0.5, 1.5, 3.0, 5.0]
    assert np.allclose(edges([1.0, 100.0], logarithmic=True), [0.1, 10.0, 1000.0], rtol=1e-12)


def test_an_axis_is_drawn_as_the_file_says() -> None:
    rows = [{"error": 1e-3, "D": value, "width": value} for value in (1.0, 2.0, 4.0)]
    assert [panel.get_xscale() for panel in axes_figure(rows, "error", ["D", "width"], ("D",)).axes] == ["log", "linear"]


def sweep(folder: Path, monkeypatch: pytest.MonkeyPatch, axes: str) -> Path:
    """A sweep whose runs are all made."""
    monkeypatch.setattr(plan, "name_runs", lambda configs, problems: [run_name(config, "", {}) for config in configs])
    (folder / "speed.toml").write_text(f'base = "fisher_kpp"\nseeds = 3\n[axes]\n{axes}\n')
    directory = folder / "speed"
    directory.mkdir()
    made = plan.make_plan(directory, read_sweep(folder / "speed.toml"), None)
    for run in made.runs:
        made.run_directory(run).mkdir()
        error = math.prod(value for key, value in run.values.items() if key != "seed" and isinstance(value, float))
        result = {"outcome": "ok", "steps": 1, "seconds": {"total": 453.0}, "error": {"rel_l2": 10.0 ** run.values["seed"] * error}}
        files.write_json(made.run_directory(run) / "result.json", result)
    return directory


def test_the_report_shows_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = sweep(tmp_path, monkeypatch, f'{SPREAD}\n"parameters.r" = [2.5, 5.0]')
    assert read_logarithmic(directory) == {"parameters.D"}
    assert read_logarithmic(directory / "runs") == frozenset()
    text = sciml.report(directory).read_text()
    assert "The median error of each combination over both axes." in text
    assert (directory / "figures" / "map.png").stat().st_size > 10_000
    assert "7:33 min" in text
    assert "median over 3 seeds: parameters.D=0.01  parameters.r=2.5" in text


def test_one_axis_has_no_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = sweep(tmp_path, monkeypatch, SPREAD)
    assert "over both axes" not in sciml.report(directory).read_text()
    assert sorted(path.name for path in (directory / "figures").iterdir()) == ["axes.png", "time.png"]


def test_an_axis_of_phases_is_short_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = '[{{ kind = "adam", steps = 300, until = [] }}, {{ kind = "broyden", steps = {} }}]'
    directory = sweep(tmp_path, monkeypatch, f'phases = [{phases.format(600)}, {phases.format(900)}]\n"parameters.D" = [0.01]')
    short = '[{kind = "adam", steps = 300, until = []}, {kind = "broyden", steps = 600}]'
    best = sciml.status(directory)["best"][0]
    assert best["phases"][1]["steps"] == 600
    assert f"phases={short}  parameters.D=0.01" in repr(sciml.load(directory).runs[0])
    assert short.replace('"', "&quot;") in sciml.report(directory).read_text()
