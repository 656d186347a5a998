"""Tests of processes wait for what they see, not for a time."""

import time


def wait_for(look, seconds: float = 400.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing after {seconds} s")
