"""Kill -9 at instants drawn uniformly over one run, resume; the same bytes each time as if nothing had happened.

    python scripts/kill_anywhere.py --kills 60

The run is that of the crash tests: Adam, L-BFGS and self-scaled Broyden with a checkpoint every 0.1 s. Says the seed and each instant;
exit code 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "crash"))

from killing import Killable, content, kill  # pyright: ignore[reportMissingImports]


def main() -> int:
    """An undisturbed run, then one for each kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="sciml-kills-") as name:
        folder = Path(name)
        expected, seconds = undisturbed(folder)
        print(f"seed {arguments.seed}; an undisturbed run takes {seconds:.1f} s", flush=True)
        same = sum(survives(folder / f"{number}", folder / "cache", rng.uniform(0, seconds), expected) for number in range(arguments.kills))
    print(f"{same} of {arguments.kills} ended with the same bytes")
    return 0 if same == arguments.kills else 1


def undisturbed(folder: Path) -> tuple[dict[str, object], float]:
    """What the run ends with, and the seconds from its process's start to its end once programs are compiled."""
    for name in ("cold", "warm"):
        (folder / name).mkdir()
        killable = Killable(folder / name, folder / "cache", report=True)
        begun = time.monotonic()
        found = killable.complete()
    return found, time.monotonic() - begun


def survives(folder: Path, cache: Path, instant: float, expected: dict[str, object]) -> bool:
    """Whether a run that is killed `instant` seconds after its start, and resumed, ends with the expected bytes."""
    folder.mkdir()
    killable = Killable(folder, cache, report=True)
    process = killable.begin()
    time.sleep(instant)
    in_time = kill(process)
    killable.complete()
    directory = killable.directory
    same = directory is not None and content(directory) == expected
    print(f"  {instant:7.2f} s: {'killed' if in_time else 'had ended'}, {'same' if same else 'DIFFERENT'} bytes", flush=True)
    return same


if __name__ == "__main__":
    sys.exit(main())
