"""Plans one tick of motion from the arm's state towards a goal, as fast as all limits allow.

The desired velocity towards the goal is distributed over the joints so that the tips stay on their
path even if some joints are limited, scaled as a whole, and deflected along obstacles. The
resulting plan is accepted only if all of it, including the braking trajectory, respects joint
limits, tip speed, workspace and clearance. If it does not, slower plans are tried.
"""

import daqp
import numpy as np
from numpy.typing import NDArray

from hpstm_ros.safety.guard import Guard
from hpstm_ros.safety.limits import Limits, SupervisorSettings
from hpstm_ros.safety.motion import Plan, Planner, State

F64 = NDArray[np.float64]

_TIP_MARGIN = 0.97  # speeds are checked at points; between them, a tip may be slightly faster
_LOOKS = 8
_TRIES = 4
_TURNING = 1.25
_BARRIER_GAIN = 10.0  # 1/s
_CHANGE_S = 0.03  # commanded joint velocities must be reachable within this time
# fraction of the tip acceleration of all joints together, used to brake at the goal
_BRAKING = 0.4
# goals within this time at full speed are near: tips move straight, else joints move separately
_NEAR_S = 0.25
_JOINT_WEIGHT = 1e-3  # m^2/rad^2, weight of joint velocities relative to tip velocities


