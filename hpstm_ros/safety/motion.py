"""Fail-safe motion: every plan is one step followed by a braking trajectory to rest.

A plan is accepted only if its braking trajectory respects every limit too. If the next tick finds
no plan (unreachable goal, no goal, late loop), the accepted plan is followed to rest. This is
fail-safe planning (Petti and Fraichard, "Safe motion planning in dynamic environments", 2005;
Pereira and Althoff, 2015). Ruckig computes the jerk-limited segments (Berscheid and Kroeger,
"Jerk-limited real-time trajectory generation with arbitrary target states", 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import ruckig
from numpy.typing import NDArray

from hpstm_ros.safety.limits import Limits

F64 = NDArray[np.float64]
State = F64
"""(3, n): position rad, velocity, acceleration."""


@dataclass(slots=True)
class Plan:
    """States at grid indices from `start` on: the current state, one step, and the braking
    trajectory; at rest afterwards.

    `path` is (K, 3, n), see `State`.
    """

    start: int
    path: F64

    @property
    def end(self) -> int:
        """The grid index from which on the arm is at rest."""
        return self.start + len(self.path) - 1

    def at(self, index: int) -> State:
        """The state at a grid index."""
        state: State = self.path[min(max(index - self.start, 0), len(self.path) - 1)]
        return state


def rest(index: int, q: F64) -> Plan:
    """The plan that stays at rest at ``q``."""
    return Plan(index, np.array([[q, np.zeros_like(q), np.zeros_like(q)]]))


class Planner:
    """Computes plans within the joints' acceleration and jerk limits."""

    def __init__(self, limits: Limits, period: float) -> None:
        """Prepare Ruckig for these joints and this period."""
        n = len(limits.joint_names)
        self._limits = limits
        self._period = period
        self._otg = ruckig.Ruckig(n, period)
        self._input = ruckig.InputParameter(n)
        self._input.control_interface = ruckig.ControlInterface.Velocity
        # Each joint brakes independently: synchronised with the slowest, others would exceed their
        # limits.
        self._input.synchronization = ruckig.Synchronization.No
        self._input.max_velocity = limits.velocity
        # Slightly below the limit, so that rounding errors do not exceed it.
        self._input.max_acceleration = limits.acceleration * (1 - 1e-6)
        self._input.max_jerk = limits.jerk * (1 - 1e-6)
        self._input.target_acceleration = np.zeros(n)
        self._zero = np.zeros(n)
        self._step = ruckig.Trajectory(n)
        self._stop = ruckig.Trajectory(n)

    def plan(self, index: int, state: State, velocity: F64) -> Plan | None:
        """A step towards ``velocity`` (n,) rad/s, then the braking trajectory; None if Ruckig finds
        no solution.
        """
        if not self._calculate(state, velocity, self._step):
            return None
        second = self._step.at_time(self._period)
        if not self._calculate(second, self._zero, self._stop):
            return None
        stop = self._stop
        path = [second]
        path += [
            stop.at_time(k * self._period)
            for k in range(1, int(np.ceil(stop.duration / self._period)))
        ]
        if stop.duration > 0:
            path.append((stop.at_time(stop.duration)[0], self._zero, self._zero))
        return Plan(index, np.concatenate((state[None], np.array(path))))

    def passed(self, plan: Plan) -> tuple[str, NDArray[np.bool_]]:
        """The limit that a plan exceeds ("position" or "velocity") and the joints (n,) that exceed
        it; empty if the plan is within all limits.
        """
        limits = self._limits
        _, dq, ddq = plan.path[1]
        if not np.isfinite(plan.path[1]).all():
            return "finite", np.ones(len(dq), dtype=bool)
        # Check every point: Ruckig does not set ``position_extrema`` for joints at rest.
        path = plan.path[1:, 0]
        inside = ((path >= limits.lower) & (path <= limits.upper)).all(0)  # False for NaN
        if not inside.all():
            return "position", np.asarray(~inside, dtype=np.bool_)
        # While braking, the velocity still grows by a^2 / 2j until the acceleration is zero.
        peak = np.maximum(
            np.abs(dq), np.abs(dq + ddq * np.abs(ddq) / (2 * limits.jerk * (1 - 1e-6)))
        )
        slow = np.less_equal(peak, limits.velocity)  # False for NaN
        return ("" if np.all(slow) else "velocity"), np.asarray(~slow, dtype=np.bool_)

    def _calculate(
        self, state: State | Sequence[Sequence[float]], velocity: F64, out: ruckig.Trajectory
    ) -> bool:
        parameters = self._input
        (
            parameters.current_position,
            parameters.current_velocity,
            parameters.current_acceleration,
        ) = state
        parameters.target_velocity = velocity
        try:
            return int(self._otg.calculate(parameters, out)) >= 0
        except RuntimeError:
            return False
