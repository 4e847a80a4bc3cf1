"""Check that orientation and acceleration agree about up, and that acceleration is plausible.

Over some seconds the mean specific force in the world is gravity, however the sensor moves: the
mean of the free acceleration is the change of velocity divided by the time. Driver mistakes thus
show without standing still.
"""

from collections import deque
from collections.abc import Callable

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.rotations import Array
from pallas_ros.imu.refusals import Reason

_WINDOW_S = 3.0
_FIRST_S = 1.0
"""Time of the first verdict: before any calibration (`StillLimits.duration_s`) can be found."""
_EVERY_S = 0.5
_RATE_HZ = 20.0
"""Samples per second that are kept: enough for a mean."""
_LEAST = 15
_DISAGREE = float(np.radians(40.0))
"""Angle between the two up directions above which a sensor is rejected.

Fused orientations are off by up to 20 degrees in vigorous movement.
"""
_AGREE = float(np.radians(15.0))
"""Angle below which an alternative interpretation is reported as the likely one."""
_WEAK = 4.0
"""m/s^2: a specific force with a median below it lacks gravity; half of one g is 4.9."""

_READINGS: tuple[tuple[str, Callable[[Array, Array], tuple[Array, Array]]], ...] = (
    ("with the quaternion in the order w, x, y, z", lambda q, f: (q[:, [1, 2, 3, 0]], f)),
    (
        "with the orientation from world to sensor",
        lambda q, f: (np.asarray(rotations.inverse(q)), f),
    ),
    ("with z down (NED), or the acceleration's sign reversed", lambda q, f: (q, -f)),
    (
        "with y up",
        lambda q, f: (
            np.asarray(rotations.multiply(rotations.from_rotvec(np.array([np.pi / 2, 0, 0])), q)),
            f,
        ),
    ),
)
"""Alternative conventions of drivers, most common first."""


class UpCheck:
    """Check of one sensor; `mistake` is the result of the last window, with its figure and a remedy
    if known.
    """

    def __init__(self) -> None:
        self.mistake: tuple[Reason, float, str] | None = None
        self._kept: deque[tuple[int, tuple[float, ...], tuple[float, ...]]] = deque(
            maxlen=round(_WINDOW_S * _RATE_HZ)
        )
        self._next_kept = 0
        self._next_look = 0

    def clear(self) -> None:
        """Reset, because the sensor restarted."""
        self._kept.clear()
        self._next_kept = self._next_look = 0

    def push(self, stamp: int, orientation: list[float], force: list[float]) -> None:
        """Process an orientation (xyzw) and a specific force (m/s^2) measured at ``stamp`` ns."""
        if self._kept and not 0 <= stamp - self._kept[-1][0] < _EVERY_S * 1e9:
            self.clear()
        if stamp < self._next_kept:
            return
        self._next_kept = stamp + round(1e9 / _RATE_HZ)
        self._kept.append((stamp, tuple(orientation), tuple(force)))
        if self._next_look == 0:
            self._next_look = stamp + round(_FIRST_S * 1e9)
        if stamp >= self._next_look and len(self._kept) >= _LEAST:
            self._next_look = stamp + round(_EVERY_S * 1e9)
            self.mistake = mistake_of(
                np.array([kept[1] for kept in self._kept]),
                np.array([kept[2] for kept in self._kept]),
            )


def mistake_of(orientation: Array, force: Array) -> tuple[Reason, float, str] | None:
    """Return the mistake in some seconds of a sensor's samples, its figure and the remedy, or None.

    The remedy is "" if unknown.

    Args:
        orientation: (N, 4) unit quaternions xyzw, sensor to its world.
        force: (N, 3) m/s^2, as sent by the driver.
    """
    length = float(np.median(np.linalg.norm(force, axis=1)))
    up, size = _up(orientation, force)
    if 0.85 <= length <= 1.15 and 0.75 <= size <= 1.25:
        return Reason.IN_G, length, ""
    if length < _WEAK:
        return Reason.GRAVITY_REMOVED, length, ""
    tilt = _tilt(up)
    if tilt < _DISAGREE and size > 0.4 * length:
        return None
    fits = [
        name for name, read in _READINGS if _fits(*read(orientation, force), least=0.8 * length)
    ]
    detail = f"read {', or '.join(fits)}, they agree" if fits else ""
    return Reason.DISAGREE, float(np.degrees(tilt)), detail


def _up(orientation: Array, force: Array) -> tuple[Array, float]:
    mean = np.asarray(rotations.rotate(orientation, force)).mean(axis=0)
    size = float(np.linalg.norm(mean))
    return mean / max(size, 1e-9), size


def _tilt(up: Array) -> float:
    return float(np.arccos(np.clip(up[2], -1.0, 1.0)))


def _fits(orientation: Array, force: Array, least: float) -> bool:
    up, size = _up(orientation, force)
    return size > least and _tilt(up) < _AGREE
