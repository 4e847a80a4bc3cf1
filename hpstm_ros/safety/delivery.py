"""Measures the delivery delay of commands, by comparing them with joint states shifted in time.

A controller that receives commands late starts the braking trajectory of an old command and then
jumps to the new one. The joint states show this: they match commands sent some time before. The
delay is measured only if the motion determines it. At rest and at constant speed, a delay cannot be
distinguished from a joint that sags under load, so means are subtracted.
"""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_NS = 1_000_000_000
# of joint states: an arm that follows accelerates or brakes at least once in this time
_WINDOW_S = 0.6
_LONGEST_S = 0.4  # longest delay of the search
_STEP_S = 0.01  # between delays
_SEARCH_S = 0.05  # between searches: each takes 0.2 ms
_SAMPLES = 24  # joint states per search, spread over the window
_SURE_RAD = 0.004  # RMS error by which the best delay must beat all delays within the limit
_SURE_RATIO = 2.0


class Delivery:
    """See the module.

    Attributes:
        lag: s, last measured delay of the arm behind its commands; NaN before the first.
    """

    def __init__(self, period: float, limit: float) -> None:
        """``period`` s of the command grid; ``limit`` s is the longest acceptable delay."""
        self._period = round(period * _NS)
        self._limit = limit
        count = math.ceil((_WINDOW_S + _LONGEST_S + 0.2) / period)
        self._sent: deque[tuple[int, F64]] = deque(maxlen=count)
        self._measured: deque[tuple[int, F64]] = deque()
        self._last_estimate = 0
        self.lag = math.nan

    def forget(self) -> None:
        """Discard the history, when the arm starts a new motion."""
        self._sent.clear()
        self._measured.clear()
        self._last_estimate = 0

    def sent(self, time: int, q: F64) -> None:
        """Add the command (n,) rad for ``time`` ns. Times must increase; a gap discards the
        history.
        """
        if self._sent and time - self._sent[-1][0] != self._period:
            self.forget()
        self._sent.append((time, q))

    def measured(self, stamp: int, q: F64) -> bool:
        """Add the measured position at ``stamp`` ns; True if commands took effect later than the
        limit.
        """
        self._measured.append((stamp, q))
        while stamp - self._measured[0][0] > _WINDOW_S * _NS:
            self._measured.popleft()
        if (
            abs(stamp - self._last_estimate) < _SEARCH_S * _NS
            or len(self._measured) < _SAMPLES // 2
        ):
            return False
        self._last_estimate = stamp
        return self._estimate_delay()

    def _estimate_delay(self) -> bool:
        last = len(self._measured) - 1
        chosen = [self._measured[k] for k in np.linspace(0, last, _SAMPLES).round().astype(int)]
        stamps = np.array([stamp for stamp, _ in chosen])
        q = np.array([q for _, q in chosen])
        # a stuck joint matches any delay; `Supervisor` detects that it does not follow
        moved = q.std(0) > _SURE_RAD
        delays = np.arange(0.0, _LONGEST_S + _STEP_S / 2, _STEP_S)
        known = bool(self._sent) and self._sent[0][0] <= stamps[0] - delays[-1] * _NS
        if not known or not moved.any():
            return False
        off = self._off(stamps, q, delays, moved)
        best = int(np.argmin(off))
        within = float(off[delays <= self._limit + 1e-9].min())
        if float(off.max() - off[best]) < _SURE_RAD:
            return False  # every delay fits: the arm hardly moved
        self.lag = float(delays[best])
        unexplained = float(off[best])
        return within > max(_SURE_RATIO * unexplained, unexplained + _SURE_RAD)

    def _off(self, stamps: NDArray[np.int64], q: F64, delays: F64, moved: NDArray[np.bool_]) -> F64:
        """RMS difference in rad between measured and commanded positions of the joints that
        ``moved``, for each of the ``delays``.
        """
        times = np.array([time for time, _ in self._sent])
        path = np.array([sent for _, sent in self._sent])[:, moved]
        at = (stamps[None, :] - times[0] - (delays[:, None] * _NS)) / self._period
        at = np.clip(at, 0, len(path) - 1)
        below = np.minimum(at.astype(int), len(path) - 2)
        share = (at - below)[..., None]
        # a quarter of the time of indexing
        sent = path.take(below, 0) * (1 - share) + path.take(below + 1, 0) * share
        away = (sent - sent.mean(1, keepdims=True)) - (q - q.mean(0))[:, moved]
        return np.asarray(np.sqrt(np.square(away).sum(-1).mean(1)))
