"""Curves and distributions of sessions of any length, in bounded memory, with all peaks."""

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
KEEP = 500
"""Number of intervals; a curve of more than twice as many points is reduced to the minimum and
maximum of each interval.
"""


class Curve:
    """A curve over time; a long one is reduced to its envelope: minimum and maximum per
    interval.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self._low: list[F64] = []
        self._high: list[F64] = []
        self._each = 1
        self._in_last = 0

    def add(self, time: float, value: ArrayLike) -> None:
        """Append a number, or (k,) of them, at ``time`` s."""
        point = np.asarray(value, dtype=float).reshape(-1)
        if self.times and self._in_last < self._each:
            self._low[-1], self._high[-1] = (
                np.fmin(self._low[-1], point),
                np.fmax(self._high[-1], point),
            )
            self._in_last += 1
            return
        if len(self.times) == 2 * KEEP:
            self._low = [np.fmin(a, b) for a, b in zip(self._low[::2], self._low[1::2])]
            self._high = [np.fmax(a, b) for a, b in zip(self._high[::2], self._high[1::2])]
            self.times = self.times[::2]
            self._each = 2 * self._each
        self.times.append(time)
        self._low.append(point)
        self._high.append(point)
        self._in_last = 1

    def arrays(self) -> tuple[F64, F64]:
        """Times (n,) s and values (n, k); for an envelope, minimum and maximum alternate, with
        equal times.
        """
        times = np.array(self.times)
        low = np.array(self._low)
        high = np.array(self._high)
        if self._each == 1:
            return times, low
        return np.repeat(times, 2), np.stack((low, high), axis=1).reshape(2 * len(times), -1)


class Distribution:
    """Histogram of values with bins of `STEP`; values beyond ``LIMIT`` are clipped to it."""

    STEP = 0.05
    LIMIT = 10_000.0

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a finite value."""
        self._counts[round(min(max(value, -self.LIMIT), self.LIMIT) / self.STEP)] += 1

    def arrays(self) -> tuple[F64, NDArray[np.int64]]:
        """Values (n,), ascending, and their counts (n,)."""
        steps = np.array(sorted(self._counts), dtype=np.int64)
        return np.asarray(steps * self.STEP, dtype=np.float64), np.array(
            [self._counts[step] for step in steps.tolist()], dtype=np.int64
        )

    def percentiles(self, *percents: float) -> list[float]:
        """Percentiles of the values."""
        values, counts = self.arrays()
        ranks = np.cumsum(counts)
        return [
            float(values[np.searchsorted(ranks, percent / 100 * ranks[-1])]) for percent in percents
        ]