class Steering:
    """Computes plans towards goals; `supervisor.Supervisor` decides when."""

    def __init__(self, limits: Limits, settings: SupervisorSettings, guard: Guard | None) -> None:
        """Without a ``guard``, only joint limits are enforced."""
        self._limits = limits
        self._period = settings.period
        self._guard = guard
        self._gain = settings.gain
        self._look_ahead = settings.look_ahead
        self._planner = Planner(limits, settings.period)
        # Between points ``h`` apart, a joint exceeds their mean speed by at most ``J h^2 / 8``; the
        # rest allows for the rotation of the arm.
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

        ``q_goal`` and ``dq_goal`` (n,) are the predicted goal and its velocity
        `SupervisorSettings.look_ahead` after the plan's first step.

        Returns:
            the plan, or None if none within the limits is found; the active limits; the scale
            that was used.
        """
        limited: list[str] = []
        state = last.at(index)
        q_goal = _clip(q_goal, self._limits.lower, self._limits.upper)
        velocity = self._velocity(state, q_goal, dq_goal, scale, limited)
        for _ in range(_TRIES):
            plan = self._planner.plan(index, state, velocity)
            if plan is None:
                limited.append("no_plan")
                break
            passed, joints = self._planner.passed(plan)
            if passed:  # stop these joints only
                velocity = np.where(joints, 0.0, velocity)
                passed = f"{passed}:{self._limits.joint_names[int(np.argmax(joints))]}"
            else:
                passed, q_met = self._offence(plan)
                if not passed:
                    return plan, limited, scale
                if q_met is not None:  # where faces meet, other points come closer
                    velocity = self._slide(state[0], velocity, limited, q_met)
                velocity = 0.5 * velocity
                scale = 0.5 * scale
            if passed not in limited:
                limited.append(passed)
        return None, limited, 0.0

    def _velocity(
        self, state: State, q_goal: F64, dq_goal: F64, scale: float, limited: list[str]
    ) -> F64:
        """The joint velocities (n,) towards the goal, scaled as a whole to respect all speed
        limits.
        """
        limits = self._limits
        (q, dq, ddq) = state
        q_then = _clip(q + self._look_ahead * dq, limits.lower, limits.upper)
        error = q_goal - q_then
        # Approach no faster than 75 % of the acceleration can brake.
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
            velocity = _clip(wanted, lower, upper)
        else:
            coasting = dq + ddq * np.abs(ddq) / (2 * limits.jerk)  # at zero acceleration
            change = np.minimum(limits.acceleration * _CHANGE_S, limits.jerk * _CHANGE_S**2 / 4)
            bounds = (
                _clip(coasting - change, lower, upper),
                _clip(coasting + change, lower, upper),
            )
            velocity = self._share(self._guard, q_then, q_goal, dq_goal, wanted, bounds)
        velocity = self._slide(q, velocity, limited)
        # scaled as a whole, so that it still slides along obstacles
        velocity = velocity / max(float((np.abs(velocity) / np.maximum(fastest, 1e-9)).max()), 1.0)
        if self._guard is not None:
            tip = self._guard.tip_speed(q, velocity)
            allowed = 0.95 * _TIP_MARGIN * self.tip_speed * scale
            if not tip <= allowed:
                velocity = velocity * (allowed / tip)
                limited.append("tip_speed")
        return velocity if np.isfinite(velocity).all() else np.zeros_like(velocity)

    def _brakes(self, room: F64) -> F64:
        """The speed (n,) that a quarter of the acceleration can brake within ``room`` (n,) rad."""
        room = np.maximum(room - 1e-3, 0.0)
        return np.minimum(0.5 * self._gain * room, np.sqrt(0.5 * self._limits.acceleration * room))

    def _share(
        self, guard: Guard, q: F64, q_goal: F64, dq_goal: F64, wanted: F64, bounds: tuple[F64, F64]
    ) -> F64:
        """The velocity (n,) rad/s within ``bounds`` that moves the tips as ``wanted`` would without
        bounds.

        Clamping each joint separately would move the hand off its path. The tip velocity therefore
        has priority over the posture, and free joints compensate for limited ones (prioritised
        tasks with bounds: Kanoun, Lamiraux and Wieber, "Kinematic control of redundant
        manipulators", 2011).

        Args:
            guard: computes the motion of the tips.
            q, q_goal: (n,) rad, of the arm and of the goal.
            dq_goal: (n,) rad/s, of the goal.
            wanted: (n,) rad/s, unbounded velocity of each joint.
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
        return np.asarray(velocity) if found >= 1 else _clip(wanted, lower, upper)

    def _closing(self, arrow: F64, J: F64) -> F64:
        """The velocity (3 A,) m/s of the tips along the vector ``arrow`` (3 A,) m to the goal, no
        faster than the joints can brake.

        ``J`` (3 A, n) m/rad is the Jacobian of the tips.
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

    def _slide(self, q: F64, velocity: F64, limited: list[str], q_met: F64 | None = None) -> F64:
        """The velocity (n,) without its components into an obstacle or out of the workspace: the
        arm slides along instead of stopping.

        Each barrier limits the approach speed in proportion to the remaining distance (a control
        barrier function, Ames et al. 2017). Barriers are projected in turn (Kaczmarz). This is only
        a heuristic: `_offence` decides.

        A pair has one barrier, at its nearest points. If ``q_met`` (n,) is given, the barriers are
        those of that posture, in which a plan was rejected, extended linearly to ``q`` (n,).
        """
        if self._guard is None:
            return velocity
        barriers = self._guard.barriers(q if q_met is None else q_met)
        if q_met is not None:
            barriers = [
                (row, max(room + float(row @ (q_met - q)), 0.0), name)
                for row, room, name in barriers
            ]
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

    def _offence(self, plan: Plan) -> tuple[str, F64 | None]:
        """The limit of the guard that the plan or its braking trajectory violates, or empty; of a
        collision, the posture (n,) rad in which it happens.

        Values that cannot be computed count as violations: NaN fails every comparison.
        """
        guard = self._guard
        if guard is None:
            return "", None
        path = plan.path
        depth = guard.look(path[0, 0], path[0, 1], pairs=False)[1]
        limit = _TIP_MARGIN * self.tip_speed
        stride = max(-(-(len(path) - 2) // _LOOKS), 1)
        last = len(path) - 2
        slower = limit  # so that the first interval is always checked
        q_between, dq_between = _between(path, self._period)
        clear = guard.clear(path[1:, 0])
        for k, after in enumerate(path[1:]):
            # The tips are checked at every point, the more expensive pairs at some.
            pairs = not clear and (k % stride == 0 or k >= last)
            speed, outside, pair = guard.look(after[0], after[1], pairs=pairs)
            # Where acceleration turns into braking, the speed peaks between two points.
            between = max(speed, slower) <= limit - self._hump or (
                guard.tip_speed(q_between[k], dq_between[k]) <= limit
            )
            if not (speed <= limit and between):
                return "tip_speed", None
            slower = speed
            if not outside <= depth + 1e-9:
                return "workspace", None
            if pair:
                return f"collision:{pair}", after[0]
        return "", None


def _between(path: F64, period: float) -> tuple[F64, F64]:
    """Positions and velocities (K - 1, n) halfway between the states of ``path`` (K, 3, n), on the
    quintic spline of a joint_trajectory_controller.

    Unlike an extrapolation of one state, the spline passes through both, although the jerk changes
    in between.
    """
    q0, dq0, ddq0 = path[:-1].swapaxes(0, 1)
    q1, dq1, ddq1 = path[1:].swapaxes(0, 1)
    q = (q0 + q1) / 2 + 5 / 32 * period * (dq0 - dq1) + period**2 / 64 * (ddq0 + ddq1)
    return q, 15 / 8 * (q1 - q0) / period - 7 / 16 * (dq0 + dq1) + period / 32 * (ddq1 - ddq0)


def _clip(values: F64, lower: F64, upper: F64) -> F64:
    """``values`` within bounds, all (n,); `np.clip` takes four times as long for a few numbers."""
    return np.minimum(np.maximum(values, lower), upper)
