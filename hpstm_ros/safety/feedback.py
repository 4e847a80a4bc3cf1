"""Checks of the joint states: whether they are fresh, and whether the arm is at rest and follows.

Times are ns of the supervisor's clock. No method raises on bad input.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.limits import Limits, SupervisorSettings

F64 = NDArray[np.float64]

_NS = 1_000_000_000
# before engaging, joint states must agree within _STILL_RAD for this time
_STILL_S = 0.1
_STILL_RAD = 0.05
_LARGEST_RAD = 1e3  # larger angles indicate a faulty driver


@dataclass(frozen=True, slots=True)
class Posture:
    """Measured joints: stamp and receive time in ns, and the angles (n,) rad."""

    stamp: int
    received: int
    q: F64


class Feedback:
    """The joint states of the last `feedback_timeout`, and their deviation from the commands."""

    def __init__(self, limits: Limits, settings: SupervisorSettings) -> None:
        """No joint states have been received."""
        self.newest: Posture | None = None
        self.deviation = math.nan
        """rad, largest deviation of a joint from its command."""
        self.deviates_since: int | None = None
        self._limits = limits
        self._settings = settings
        self._recent: deque[Posture] = deque(maxlen=10_000)

    def admits(self, now: int, stamp: int, q: F64) -> bool:
        """Whether the angles ``q`` (n,) rad are usable: finite, newer, and with a current stamp."""
        return (
            q.shape == self._limits.lower.shape
            and float(np.abs(q).max()) < _LARGEST_RAD  # False for NaN
            and (self.newest is None or stamp > self.newest.stamp)
            and abs(now - stamp) <= _NS
        )

    def take(self, now: int, stamp: int, q: F64) -> None:
        """Store angles that passed `admits`."""
        self.newest = Posture(stamp, now, q)
        self._recent.append(self.newest)
        while now - self._recent[0].received > self._settings.feedback_timeout * _NS:
            self._recent.popleft()

    def compare(self, now: int, q: F64, commanded: F64) -> None:
        """Check that the arm follows: ``q`` (n,) rad may lie anywhere between the rows of
        ``commanded`` (k, n) rad.
        """
        away = np.maximum(np.maximum(commanded.min(0) - q, q - commanded.max(0)), 0.0)
        self.deviation = float(away.max())
        if self.deviation <= self._settings.deviation:
            self.deviates_since = None
        elif self.deviates_since is None:
            self.deviates_since = now

    def deviates_for(self, now: int, seconds: float) -> bool:
        """Whether the arm has not followed for ``seconds``."""
        return self.deviates_since is not None and now - self.deviates_since >= seconds * _NS

    def missing(self, now: int) -> bool:
        """Whether joint states are required and none has been received for `feedback_timeout`."""
        return self._settings.require_feedback and (
            self.newest is None
            or now - self.newest.received > self._settings.feedback_timeout * _NS
        )

    def unrest(self, now: int) -> str:
        """Why the arm is not known to be at rest within its limits, or empty."""
        if self.newest is None or self.missing(now):
            return "the arm's joint states do not arrive"
        q = self.newest.q
        kept = self._settings.feedback_timeout * _NS
        heard = [past.received for past in self._recent if now - past.received <= kept]
        if self._settings.require_feedback and (
            not heard or heard[-1] - heard[0] < 0.5 * _STILL_S * _NS
        ):
            return (
                "joint states have arrived for too short a time to tell whether the arm is at rest;"
                " try again in a moment"
            )
        recent = [past.q for past in self._recent if now - past.received <= _STILL_S * _NS]
        moved = np.ptp(self._limits.same_turn(np.array(recent or [q]), q), axis=0) > _STILL_RAD
        if moved.any():
            return f"joint '{self._name(moved)}' is moving, or its joint states jump"
        slack = 0.02 + 0.01 * (self._limits.upper - self._limits.lower)
        outside = np.abs(self._limits.same_turn(self._limits.inside(q), q) - q) > slack
        if outside.any():
            return f"joint '{self._name(outside)}' is outside its limits; move the arm by hand"
        return ""

    def _name(self, which: NDArray[np.bool_]) -> str:
        return self._limits.joint_names[int(np.argmax(which))]

    def follow_again(self) -> None:
        """Reset the deviation when the arm is engaged."""
        self.deviation = math.nan
        self.deviates_since = None

    def restart(self, now: int) -> None:
        """After the clock was set back to ``now``, treat earlier joint states as a second old."""
        if self.newest is not None:
            self.newest = Posture(now - _NS, now - _NS, self.newest.q)
        self._recent.clear()
        self.deviates_since = None
