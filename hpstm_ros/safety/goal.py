"""Short-term extrapolation of the joint goals, from their recent velocity and acceleration."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.limits import Limits

F64 = NDArray[np.float64]

_NS = 1_000_000_000
# window of the parabola fit; the velocity of a hand does not change faster
_FIT_S = 0.1
# of three goals within this time the middle one is dropped, to bound their number
_THIN_S = 0.008


@dataclass(slots=True)
class JointGoal:
    """The newest goal.

    Attributes:
        stamp, received: ns, of its body and of its arrival.
        q, dq, ddq: (n,) rad, rad/s, rad/s^2, at its arrival.
        confidence: 0 to 1.
    """

    stamp: int
    received: int
    q: F64
    dq: F64
    ddq: F64
    confidence: float

    def after(self, seconds: float) -> tuple[F64, F64]:
        """Extrapolated position and velocity (n,), ``seconds`` after its arrival."""
        return (
            self.q + seconds * self.dq + 0.5 * seconds**2 * self.ddq,
            self.dq + seconds * self.ddq,
        )


class GoalPath:
    """The goals of the last 0.1 s and their derivatives, clamped to the joints' velocity and
    acceleration limits.
    """

    def __init__(self, limits: Limits) -> None:
        """No goal yet."""
        self._limits = limits
        self._path: deque[tuple[int, F64]] = deque()

    def add(self, stamp: int, received: int, q: F64, confidence: float) -> JointGoal:
        """Add a goal (n,) rad, newer than all before."""
        path = self._path
        if len(path) > 1 and stamp - path[-2][0] < _THIN_S * _NS:
            path.pop()
        path.append((stamp, q))
        while stamp - path[0][0] > _FIT_S * _NS:
            path.popleft()
        fit = np.zeros((3, len(q)))
        if len(path) > 1:
            seconds = np.array([(when - stamp) / _NS for when, _ in path])
            powers = (seconds[:, None] / _FIT_S) ** np.arange(min(len(path), 3))
            fit[: powers.shape[1]] = np.linalg.lstsq(
                powers, np.array([past for _, past in path]), rcond=1e-6
            )[0]
        most = self._limits.velocity, self._limits.acceleration
        dq, ddq = (
            np.minimum(np.maximum(part, -limit), limit)
            for part, limit in zip((fit[1] / _FIT_S, 2 * fit[2] / _FIT_S**2), most, strict=True)
        )
        return JointGoal(stamp, received, q, dq, ddq, confidence)

    def restart(self) -> None:
        """Discard all goals."""
        self._path.clear()
