"""Progress lines: when they are logged, and the rate and time left in them."""

import logging
import threading

import pytest

from tessera.common.progress import Progress, format_duration


class Clock:
    """A clock that a test sets by hand, in seconds."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_progress_logs_at_most_one_line_every_ten_seconds(caplog, clock):
    caplog.set_level(logging.INFO)
    progress = Progress(100, "tiles", "a", clock=clock)
    for seconds in (1, 9.9, 10, 12, 19.9, 20):
        clock.now = 100 + seconds
        progress.advance(5)
    # After 10 s 15 of 100 tiles are done: 1.5 tiles/s, so 85 more take 57 s. After 20 s 30 are done at the same rate.
    assert caplog.messages == ["a: 15/100 tiles, 1.5 tiles/s, 57 s left", "a: 30/100 tiles, 1.5 tiles/s, 47 s left"]


def test_skipped_units_count_as_done_but_not_in_the_rate(caplog, clock):
    caplog.set_level(logging.INFO)
    progress = Progress(100, "frames", "movie", clock=clock)
    progress.skip(60)
    clock.now += 10
    progress.advance(20, "loss 0.5")
    assert caplog.messages == ["movie: 80/100 frames, 2 frames/s, 10 s left, loss 0.5"]
    assert (progress.done, progress.skipped, progress.rate, progress.elapsed_s) == (20, 60, 2.0, 10.0)


def test_progress_counts_units_of_several_threads(clock):
    progress = Progress(4000, "tiles", "a", clock=clock)
    threads = [threading.Thread(target=lambda: [progress.advance() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.done == 4000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0, "0 s"), (59.4, "59 s"), (60, "1.0 min"), (3599, "60.0 min"), (3600, "1.0 h"), (9000, "2.5 h")],
)
def test_durations_use_the_largest_unit_that_fits(seconds, text):
    assert format_duration(seconds) == text
