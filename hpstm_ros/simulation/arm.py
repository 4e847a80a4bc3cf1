"""A simulated robot arm with the interface of a joint_trajectory_controller: trajectories in, joint
states out.
"""

from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.simulation import mjcf
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_NS = 1_000_000_000
_STEP_NS = round(mjcf.TIMESTEP_S * _NS)
_BATCH = 2  # physics steps per evaluation of the trajectory: 500 Hz
_CATCH_UP_S = 0.1


@dataclass
class Faults:
    """Simulated faults for tests; can be changed at run time.

    Attributes:
        late_s: delay of commands.
        stuck_joint: name of a joint that does not move, or empty.
        lost_feedback: whether joint states are withheld.
    """

    late_s: float = 0.0
    stuck_joint: str = ""
    lost_feedback: bool = False


@dataclass(slots=True)
class Trajectory:
    """Points (K,) of a trajectory: instants in ns, positions, velocities, accelerations (K, n)."""

    times: I64
    q: F64
    dq: F64
    ddq: F64
    _segments: dict[int, tuple[F64, ...]] = field(default_factory=dict, init=False, repr=False)
    """Coefficients by index of the first point; each segment is evaluated several times."""

    def at(self, time: int) -> tuple[F64, F64]:
        """Position and velocity at ``time``: quintic interpolation as in
        joint_trajectory_controller; at rest before and after.
        """
        if time <= self.times[0]:
            return self.q[0], self.dq[0]
        if time >= self.times[-1]:
            return self.q[-1], np.zeros_like(self.dq[-1])
        k = int(np.searchsorted(self.times, time, side="right")) - 1
        if k not in self._segments:
            self._segments[k] = self._segment(k)
        q0, v0, a0, c3, c4, c5 = self._segments[k]
        t = (time - self.times[k]) / _NS
        q = q0 + t * (v0 + t * (0.5 * a0 + t * (c3 + t * (c4 + t * c5))))
        return q, v0 + t * (a0 + t * (3 * c3 + t * (4 * c4 + t * 5 * c5)))

    def _segment(self, k: int) -> tuple[F64, ...]:
        """Coefficients (n,) of the quintic polynomial from point ``k`` to the next."""
        T = (self.times[k + 1] - self.times[k]) / _NS
        q0 = self.q[k]
        v0 = self.dq[k]
        a0 = self.ddq[k]
        q1 = self.q[k + 1]
        v1 = self.dq[k + 1]
        a1 = self.ddq[k + 1]
        p = q1 - q0 - v0 * T - 0.5 * a0 * T * T
        v = (v1 - v0 - a0 * T) * T
        a = (a1 - a0) * T * T
        c3 = (10 * p - 4 * v + 0.5 * a) / T**3
        c4 = (-15 * p + 7 * v - a) / T**4
        c5 = (6 * p - 3 * v + 0.5 * a) / T**5
        return q0, v0, a0, c3, c4, c5


class ArmSimulator:
    """A simulated arm with physics at 1000 Hz; times are ns of one clock."""

    def __init__(self, robot: RobotDescription, q_start: F64 | None = None) -> None:
        """Start at rest at ``q_start`` (n,) rad, or in the ready posture."""
        self.robot = robot
        self.faults = Faults()
        self._model = mjcf.build(robot)
        self._data = mujoco.MjData(self._model)
        self._lead = mjcf.velocity_gain(self._model)
        self._own = mjcf.own_columns(robot, self._model)
        start = robot.q_ready if q_start is None else q_start
        self._data.qpos[:] = mjcf.configuration(robot, start)
        self._data.ctrl[:] = start
        mujoco.mj_forward(self._model, self._data)
        self._time: int | None = None
        self._waiting: list[tuple[int, Trajectory]] = []
        self._trajectory: Trajectory | None = None
        self._before: Trajectory | None = None

    @property
    def q(self) -> F64:
        """(n,) rad, joint positions."""
        return np.array(self._data.qpos[self._own])

    @property
    def dq(self) -> F64:
        """(n,) rad/s, joint velocities."""
        return np.array(self._data.qvel[self._own])

    @property
    def effort(self) -> F64:
        """(n,) Nm, actuator efforts."""
        return np.array(self._data.actuator_force)

    def command(self, now: int, trajectory: Trajectory) -> None:
        """Take a trajectory, which replaces earlier ones from its first time on.

        Raises:
            PallasError: it is not finite, not in order, or has different joints.
        """
        count = len(trajectory.times)
        n = self.robot.dof
        shapes_fit = all(
            part.shape == (count, n) for part in (trajectory.q, trajectory.dq, trajectory.ddq)
        )
        if not count or not shapes_fit or (np.diff(trajectory.times) <= 0).any():
            raise PallasError(
                f"a trajectory needs points in chronological order, each with {n} positions,"
                " velocities and accelerations"
            )
        if not all(
            np.isfinite(part).all() for part in (trajectory.q, trajectory.dq, trajectory.ddq)
        ):
            raise PallasError("the trajectory contains values that are not finite")
        self._waiting.append((now + round(self.faults.late_s * _NS), trajectory))
        del self._waiting[:-200]

    def advance(self, now: int) -> None:
        """Run the physics up to ``now``; after a pause or a clock jump, continue from there."""
        if self._time is not None and now < self._time:
            self._waiting.clear()  # their times are of the clock before the jump
        if self._time is None or not 0 <= now - self._time <= _CATCH_UP_S * _NS:
            self._time = (
                now if self._time is None or now < self._time else now - round(_CATCH_UP_S * _NS)
            )
        while self._time + _BATCH * _STEP_NS <= now:
            self._time += _BATCH * _STEP_NS
            self._take(self._time)
            self._servo(self._time)
            mujoco.mj_step(self._model, self._data, _BATCH)
            if self.faults.stuck_joint in self.robot.joint_names:
                stuck = self.robot.joint_names.index(self.faults.stuck_joint)
                self._data.qvel[self._own[stuck]] = 0.0

    def _take(self, time: int) -> None:
        """Activate the newest trajectory that has arrived; before its first time, the previous one
        applies.
        """
        while self._waiting and self._waiting[0][0] <= time:
            self._before, self._trajectory = self._trajectory, self._waiting.pop(0)[1]

    def _servo(self, time: int) -> None:
        if self._trajectory is None:
            return
        active = self._trajectory
        if time < active.times[0] and self._before is not None and time >= self._before.times[0]:
            active = self._before
        q, dq = active.at(time - round(self.faults.late_s * _NS))
        self._data.ctrl[:] = q + self._lead * dq
        if self.faults.stuck_joint in self.robot.joint_names:
            index = self.robot.joint_names.index(self.faults.stuck_joint)
            self._data.ctrl[index] = self._data.qpos[self._own[index]]
