"""Feasibility of a motion for each hand of a robot: whether targets are reachable, and in time.

The distance between hand and target is a retargeting error only if both hold. Feasibility does not
depend on the executed motion: inverse kinematics without time limits gives the required joint
motion, and an ideal follower, with only velocity and acceleration limits, shows whether the joints
can follow it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.retarget.retargeter import Retargeter
from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.retarget.settings import RetargetSettings
from pallas_ros.body.frames import BodyFrame

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

IN_REACH = 0
TOO_FAST = 1
OUT_OF_REACH = 2
_REACHED_M = 0.002  # largest error of inverse kinematics for a reachable target
_IN_TIME_M = 0.005  # largest error of the ideal follower's tip for a target that is not too fast
_CATCH_UP_NS = 500_000_000  # time to catch up after a target was too fast or out of reach
_NS = 1_000_000_000


class Demand:
    """Collects the demands of bodies on a robot's joints and tips."""

    def __init__(
        self,
        robot: RobotDescription,
        side: str | None,
        settings: RetargetSettings,
        tip_speed: float,
        tips: Callable[[F64], F64],
        allowed: Callable[[F64], bool],
    ) -> None:
        """Use the settings of the evaluated retargeter. For a posture (n,), ``tips`` returns the
        tip positions (A, 3) m, and ``allowed`` whether it is allowed; ``tip_speed`` is in m/s.
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
        """Add a body of the motion."""
        goal = self._retargeter.step(body)
        if goal is not None:
            reached = (goal.error_m < _REACHED_M) & self._allowed(goal.q)
            self._rows.append((body.stamp, goal.q, reached, goal.p_base_tip))

    def classes(self, times: I64) -> NDArray[np.int8]:
        """(N, A) of `IN_REACH`, `TOO_FAST`, `OUT_OF_REACH`: the class of the latest body's target
        at each of the ``times`` (N,) ns, one column per hand.

        Targets within 0.5 s after one that was too fast or out of reach count as too fast.
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
        """(N, n) the best tracking of ``q`` (N, n) by joints with velocity and acceleration
        limits.
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
        """(N, A) m, distance of the targets (N, A, 3) from points that follow them at the tip speed
        limit.
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
