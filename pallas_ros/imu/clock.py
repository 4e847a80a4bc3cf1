"""Map a sensor's clock to the host's, despite delay, bursts and clock skew.

A sample arrives at ``host = device * rate + offset + delay`` with ``delay >= 0``. The smallest
delays lie on a line below all points (device, host); the best such line is the edge of the lower
convex hull over the middle of the window (Zhang, Liu and Xia, "Clock synchronization algorithms for
network measurements", INFOCOM 2002). Delays, however bursty, do not affect it.
"""

import itertools
from collections import deque
from dataclasses import dataclass

NANOSECONDS = 1_000_000_000
_LEARNED = 50  # minimum number of samples to estimate the rate


@dataclass(slots=True)
class _Slice:
    """Least delayed sample of a slice of device time."""

    device: float
    residual: float


class ClockMapper:
    """Map device times to host timestamps in ns; strictly increasing, never in the future.

    If the host's clock is set back, the timestamps follow at once and step back too.

    Attributes:
        skew: estimated relative rate error of the device clock (5e-5 is 50 ppm).
        latency: s, delay of the last sample in excess of the minimum delay.
        restarts: number of clock jumps, after which the map was reset.
        set_back: number of times the host's clock was set back.
    """

    def __init__(
        self,
        window_s: float = 20.0,
        slice_s: float = 0.25,
        largest_skew: float = 5e-4,
        leap_s: float = 0.5,
    ) -> None:
        self.skew = 0.0
        self.latency = 0.0
        self.restarts = 0
        self.set_back = 0
        self._slice_s = slice_s
        self._largest_skew = largest_skew
        self._leap = leap_s
        self._slices: deque[_Slice] = deque(maxlen=max(int(window_s / slice_s), 4))
        self._last = 0
        self._origin = 0
        self.reset()

    def reset(self) -> None:
        """Reset the map, because the device was plugged in again."""
        self._slices.clear()
        self._open: _Slice | None = None
        self._open_since = 0.0
        self._anchor: _Slice | None = None
        self._leaps = 0
        self.skew = 0.0

    def map(self, device_time: float, arrival: int) -> int:
        """Return the timestamp in ns of a sample.

        It was taken at ``device_time`` (s) and arrived at ``arrival`` (ns).
        """
        if self._anchor is None and self._open is None:
            self._origin = arrival
        residual = (arrival - self._origin) / NANOSECONDS - device_time
        expected = self._expected(device_time)
        if expected is not None and abs(residual - expected) > self._leap:
            self._leaps += 1
            if self._leaps < 3:
                return self._later(arrival)
            self.restarts += 1
            self.reset()
            return self.map(device_time, arrival)
        self._leaps = 0
        if (
            self._open is None
            or residual < self._open.residual + (device_time - self._open.device) * self.skew
        ):
            if self._open is None:
                self._open_since = device_time
            self._open = _Slice(device_time, residual)
        if device_time - self._open_since >= self._slice_s:
            self._slices.append(self._open)
            self._open = None
            self._fit()
        expected = self._expected(device_time)
        least = residual if expected is None else min(expected, residual)
        if self._open is not None:
            least = min(least, self._open.residual + (device_time - self._open.device) * self.skew)
        self.latency = residual - least
        return self._later(self._origin + round((device_time + least) * NANOSECONDS))

    def _expected(self, device_time: float) -> float | None:
        anchor = self._anchor or self._open
        return (
            None if anchor is None else anchor.residual + (device_time - anchor.device) * self.skew
        )

    def _later(self, stamp: int) -> int:
        if stamp < self._last - self._leap * NANOSECONDS:
            self.set_back += 1
            self._last = stamp
        else:
            self._last = max(stamp, self._last + 1)
        return self._last

    def _fit(self) -> None:
        """Fit the edge of the lower hull over the middle of the window.

        A window that is too short does not determine the rate.
        """
        slices = list(self._slices)
        span = slices[-1].device - slices[0].device
        if span < 8 * self._slice_s:
            self.skew = 0.0
            self._anchor = min(slices, key=lambda s: s.residual)
            return
        hull: list[_Slice] = []
        for point in slices:
            while len(hull) >= 2 and _slope(hull[-2], point) <= _slope(hull[-2], hull[-1]):
                hull.pop()
            hull.append(point)
        middle = 0.5 * (slices[0].device + slices[-1].device)
        left, right = next((a, b) for a, b in itertools.pairwise(hull) if b.device >= middle)
        self.skew = max(-self._largest_skew, min(self._largest_skew, _slope(left, right)))
        # the line that touches from below, with the limited slope
        self._anchor = min(slices, key=lambda s: s.residual - s.device * self.skew)


def _slope(a: _Slice, b: _Slice) -> float:
    return (b.residual - a.residual) / (b.device - a.device)


class CountingClock:
    """Substitute clock for a sensor that sends no time: counts samples at their initial rate.

    It is mapped by `mapper`, which estimates the true rate. Lost samples appear as delay and are
    forgotten within seconds.
    """

    def __init__(self) -> None:
        self.reset()

    @staticmethod
    def mapper() -> ClockMapper:
        """Create a map for counted time.

        It forgets quickly and tolerates a rate error of several percent.
        """
        return ClockMapper(window_s=4.0, largest_skew=0.05)

    def reset(self) -> None:
        """Reset the counter."""
        self._first: list[int] = []
        self._period = 0.0
        self._time = 0.0

    def tick(self, arrival: int) -> float:
        """Return the device time in s of the sample that arrived at ``arrival`` ns."""
        if not self._period:
            self._first.append(arrival)
            self._time = (arrival - self._first[0]) / NANOSECONDS
            if len(self._first) == _LEARNED:
                self._period = self._time / (_LEARNED - 1)
        else:
            self._time += self._period
        return self._time
