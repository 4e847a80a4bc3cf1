"""From where the arm is towards a goal, as fast as every limit allows: the plan of one tick, or
none.

A velocity towards the goal, what joints cannot do shared out so that the tips keep their way, is
slowed as a whole and turned along obstacles; the plan made from it is accepted only if all of it,
stop included, keeps to the joint limits, the tip speed, the workspace and the distance from
obstacles. What is refused is tried slower.
"""

from itertools import pairwise

import daqp
import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.guard import Guard
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.motion import Plan, Planner, State

F64 = NDArray[np.float64]

_TIP_MARGIN = 0.97  # speeds are looked at in points; between, a tip may be a little faster
_LOOKS = 8
_TRIES = 4
_TURNING = 1.25
_BARRIER_GAIN = 10.0  # 1/s
_CHANGE_S = 0.03  # a joint is asked for no speed that it could not have after so long
# of the acceleration that all joints together give a tip, used in coming to rest at the goal
_BRAKING = 0.4
# what full speed makes in this time is near: there the tips go straight, farther off every joint
# goes by itself
_NEAR_S = 0.25
_JOINT_WEIGHT = 1e-3  # m^2/rad^2, of a joint's speed beside that of the tips


class Steering:
    """Makes the plans that lead; `supervisor.Supervisor` says when, and whereto."""

    def __init__(self, limits: Limits, settings: SupervisorSettings, guard: Guard | None) -> None:
        """Without a ``guard`` only the joints are limited."""
        self._limits = limits
        self._period = settings.period
        self._guard = guard
        self._gain = settings.gain
        self._look_ahead = settings.look_ahead
        self._planner = Planner(limits, settings.period)
        # Between two points that are ``h`` apart a joint is faster than on their mean by ``J h^2 /
        # 8`` at most; the rest is for the arm's turning.
        self._hump = (
            0.0
            if guard is None
            else _TURNING * float(guard.leverage @ limits.jerk) * settings.period**2 / 8
        )
        self.tip_speed = limits.tip_speed

    def lead(
        self, index: int, last: Plan, q_goal: F64, dq_goal: F64, scale: float
    ) -> tuple[Plan | None, list[str], float]:
        """A plan from grid index ``index`` of the ``last`` plan, towards a goal, at ``scale`` (0 to
        1) of full speed.

        ``q_goal`` and ``dq_goal`` (n,) are what the goal and its speed will be
        `SupervisorSettings.look_ahead` after the plan's first step.

        Returns:
            the plan, or None where none is found that keeps to the limits; the limits that
            interfered; the scale that was kept.
        """
        limited: list[str] = []
        state = last.at(index)
        velocity = self._velocity(
            state, np.clip(q_goal, self._limits.lower, self._limits.upper), dq_goal, scale, limited
        )
        for _ in range(_TRIES):
            plan = self._planner.plan(index, state, velocity)
            if plan is None:
                limited.append("no_plan")
                break
            passed, joints = self._planner.passed(plan)
            if passed:  # those joints stop, the others go on
                velocity = np.where(joints, 0.0, velocity)
                passed = f"{passed}:{self._limits.joint_names[int(np.argmax(joints))]}"
            else:
                passed = self._offence(plan)
                if not passed:
                    return plan, limited, scale
                velocity = 0.5 * velocity
                scale = 0.5 * scale
            if passed not in limited:
                limited.append(passed)
        return None, limited, 0.0

    def _velocity(
        self, state: State, q_goal: F64, dq_goal: F64, scale: float, limited: list[str]
    ) -> F64:
        """The joints' velocity (n,) towards the goal, slowed as a whole so that no speed limit is
        passed.
        """
        limits = self._limits
        (q, dq, ddq) = state
        q_then = np.clip(q + self._look_ahead * dq, limits.lower, limits.upper)
        error = q_goal - q_then
        # Closing in no faster than three quarters of the acceleration can brake.
        closing = np.sign(error) * np.minimum(
            self._gain * np.abs(error), np.sqrt(1.5 * limits.acceleration * np.abs(error))
        )
        wanted: F64 = dq_goal + closing
        fastest = scale * 0.995 * limits.velocity
        lower = -np.minimum(fastest, self._brakes(q - limits.lower))
        upper = np.minimum(fastest, self._brakes(limits.upper - q))
        if (np.abs(wanted) > fastest).any():
            limited.append(
                f"velocity:{limits.joint_names[int(np.argmax(np.abs(wanted) - fastest))]}"
            )
        if self._guard is None:
            velocity = np.clip(wanted, lower, upper)
        else:
            coasting = dq + ddq * np.abs(ddq) / (2 * limits.jerk)  # once the acceleration is gone
            change = np.minimum(limits.acceleration * _CHANGE_S, limits.jerk * _CHANGE_S**2 / 4)
            bounds = (
                np.clip(coasting - change, lower, upper),
                np.clip(coasting + change, lower, upper),
            )
            velocity = self._share(self._guard, q_then, q_goal, dq_goal, wanted, bounds)
        velocity = self._slide(q, velocity, limited)
        # as a whole: it still slides along
        velocity = velocity / max(float((np.abs(velocity) / np.maximum(fastest, 1e-9)).max()), 1.0)
        if self._guard is not None:
            tip = self._guard.tip_speed(q, velocity)
            allowed = 0.95 * _TIP_MARGIN * self.tip_speed * scale
            if not tip <= allowed:
                velocity = velocity * (allowed / tip)
                limited.append("tip_speed")
        return velocity if np.isfinite(velocity).all() else np.zeros_like(velocity)

    def _brakes(self, room: F64) -> F64:
        """The speed (n,) with ``room`` (n,) rad left before a limit: no more than a quarter of the
        acceleration can brake.
        """
        room = np.maximum(room - 1e-3, 0.0)
        return np.minimum(0.5 * self._gain * room, np.sqrt(0.5 * self._limits.acceleration * room))

    def _share(
        self, guard: Guard, q: F64, q_goal: F64, dq_goal: F64, wanted: F64, bounds: tuple[F64, F64]
    ) -> F64:
        """The velocity (n,) rad/s within ``bounds`` that takes the tips towards the goal's as
        ``wanted`` would if all joints could.

        Each joint by itself would be cut short: one that is late on its way to another posture
        would carry the hand off its way. So what the tips do comes first, and the joints that can
        make up for those that cannot (a task before a posture, with bounds: Kanoun, Lamiraux and
        Wieber, "Kinematic control of redundant manipulators", 2011).

        Args:
            guard: knows where the tips are.
            q, q_goal: (n,) rad, of the arm and of the goal.
            dq_goal: (n,) rad/s, of the goal.
            wanted: (n,) rad/s, what each joint would do by itself.
            bounds: the lowest and the highest velocity, (n,) rad/s each.
        """
        p, J = guard.tip_motion(q)
        tips = J @ wanted
        if (np.abs(q_goal - q) <= _NEAR_S * self._limits.velocity).all():
            p_goal, J_goal = guard.tip_motion(q_goal)
            tips = J_goal @ dq_goal + self._closing(p_goal - p, J)
        n = len(q)
        (lower, upper) = bounds
        H = J.T @ J + _JOINT_WEIGHT * np.eye(n)
        f = -(J.T @ tips + _JOINT_WEIGHT * wanted)
        velocity, _, found, _ = daqp.solve(
            H, f, np.zeros((0, n)), upper, lower, np.zeros(n, dtype=np.intc)
        )
        return np.asarray(velocity) if found >= 1 else np.clip(wanted, lower, upper)

    def _closing(self, arrow: F64, J: F64) -> F64:
        """The velocity (3 A,) m/s of the tips on their ``arrow`` (3 A,) m to the goal, no faster
        than the joints can brake.

        ``J`` (3 A, n) m/rad takes the joints' velocity to that of the tips.
        """
        arrows = arrow.reshape(-1, 3)
        Js = J.reshape(-1, 3, J.shape[1])
        distance = np.maximum(np.linalg.norm(arrows, axis=1), 1e-9)
        braking = (
            _BRAKING
            * np.abs(np.einsum("ak,akn->an", arrows / distance[:, None], Js))
            @ self._limits.acceleration
        )
        return np.asarray(
            (np.minimum(self._gain, np.sqrt(braking / distance))[:, None] * arrows).ravel()
        )

    def _slide(self, q: F64, velocity: F64, limited: list[str]) -> F64:
        """The velocity (n,) without what leads into an obstacle or out of the workspace: the arm
        slides along, and does not stick.

        Each barrier lets the distance shrink no faster than in proportion to what is left of it (a
        control barrier function, Ames et al. 2017); they are met in turns (Kaczmarz). Only a help:
        what `_offence` refuses stays refused.
        """
        if self._guard is None:
            return velocity
        barriers = self._guard.barriers(q)
        for _ in range(8):
            met = True
            for row, room, name in barriers:
                excess = float(row @ velocity) - _BARRIER_GAIN * room
                length = float(row @ row)
                if excess > 1e-6 and length > 1e-9:
                    velocity = velocity - (excess / length) * row
                    met = False
                    if name not in limited:
                        limited.append(name)
            if met:
                break
        return velocity

    def _offence(self, plan: Plan) -> str:
        """What in the plan or its stop offends the guard, or empty.

        What cannot be computed offends: NaN fails every comparison.
        """
        guard = self._guard
        if guard is None:
            return ""
        depth = guard.look(*plan.path[0][:2])[1]
        limit = _TIP_MARGIN * self.tip_speed
        stride = max(-(-(len(plan.path) - 2) // _LOOKS), 1)
        last = len(plan.path) - 2
        slower = limit  # so that the first stretch is looked at, wherever it begins
        for k, (before, after) in enumerate(pairwise(plan.path)):
            # The tips are looked at in every point, the pairs, which cost more, in some.
            speed, outside, pair = guard.look(*after[:2], pairs=k % stride == 0 or k >= last)
            # Where accelerating turns into braking, the speed is highest between two points.
            between = max(speed, slower) <= limit - self._hump or (
                guard.tip_speed(*_between(before, after, self._period)) <= limit
            )
            if not (speed <= limit and between):
                return "tip_speed"
            slower = speed
            if not outside <= depth + 1e-9:
                return "workspace"
            if pair:
                return f"collision:{pair}"
        return ""


def _between(before: State, after: State, period: float) -> tuple[F64, F64]:
    """Positions and velocities (n,) half-way between two states: on the quintic through both, which
    a joint_trajectory_controller goes.

    It covers the way between them in their time; a curve made of one state alone would not, as the
    jerk changes in between.
    """
    (q0, dq0, ddq0) = before
    (q1, dq1, ddq1) = after
    q = (q0 + q1) / 2 + 5 / 32 * period * (dq0 - dq1) + period**2 / 64 * (ddq0 + ddq1)
    return q, 15 / 8 * (q1 - q0) / period - 7 / 16 * (dq0 + dq1) + period / 32 * (ddq1 - ddq0)
