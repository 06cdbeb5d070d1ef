"""Progress of long work, as log lines that a person can read: how much is done, how fast, how much time is left."""

import logging
import threading
import time
from collections.abc import Callable

INTERVAL_S = 10.0
logger = logging.getLogger(__name__)


class Progress:
    """Logs a line such as `movie1: 120/400 frames, 12.5 frames/s, 22 s left` at most every 10 s.

    Work that takes less than 10 s logs nothing. Several threads may share one instance.

    Args:
        total: number of units of the whole work.
        unit: name of a unit in the plural, such as "tiles".
        label: start of each line, such as the name of the image.
        interval_s: least number of seconds between two lines.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        label: str,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.unit = unit
        self.label = label
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._done = 0
        self._skipped = 0
        self._started = self._logged = clock()

    @property
    def done(self) -> int:
        """Number of units that `advance` has counted."""
        return self._done

    @property
    def skipped(self) -> int:
        """Number of units that `skip` has counted."""
        return self._skipped

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def rate(self) -> float:
        """Units per second since the start, without skipped units."""
        return self._done / max(self.elapsed_s, 1e-9)

    def advance(self, n: int = 1, detail: str = "") -> None:
        """Count `n` more units as done, and log a line if the last one is old enough.

        Args:
            n: number of units.
            detail: text at the end of the line, such as the current loss.
        """
        with self._lock:
            self._done += n
            now = self._clock()
            if now - self._logged < self._interval_s:
                return
            self._logged = now
            logger.info("%s", self._describe(detail))

    def skip(self, n: int = 1) -> None:
        """Count `n` units as done by an earlier run, so that they do not raise the rate."""
        with self._lock:
            self._skipped += n

    def _describe(self, detail: str) -> str:
        rate = self.rate
        parts = [f"{self._done + self._skipped}/{self.total} {self.unit}", f"{rate:.3g} {self.unit}/s"]
        if rate > 0:
            parts.append(f"{format_duration((self.total - self._done - self._skipped) / rate)} left")
        parts += [detail] if detail else []
        return f"{self.label}: {', '.join(parts)}"


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit that fits: 42 s, 3.5 min or 2.1 h."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
