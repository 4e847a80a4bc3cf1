"""Curves and distributions of sessions of any length, in bounded memory and without
losing a peak.
"""

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]
KEEP = 500
"""A curve is kept as it is up to twice so many points, and as the lowest and highest value of so
many intervals beyond.
"""


class Curve:
    """A curve over time; a long one becomes the envelope of itself: of every interval the lowest
    and the highest value.
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
        """Times (n,) s and values (n, k); of an envelope the lowest and the highest in turn, at the
        same time.
        """
        times = np.array(self.times)
        low = np.array(self._low)
        high = np.array(self._high)
        if self._each == 1:
            return times, low
        return np.repeat(times, 2), np.stack((low, high), axis=1).reshape(2 * len(times), -1)


class Distribution:
    """How often each value came, to `STEP`; values beyond ``LIMIT`` count as that."""

    STEP = 0.05
    LIMIT = 10_000.0

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: float) -> None:
        """Count a finite value."""
        self._counts[round(min(max(value, -self.LIMIT), self.LIMIT) / self.STEP)] += 1

    def arrays(self) -> tuple[F64, NDArray[np.int64]]:
        """Values (n,), rising, and how often (n,) each came."""
        steps = np.array(sorted(self._counts), dtype=np.int64)
        return np.asarray(steps * self.STEP, dtype=np.float64), np.array(
            [self._counts[step] for step in steps.tolist()], dtype=np.int64
        )

    def percentiles(self, *percents: float) -> list[float]:
        """The values below or at which so many percent lie."""
        values, counts = self.arrays()
        ranks = np.cumsum(counts)
        return [
            float(values[np.searchsorted(ranks, percent / 100 * ranks[-1])]) for percent in percents
        ]
