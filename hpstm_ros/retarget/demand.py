"""What a motion asks of each of a robot's hands: is the target within reach, and can the joints be
there in time?

Only where both hold is the distance between hand and target retargeting's error. The answer does
not come from what the arm did: inverse kinematics with all the time in the world says what the
joints would have to do, and an ideal follower, which has their speed and acceleration limits and
nothing else to respect, shows whether they can.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.retargeter import Retargeter, RetargetSettings
from hpstm_ros.retarget.robots import RobotDescription
from pallas_ros.body.frames import BodyFrame

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

IN_REACH = 0
TOO_FAST = 1
OUT_OF_REACH = 2
_REACHED_M = 0.002  # what inverse kinematics with time may leave of the way to a target in reach
_IN_TIME_M = (
    0.005  # how far behind the ideal follower's tip may be of a target that is not too fast
)
_CATCH_UP_NS = 500_000_000  # what an arm that was outrun, or held back, is given to be there again
_NS = 1_000_000_000


class Demand:
    """Collects what bodies ask of a robot's joints and tips."""

    def __init__(
        self,
        robot: RobotDescription,
        side: str | None,
        settings: RetargetSettings,
        tip_speed: float,
        tips: Callable[[F64], F64],
        allowed: Callable[[F64], bool],
    ) -> None:
        """Settings as of the retargeter that is judged; ``tip_speed`` m/s; of a posture (n,), where
        its ``tips`` (A, 3) are and whether it is ``allowed``.
        """
        self._robot = robot
        self._tip_speed = tip_speed
        self._tips = tips
        self._allowed = allowed
        self._retargeter = Retargeter(
            robot, side, replace(settings, iterations=12, speed_factor=20.0)
        )
        self._rows: list[tuple[int, F64, NDArray[np.bool_], F64]] = []

    def body(self, body: BodyFrame) -> None:
        """One more body of the motion."""
        goal = self._retargeter.step(body)
        if goal is not None:
            reached = (goal.error_m < _REACHED_M) & self._allowed(goal.q)
            self._rows.append((body.stamp, goal.q, reached, goal.p_base_tip))

    def classes(self, times: I64) -> NDArray[np.int8]:
        """(N, A) of `IN_REACH`, `TOO_FAST`, `OUT_OF_REACH`: the classes of the last body's targets
        at each of the ``times`` (N,) ns, a column a hand.

        For half a second after a target that was too fast or out of reach, all are too fast.
        """
        if not self._rows:
            return np.full((len(times), len(self._robot.arms)), OUT_OF_REACH, dtype=np.int8)
        stamps, q, reached, targets = (np.array(column) for column in zip(*self._rows, strict=True))
        seconds = np.diff(stamps) / _NS
        behind = np.array(
            [
                np.linalg.norm(self._tips(ideal) - target, axis=1)
                for ideal, target in zip(self._follow(q, seconds), targets, strict=True)
            ]
        )
        late = (behind > _IN_TIME_M) | (self._pursue(targets, seconds) > _IN_TIME_M)
        missed = np.where(late | ~reached, stamps[:, None], stamps[0] - 2 * _CATCH_UP_NS)
        late |= stamps[:, None] - np.maximum.accumulate(missed) <= _CATCH_UP_NS
        kinds = np.where(reached, np.where(late, TOO_FAST, IN_REACH), OUT_OF_REACH).astype(np.int8)
        return kinds[np.clip(np.searchsorted(stamps, times, side="right") - 1, 0, None)]

    def _follow(self, q: F64, seconds: F64) -> F64:
        """(N, n) what joints with limits of speed and acceleration make of ``q`` (N, n), as well as
        they can.
        """
        out = q.copy()
        speed = np.zeros(q.shape[1])
        for k, dt in enumerate(seconds):
            away = q[k + 1] - out[k]
            asked = (q[k + 1] - q[k]) / dt
            catching_up = np.sign(away - asked * dt) * np.sqrt(
                2 * self._robot.acceleration * np.abs(away - asked * dt)
            )
            wanted = np.where(
                np.abs(away / dt - asked) < np.abs(catching_up), away / dt, asked + catching_up
            )
            change = self._robot.acceleration * dt
            speed = np.clip(
                np.clip(wanted, speed - change, speed + change),
                -self._robot.velocity,
                self._robot.velocity,
            )
            out[k + 1] = out[k] + speed * dt
        return out

    def _pursue(self, targets: F64, seconds: F64) -> F64:
        """(N, A) m, how far the targets (N, A, 3) are ahead of points that go after them at the
        tips' speed limit.
        """
        point = targets[0].copy()
        behind = np.zeros(targets.shape[:2])
        for k, dt in enumerate(seconds):
            arrow = targets[k + 1] - point
            distance = np.linalg.norm(arrow, axis=1, keepdims=True)
            point += arrow * np.minimum(
                1.0, 0.9 * self._tip_speed * dt / np.maximum(distance, 1e-9)
            )
            behind[k + 1] = np.linalg.norm(targets[k + 1] - point, axis=1)
        return behind
