"""Named points at which a test may kill the process, so that every crash that matters can be repeated at will."""

from __future__ import annotations

import os
import signal

POINTS = (
    "checkpoint:arrays-written",
    "checkpoint:before-rename",
    "checkpoint:after-rename",
    "metrics:mid-line",
    "switch",
    "result:before-rename",
)

_name, _, _count = os.environ.get("SCIML_CRASH_AT", "").rpartition(":")
_left = int(_count) if _count.isdecimal() else 0


def reach(name: str) -> None:
    """Kill the process (SIGKILL) if `SCIML_CRASH_AT="name:count"` asks for it here, at the `count`-th time; else nothing."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
