"""Supervises a gripper: it opens and closes within its limits while the arm follows the operator,
and keeps its position otherwise.

A gripper is supervised as one joint, its opening: 0 closed, 1 open. It uses the same steering as
the arm, so every command includes a braking trajectory.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.motion import Plan, rest
from hpstm_ros.safety.steering import Steering

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_RAMP_S = (
    0.05  # time to reach full acceleration; no shorter than in controllers of low-cost grippers
)
# margin of the opening: steering stays 0.001 from a limit, but 0 and 1 must be reachable
_BEYOND = 0.005
# a gripper that is more closed than its command by this opening was moved externally
_GRASPED = 0.02


@dataclass(frozen=True, eq=False)
class GripperCommand:
    """The command of a gripper.

    Attributes:
        times: (K,) ns: the next instant, and the braking trajectory after it.
        opening: (K,) 0 to 1.
        speed: (K,) 1/s.
    """

    times: NDArray[np.int64]
    opening: F64
    speed: F64


def gripper_limits(name: str, speed: float, acceleration: float) -> Limits:
    """Limits of an opening with ``speed`` 1/s and ``acceleration`` 1/s^2."""
    return Limits(
        (name,),
        np.array([-_BEYOND]),
        np.array([1.0 + _BEYOND]),
        np.array([speed]),
        np.array([acceleration]),
        np.array([acceleration / _RAMP_S]),
        1.0,
        -np.ones(3),
        np.ones(3),
    )


class GripperSupervisor:
    """See the module. No method raises on bad input."""

    def __init__(self, limits: Limits, settings: SupervisorSettings) -> None:
        """Start with an unknown opening."""
        self.limits = limits
        self._settings = settings
        self._steering = Steering(limits, settings, None)
        self._period = round(settings.period * _NS)
        self._zero: int | None = None
        self._now = 0
        self._plan: Plan | None = None
        self._measured: float | None = None
        self._goal: float | None = None
        self._led = False

    @property
    def goal(self) -> float | None:
        """The requested opening, 0 to 1, or None."""
        return self._goal

    def open(self, opening: float) -> bool:
        """Request an opening, clamped to 0 to 1; False if it is not finite."""
        if not np.isfinite(opening):
            return False
        self._goal = min(max(float(opening), 0.0), 1.0)
        return True

    def measured(self, opening: float) -> None:
        """Take the measured opening."""
        if np.isfinite(opening):
            self._measured = min(max(float(opening), 0.0), 1.0)

    def tick(self, now: int, led: bool) -> GripperCommand | None:
        """The next command, or None: before an opening is requested, while the measured opening is
        unknown, and at rest while the arm does not follow (``led`` False).
        """
        index = self._index(now)
        if led and not self._led:
            self._start(index)
        self._led = led
        if self._plan is None or self._goal is None:
            return None
        if led:
            goal = np.array([self._goal])
            still = np.zeros(1)
            plan, _, _ = self._steering.lead(index, self._plan, goal, still, 1.0)
            self._plan = plan or self._plan
        elif index >= self._plan.end:
            return None
        indices = range(index + 1, max(self._plan.end, index + 1) + 1)
        states = [self._plan.at(k) for k in indices]
        return GripperCommand(
            np.array([self._time(k) for k in indices], dtype=np.int64),
            np.array([min(max(float(q[0]), 0.0), 1.0) for q, _, _ in states]),
            np.array([float(dq[0]) for _, dq, _ in states]),
        )

    def _start(self, index: int) -> None:
        """Start at the measured opening. A gripper that holds an object keeps its closing command,
        or it would drop the object.
        """
        place = self._measured
        if place is None and not self._settings.require_feedback:
            place = self._goal
        if place is None:
            return
        commanded = None if self._plan is None else float(self._plan.at(index)[0][0])
        holds = commanded is not None and place > commanded - _GRASPED
        if self._plan is None or not holds:
            self._plan = rest(index, np.array([place]))

    def _index(self, now: int) -> int:
        """The first grid index that can still be changed. If the clock is set back, the grid moves
        with it.
        """
        if self._zero is None:
            self._zero = now
        elif now < self._now:
            self._zero += now - self._now
        self._now = now
        return -((self._zero - now - round(self._settings.lead * _NS)) // self._period)

    def _time(self, index: int) -> int:
        assert self._zero is not None
        return self._zero + index * self._period
