"""Classical streaming filters of joint positions: baselines for HPSTM, and a fallback without a
model.

A filter takes one frame of points (..., 3) m at a time, at a fixed rate, NaN for missing points,
and returns the smoothed frame ``lookahead`` frames ago, or None if there is none yet. Leading axes
are arbitrary: 22 joints live, (clips, 22) for batch evaluation. Savitzky-Golay coefficients come
from scipy; the other filters are implemented here, since no maintained library has streaming
versions (filterpy's last release is from 2018).
"""

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_coeffs

F64 = NDArray[np.float64]


class Filter(Protocol):
    """A causal smoother with a fixed delay."""

    lookahead: int

    def push(self, points: F64) -> F64 | None:
        """The points (..., 3) of ``lookahead`` frames ago, smoothed; None for the first
        ``lookahead`` frames.
        """
        ...


class Raw:
    """No filter: the delayed input, with the last value for missing points."""

    def __init__(self, lookahead: int = 0) -> None:
        self.lookahead = lookahead
        self._held: F64 | None = None
        self._waiting: deque[F64] = deque(maxlen=lookahead + 1)

    def push(self, points: F64) -> F64 | None:
        """See `Filter.push`."""
        self._held = points.copy() if self._held is None else _hold(points, self._held)
        self._waiting.append(self._held)
        return self._waiting[0] if len(self._waiting) > self.lookahead else None


