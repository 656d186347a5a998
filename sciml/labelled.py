"""Arrays with names, axes and notes, and a netCDF file of them without the seconds that importing xarray takes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Variable = tuple[Sequence[str], Any, Mapping[str, str]]
"""The names of its axes, its values, and notes such as `long_name` and `units`."""


class Labelled(NamedTuple):
    """What a `Solution` writes down: `xarray.Dataset(*labelled)` is the same with all that xarray can do."""

    variables: dict[str, Variable]
    coordinates: dict[str, Variable]
    """Each along the axis that has its name."""
    attributes: dict[str, str | int | float]


def netcdf(labelled: Labelled) -> bytes:
    """A netCDF4 file; the same bytes for the same content."""
    import h5netcdf
    import h5py

    content = io.BytesIO()
    with h5netcdf.File(content, "w") as file:
        for name, (axes, values, notes) in (labelled.coordinates | labelled.variables).items():
            array = np.asarray(values)
            text = array.dtype.kind == "U"
            for axis, size in zip(axes, array.shape, strict=True):
                if axis not in file.dimensions:
                    file.dimensions[axis] = size
            variable = file.create_variable(name, axes, h5py.string_dtype() if text else array.dtype)
            variable[...] = array.astype(object) if text else array
            variable.attrs.update(notes)
        file.attrs.update(labelled.attributes)
    return content.getvalue()
