"""Do commands reach the arm in time? What was sent is compared with what the arm did, shifted in
time.

A controller that gets its commands late follows an old one into its stop and then leaps to the new
one. The arm's joint
states show it: they match the commands of some time before. Only where the motion distinguishes
delays is one measured: at rest and at constant speed a delay cannot be distinguished from a joint
that sags under its load, so the means are taken out.
"""

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

_NS = 1_000_000_000
# of joint states: the time in which an arm that is led speeds up or slows down at least once
_WINDOW_S = 0.6
_LONGEST_S = 0.4  # of delays that are looked for
_STEP_S = 0.01  # between two of them
_LOOK_S = 0.05  # between two looks: each costs a fifth of a millisecond
_SAMPLES = 24  # joint states of a look, spread over the window
_SURE_RAD = (
    0.004  # what the best delay must explain that none within the limit does, root mean square
)
_SURE_RATIO = 2.0


class Delivery:
    """See the module.

    Attributes:
        lag: s, by which the arm was behind what was sent, as last measured; NaN before.
    """

    def __init__(self, period: float, limit: float) -> None:
        """``period`` s of the grid of commands; ``limit`` s is the longest delay that is
        in order.
        """
        self._period = round(period * _NS)
        self._limit = limit
        count = math.ceil((_WINDOW_S + _LONGEST_S + 0.2) / period)
        self._sent: deque[tuple[int, F64]] = deque(maxlen=count)
        self._measured: deque[tuple[int, F64]] = deque()
        self._looked = 0
        self.lag = math.nan

    def forget(self) -> None:
        """The arm begins another motion: nothing before it counts."""
        self._sent.clear()
        self._measured.clear()
        self._looked = 0

    def sent(self, time: int, q: F64) -> None:
        """Where the arm was to be at ``time`` ns, (n,) rad; instants come in order; after a gap all
        begins again.
        """
        if self._sent and time - self._sent[-1][0] != self._period:
            self.forget()
        self._sent.append((time, q))

    def measured(self, stamp: int, q: F64) -> bool:
        """Where the arm was at ``stamp`` ns; True where that shows that commands came later than
        the limit.
        """
        self._measured.append((stamp, q))
        while stamp - self._measured[0][0] > _WINDOW_S * _NS:
            self._measured.popleft()
        if abs(stamp - self._looked) < _LOOK_S * _NS or len(self._measured) < _SAMPLES // 2:
            return False
        self._looked = stamp
        return self._look()

    def _look(self) -> bool:
        chosen = np.linspace(0, len(self._measured) - 1, _SAMPLES).round().astype(int)
        stamps = np.array([self._measured[k][0] for k in chosen])
        q = np.array([self._measured[k][1] for k in chosen])
        # a joint that is stuck is late by any time; `Supervisor` sees that it does not follow
        moved = q.std(0) > _SURE_RAD
        delays = np.arange(0.0, _LONGEST_S + _STEP_S / 2, _STEP_S)
        known = bool(self._sent) and self._sent[0][0] <= stamps[0] - delays[-1] * _NS
        if not known or not moved.any():
            return False
        off = self._off(stamps, q, delays, moved)
        best = int(np.argmin(off))
        within = float(off[delays <= self._limit + 1e-9].min())
        if float(off.max() - off[best]) < _SURE_RAD:
            return False  # every delay explains it: the arm hardly moved
        self.lag = float(delays[best])
        unexplained = float(off[best])
        return within > max(_SURE_RATIO * unexplained, unexplained + _SURE_RAD)

    def _off(self, stamps: NDArray[np.int64], q: F64, delays: F64, moved: NDArray[np.bool_]) -> F64:
        """Root mean square in rad of the joints that ``moved``, between what was measured and what
        was sent each of the ``delays`` before.
        """
        times = np.array([time for time, _ in self._sent])
        path = np.array([sent for _, sent in self._sent])[:, moved]
        at = (stamps[None, :] - times[0] - (delays[:, None] * _NS)) / self._period
        at = np.clip(at, 0, len(path) - 1)
        below = np.minimum(at.astype(int), len(path) - 2)
        share = (at - below)[..., None]
        sent = path[below] * (1 - share) + path[below + 1] * share
        away = (sent - sent.mean(1, keepdims=True)) - (q - q.mean(0))[:, moved]
        return np.asarray(np.sqrt(np.square(away).sum(-1).mean(1)))
