"""Progress: what is said, how often, and how the time left is found."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from sciml.errors import Outcome
from sciml.runs.config import Config, Execution
from sciml.runs.listener import Listener
from sciml.runs.progress import LineProgress, LiveProgress, Pace, duration, progress, relative_error
from sciml.settings import Adam, Broyden


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def snapshot(step, phase=0, kind="adam", records=(), events=(), outcome=None):
    return SimpleNamespace(step=step, phase=phase, kind=kind, phases=records, events=events, outcome=outcome)


def record(kind, steps):
    return SimpleNamespace(kind=kind, steps=steps)


EXPERIMENT = SimpleNamespace(parameters=921, phases=(Adam(steps=1000), Broyden(steps=5000)))
ROW = {"loss": 1.5e-3, "nsr": 0.12, "error": 3.4e-2, "seconds": 1.0}


def plain(**execution):
    console = Console(file=io.StringIO(), width=200)
    display = LineProgress(console)
    display.started(Path("runs/a-1"), Config(problem="fisher_kpp", execution=Execution(**execution)), EXPERIMENT, 0)
    clock = display.pace.clock = Clock()
    display.pace.begun = 0.0
    display.last = -10.0
    return display, clock, console.file


def test_a_start_says_what_and_where():
    _, _, file = plain()
    text = file.getvalue()
    assert "fisher_kpp: 921 parameters; adam (at most 1,000 steps), then broyden (at most 5,000 steps)" in text
    assert "runs/a-1" in text


def test_lines_hold_step_loss_ratio_error_and_time_left():
    display, clock, file = plain()
    display.snapshot(snapshot(100), ROW)
    clock.now = 2.0
    display.snapshot(snapshot(300), ROW)
    line = file.getvalue().splitlines()[-1]
    assert line == "adam    step 300/1,000  loss 1.50e-03  nsr 1.20e-01  error 3.40e-02  2.0 s, about 7.0 s left in this phase"


def test_lines_come_once_a_second_but_events_always():
    display, clock, file = plain()
    before = len(file.getvalue().splitlines())
    for number in range(1, 101):
        clock.now = number * 0.01
        display.snapshot(snapshot(number, events=("switch by noise",) if number == 50 else ()), ROW)
    lines = file.getvalue().splitlines()[before:]
    assert sum("step" in line for line in lines) == 1
    assert lines.count("switch by noise") == 1
    display.snapshot(snapshot(101, outcome=Outcome.OK), ROW)
    assert "step 101" in file.getvalue().splitlines()[-1]


def test_steps_are_counted_in_their_phase():
    display, clock, file = plain()
    display.snapshot(snapshot(700, phase=1, records=(record("adam", 700),)), ROW)
    assert "adam    step 700/1,000" in file.getvalue().splitlines()[-1]
    clock.now = 5.0
    display.snapshot(snapshot(750, phase=1, kind="broyden", records=(record("adam", 700),)), ROW)
    assert "broyden step 50/5,000" in file.getvalue().splitlines()[-1]


def test_a_wall_limit_is_shown():
    display, clock, file = plain(wall_limit=100.0)
    clock.now = 40.0
    display.snapshot(snapshot(10), ROW)
    assert "(stops in 1:00 min)" in file.getvalue()


def test_markup_in_messages_is_text():
    display, _, file = plain()
    display.message("[red]x[/red] :smile:")
    assert "[red]x[/red] :smile:" in file.getvalue()


def test_rows_without_numbers_are_fine():
    display, _, file = plain()
    display.snapshot(snapshot(1), {"loss": None, "nsr": None, "error": None})
    assert "step 1/1,000" in file.getvalue()


def test_time_left_is_measured_without_the_first_chunk():
    clock = Clock()
    pace = Pace((100,), clock)
    assert pace.left() is None
    clock.now = 30.0
    pace.advance(0, 10)
    assert pace.left() is None
    clock.now = 32.0
    pace.advance(0, 30)
    assert pace.left() == pytest.approx(7.0)
    assert pace.elapsed == pytest.approx(32.0)


def test_an_unplanned_phase_has_no_known_end():
    pace = Pace((100,), Clock())
    pace.advance(1, 10)
    pace.advance(1, 20)
    assert pace.budget is None
    assert pace.left() is None


def test_the_display_suits_the_console():
    with progress(Console(file=io.StringIO())) as listener:
        assert isinstance(listener, LineProgress)
    with progress(Console(file=io.StringIO()), quiet=True) as listener:
        assert type(listener) is Listener
    with progress(Console(file=io.StringIO(), force_terminal=True)) as listener:
        assert isinstance(listener, LiveProgress)


def test_the_live_display_draws_and_ends_with_the_terminal_in_order():
    file = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        progress(Console(file=file, force_terminal=True, width=160), quiet=False) as display,
    ):
        display.started(Path("runs/a-1"), Config(problem="fisher_kpp"), EXPERIMENT, 0)
        display.snapshot(snapshot(100, events=("something",)), ROW)
        display.snapshot(snapshot(200), ROW)
        assert display.live.is_started
        raise KeyboardInterrupt
    assert not display.live.is_started
    assert "something" in file.getvalue()
    assert "200/1,000" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (4.23, "4.2 s"), (59.4, "59 s"), (59.6, "1:00 min"), (125, "2:05 min"), (7260, "2:01 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_errors_are_numbers_or_tables():
    assert relative_error({"rel_l2": 1e-3}) == relative_error(1e-3) == 1e-3
    assert relative_error(None) is None
