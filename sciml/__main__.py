"""What the command `sciml` and `python -m sciml` start: Ctrl-C is quiet from the first import on."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Entry point of the command `sciml`."""
    signal.signal(signal.SIGINT, _leave)
    from sciml.cli import main as command

    command()


def _leave(number: int, frame: FrameType | None) -> None:
    """Ctrl-C while nothing is at stake: a run at work has handlers of its own. An exception would crash JAX while it is imported."""
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), b"\x1b[?25h\n")  # the cursor, should a progress bar have hidden it
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
