"""Signals ask; the loop answers."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from sciml.runs.interrupt import watched


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_sets_the_flag_and_nothing_else(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with watched() as interrupt:
        assert interrupt.signal is None
        os.kill(os.getpid(), number)
        assert interrupt.signal == number
    assert signal.getsignal(number) is before


def test_the_first_signal_counts() -> None:
    with watched() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert interrupt.signal == signal.SIGTERM


def test_a_second_ctrl_c_is_immediate() -> None:
    with watched():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_get_no_signals() -> None:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(watched().__enter__().signal))
    thread.start()
    thread.join()
    assert seen == [None]
