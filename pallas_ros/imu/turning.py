"""Check a sensor's orientation against its gyroscope, to reject single wrong quaternions.

These occur with the BNO055. Scalar arithmetic, because every sample of every sensor passes here.
"""

import math

Quaternion = tuple[float, float, float, float]
Rate = tuple[float, float, float]

_IDENTITY: Quaternion = (0.0, 0.0, 0.0, 1.0)
_TOLERANCE = math.radians(8.0)
"""rad: maximum correction of a fused orientation between two samples."""
_RATE_TOLERANCE = 0.5
"""Tolerance relative to the angle turned: trapezoidal rule and gyroscope saturation."""
_FASTEST = 35.0
"""rad/s: full scale of wearable gyroscopes (2000 deg/s).

Without a gyroscope this is the maximum accepted.
"""
_CONSISTENT = 5
"""Consecutive consistent orientations after which the sensor's reference frame has changed, instead
of a glitch.
"""
_GAP_S = 0.25
"""After so long without an accepted orientation, the next one is accepted."""
_MOVING = 0.5
"""rad/s above which gyroscope and orientation are compared."""
_COMPARED_S = 0.05
_FORGET = 0.02
_IN_DEGREES = math.radians(1.0) * 0.7, math.radians(1.0) * 1.4
"""Ratio of the angles turned by orientation and gyroscope if the gyroscope reports deg/s."""


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Product of quaternions (xyzw)."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def turn_of(rate: Rate, elapsed: float) -> tuple[Quaternion, float]:
    """Return the turn (xyzw, in the sensor frame) at ``rate`` rad/s for ``elapsed`` s, and its
    angle (rad).
    """
    x = rate[0] * elapsed
    y = rate[1] * elapsed
    z = rate[2] * elapsed
    angle = math.sqrt(x * x + y * y + z * z)
    scale = 0.5 if angle < 1e-9 else math.sin(0.5 * angle) / angle
    return (x * scale, y * scale, z * scale, math.cos(0.5 * angle)), angle


def angle_between(a: Quaternion, b: Quaternion) -> float:
    """Angle in rad between two orientations."""
    dot = abs(a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3])
    return 2 * math.acos(min(dot, 1.0))


class TurnCheck:
    """Orientation check of one sensor.

    Attributes:
        jump: deg, error of the last rejected orientation.
        trusted: whether the gyroscope is consistent with the orientation; if not, nothing is
            rejected.
    """

    def __init__(self) -> None:
        self.jump = 0.0
        self._explained = 1.0
        self._by_orientation = 0.0
        self._by_gyroscope = 0.0
        self.clear()

    def clear(self) -> None:
        """Reset, because the sensor restarted."""
        self._at = 0
        self._predicted: Quaternion | None = None
        self._candidate: Quaternion | None = None
        self._believed_at = 0
        self._in_a_row = 0
        self._anchor: Quaternion | None = None
        self._anchor_at = 0
        self._turn = _IDENTITY
        self._path = 0.0

    @property
    def trusted(self) -> bool:
        """Whether the gyroscope is consistent with the orientation."""
        return self._explained > 0.5

    @property
    def ratio(self) -> float:
        """Rotation of the orientation over that of the gyroscope, both smoothed; 1 if unknown."""
        return self._by_orientation / self._by_gyroscope if self._by_gyroscope > 0 else 1.0

    @property
    def in_degrees(self) -> bool:
        """Whether the gyroscope seems to report degrees per second."""
        return not self.trusted and _IN_DEGREES[0] < self.ratio < _IN_DEGREES[1]

    def push(self, stamp: int, orientation: Quaternion, rate: Rate | None) -> bool:
        """Whether to accept the orientation (xyzw) measured at ``stamp`` ns.

        ``rate``: rad/s in the sensor frame.
        """
        elapsed = (stamp - self._at) * 1e-9
        if self._predicted is None or not 0 < elapsed < _GAP_S:
            self.clear()
            self._accept(stamp, orientation)
            self._start(stamp, orientation)
            self._at = stamp
            return True
        self._at = stamp
        turn = _IDENTITY
        tolerance = _TOLERANCE + _FASTEST * elapsed
        if rate is not None:
            measured, angle = turn_of(rate, elapsed)
            self._compare(stamp, orientation, measured, angle)
            if self.trusted:
                turn = measured
                x, y, z = rate
                speed = math.sqrt(x * x + y * y + z * z)
                tolerance = _TOLERANCE + _RATE_TOLERANCE * speed * elapsed
        predicted = multiply(self._predicted, turn)
        off = angle_between(predicted, orientation)
        if off <= tolerance or (stamp - self._believed_at) * 1e-9 > _GAP_S:
            self._accept(stamp, orientation)
            return True
        self._predicted = predicted
        self.jump = math.degrees(off)
        if self._candidate is not None:
            expected = multiply(self._candidate, turn)
            follows = angle_between(expected, orientation) <= tolerance
            self._in_a_row = self._in_a_row + 1 if follows else 1
        else:
            self._in_a_row = 1
        self._candidate = orientation
        if self._in_a_row >= _CONSISTENT:
            self._accept(stamp, orientation)
            return True
        return False

    def _accept(self, stamp: int, orientation: Quaternion) -> None:
        self._predicted = orientation
        self._believed_at = stamp
        self._candidate = None
        self._in_a_row = 0

    def _start(self, stamp: int, orientation: Quaternion) -> None:
        self._anchor = orientation
        self._anchor_at = stamp
        self._turn = _IDENTITY
        self._path = 0.0

    def _compare(self, stamp: int, orientation: Quaternion, turn: Quaternion, angle: float) -> None:
        """Compare the rotation of orientation and gyroscope over some hundredths of a second.

        ``turn`` and its ``angle`` (rad) are those of the gyroscope since the last sample.
        """
        self._turn = multiply(self._turn, turn)
        self._path += angle
        span = (stamp - self._anchor_at) * 1e-9
        if span < _COMPARED_S or self._anchor is None:
            return
        expected = multiply(self._anchor, self._turn)
        by_orientation = angle_between(self._anchor, orientation)
        moved = max(angle_between(_IDENTITY, self._turn), by_orientation)
        if moved > _MOVING * span:
            fits = angle_between(expected, orientation) < 0.5 * moved
            self._explained += _FORGET * (float(fits) - self._explained)
            self._by_orientation += _FORGET * (by_orientation - self._by_orientation)
            self._by_gyroscope += _FORGET * (self._path - self._by_gyroscope)
        self._start(stamp, orientation)