class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel 2012), whose cut-off depends on the speed of
    the point in 3D.

    The filter is causal and lags. With a look-ahead, its newest value is the estimate for the frame
    ``lookahead`` frames ago.

    Args:
        min_cutoff: Hz, cut-off at rest.
        beta: 1/m, increase of the cut-off with speed.
        derivative_cutoff: Hz, cut-off of the speed estimate.
        lookahead: frames.
        rate: Hz.
    """

    def __init__(
        self,
        min_cutoff: float = 1.0,
        beta: float = 5.0,
        derivative_cutoff: float = 3.0,
        lookahead: int = 0,
        rate: float = 60.0,
    ) -> None:
        self.lookahead = lookahead
        self._pushed = 0
        self._min_cutoff = min_cutoff
        self._beta = beta
        self._rate = rate
        self._alpha_speed = float(self._alpha(np.asarray(derivative_cutoff)))
        self._value: F64 | None = None
        self._velocity: F64 | None = None

    def _alpha(self, cutoff: F64) -> F64:
        """Weight of a new sample in a first-order low-pass filter with this cut-off in Hz."""
        ratio = 2 * np.pi * cutoff / self._rate
        return np.asarray(ratio / (1 + ratio))

    def push(self, points: F64) -> F64 | None:
        """See `Filter.push`."""
        self._pushed += 1
        value = self._follow(points)
        return value if self._pushed > self.lookahead else None

    def _follow(self, points: F64) -> F64:
        if self._value is None or self._velocity is None:
            self._value = points.copy()
            self._velocity = np.zeros_like(points)
            return self._value
        points = _hold(points, self._value)
        fresh = np.isnan(self._value)
        self._value = np.where(fresh, points, self._value)
        velocity = np.nan_to_num((points - self._value) * self._rate)
        self._velocity = self._velocity + self._alpha_speed * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        self._value = self._value + self._alpha(self._min_cutoff + self._beta * speed) * (
            points - self._value
        )
        return self._value


class SavitzkyGolay:
    """A polynomial fitted to the last ``window`` frames, evaluated ``lookahead`` frames before the
    newest (Savitzky and Golay 1964).

    Args:
        window: frames, more than ``lookahead``.
        order: of the polynomial, less than ``window``.
        lookahead: frames; (window - 1) / 2 gives the usual centred filter, 0 the causal one.
    """

    def __init__(self, window: int = 11, order: int = 2, lookahead: int = 0) -> None:
        if not 0 <= lookahead < window or not 0 <= order < window:
            raise ValueError(
                f"Savitzky-Golay needs a lookahead and an order below the window, got {lookahead},"
                f" {order}, {window}"
            )
        self.lookahead = lookahead
        self._kernel = savgol_coeffs(window, order, pos=window - 1 - lookahead, use="dot")
        self._order = order
        self._window: deque[F64] = deque(maxlen=window)

    def push(self, points: F64) -> F64 | None:
        """See `Filter.push`. While the window fills, the polynomial is fitted to the available
        frames.
        """
        self._window.append(_hold(points, self._window[-1]) if self._window else points.copy())
        have = len(self._window)
        if have <= self.lookahead:
            return None
        kernel = self._kernel
        if have < len(kernel):
            kernel = savgol_coeffs(
                have, min(self._order, have - 1), pos=have - 1 - self.lookahead, use="dot"
            )
        return np.asarray(np.tensordot(kernel, np.stack(self._window), axes=1))


class MedianFirst:
    """A running median of each coordinate to remove outliers, followed by another filter.

    Args:
        then: the following filter; its look-ahead is added to that of the median.
        window: frames of the median.
        lookahead: frames of the median's window after the reported frame.
    """

    def __init__(self, then: Filter, window: int = 3, lookahead: int = 0) -> None:
        self.lookahead = lookahead + then.lookahead
        self._own = lookahead
        self._then = then
        self._window: deque[F64] = deque(maxlen=window)

    def push(self, points: F64) -> F64 | None:
        """See `Filter.push`."""
        self._window.append(_hold(points, self._window[-1]) if self._window else points.copy())
        if len(self._window) <= self._own:
            return None
        return self._then.push(np.median(np.stack(self._window), axis=0))


class Kalman:
    """A Kalman filter with constant acceleration driven by white jerk, an outlier gate, and a
    Rauch-Tung-Striebel pass over the look-ahead.

    Every point has its own covariance, shared by its three coordinates. Missing points are
    predicted with growing covariance.

    Args:
        process: m/s^2.5, square root of the jerk's spectral density.
        measurement: m, standard deviation of a coordinate.
        lookahead: frames.
        gate: standard deviations above which a measurement is rejected; 0 for no gate.
        patience: consecutive rejected frames after which a point is accepted.
        rate: Hz.
    """

    def __init__(
        self,
        process: float = 30.0,
        measurement: float = 0.013,
        lookahead: int = 0,
        gate: float = 0.0,
        patience: int = 6,
        rate: float = 60.0,
    ) -> None:
        self.lookahead = lookahead
        self._gate = gate
        self._patience = patience
        self._r = measurement**2
        dt = 1.0 / rate
        self._f = np.array([[1.0, dt, dt * dt / 2], [0.0, 1.0, dt], [0.0, 0.0, 1.0]])
        self._q = process**2 * np.array(
            [
                [dt**5 / 20, dt**4 / 8, dt**3 / 6],
                [dt**4 / 8, dt**3 / 3, dt**2 / 2],
                [dt**3 / 6, dt**2 / 2, dt],
            ]
        )
        self._x: F64 | None = None
        self._p = np.empty(0)
        self._missed = np.empty(0, dtype=np.int64)
        self._past: deque[tuple[F64, F64, F64, F64, F64]] = deque(maxlen=lookahead + 1)
        """Per frame: predicted state and covariance, smoother gain to the previous frame, and both
        after the update.
        """
        self.variance = np.empty(0)
        """(...) m^2 of each coordinate of the points returned last."""
        self.refused = np.empty(0, dtype=bool)
        """(...) measurements of the newest frame that were rejected by the gate."""

    def push(self, points: F64) -> F64 | None:
        """See `Filter.push`."""
        missing = np.asarray(np.isnan(points).any(axis=-1))
        if self._x is None:
            self._x = np.zeros((*points.shape, 3))  # (..., coordinate, derivative)
            self._p = np.zeros((*points.shape[:-1], 3, 3))
            self._missed = np.full(points.shape[:-1], self._patience)
            self._restart(points, np.ones(points.shape[:-1], dtype=bool))
            x_before = self._x
            p_before = self._p
            back = np.zeros_like(self._p)
            self.refused = np.zeros(missing.shape, dtype=bool)
        else:
            x_before = self._x @ self._f.T
            p_before = self._f @ self._p @ self._f.T + self._q
            back = self._p @ self._f.T @ np.linalg.inv(p_before) if self.lookahead else p_before
            self._update(points, missing, x_before, p_before)
        self._past.append((x_before, p_before, back, self._x, self._p))
        return self._smooth() if len(self._past) > self.lookahead else None

    def predict(self) -> tuple[F64, F64]:
        """Predicted points (..., 3) of the next frame, and the standard deviation (...) of a
        measured coordinate.
        """
        if self._x is None:
            raise ValueError("a Kalman filter has no prediction before its first frame")
        p = self._f @ self._p @ self._f.T + self._q
        return (self._x @ self._f.T)[..., 0], np.sqrt(p[..., 0, 0] + self._r)

    def _restart(self, points: F64, which: NDArray[np.bool_]) -> None:
        """Restart some points at their measured position (or at the origin with unknown state, if
        not seen).
        """
        assert self._x is not None
        missing = np.asarray(np.isnan(points).any(axis=-1))
        start = np.zeros_like(self._x)
        start[..., 0] = np.where(missing[..., None], self._x[..., 0], points)
        self._x = np.where(which[..., None, None], start, self._x)
        known = np.diag([self._r, 1.0, 100.0])
        p = np.where(missing[..., None, None], np.diag([4.0, 4.0, 100.0]), known)
        self._p = np.where(which[..., None, None], p, self._p)

    def _update(self, points: F64, missing: NDArray[np.bool_], x: F64, p: F64) -> None:
        innovation = np.where(missing[..., None], 0.0, points - x[..., 0])
        s = p[..., 0, 0] + self._r
        refused = np.zeros(missing.shape, dtype=bool)
        if self._gate > 0:
            refused = ~missing & (np.sum(innovation**2, axis=-1) > 3 * self._gate**2 * s)
        self._missed = np.where(refused, self._missed + 1, np.where(missing, self._missed, 0))
        lost = refused & (self._missed > self._patience)
        self.refused = refused & ~lost
        use = ~(missing | self.refused)
        gain = np.where(use[..., None], p[..., :, 0] / s[..., None], 0.0)
        self._x = x + innovation[..., None] * gain[..., None, :]
        self._p = p - gain[..., :, None] * p[..., 0, None, :]
        if lost.any():
            self._restart(points, lost)
            self._missed = np.where(lost, 0, self._missed)

    def _smooth(self) -> F64:
        """The Rauch-Tung-Striebel recursion from the newest to the oldest stored frame."""
        *_, x, p = self._past[-1]
        steps = list(self._past)
        for (x_ahead, p_ahead, back, _, _), (*_, x_held, p_held) in zip(
            steps[:0:-1], steps[-2::-1], strict=True
        ):
            x = x_held + (x - x_ahead) @ np.swapaxes(back, -1, -2)
            p = p_held + back @ (p - p_ahead) @ np.swapaxes(back, -1, -2)
        self.variance = p[..., 0, 0]
        return np.asarray(x[..., 0])


def _hold(points: F64, last: F64) -> F64:
    """Points (..., 3), with the last value for missing ones."""
    missing = np.isnan(points).any(-1, keepdims=True)
    return np.where(missing, last, points)
