"""Converts bodies to joint goals, so that the robot's arms follow the operator's.

Differential inverse kinematics by Pink (Caron et al., https://github.com/stephane-caron/pink): a
quadratic program with the joints' position and velocity limits as bounds, solved a few times per
body. The weights of the tasks differ by orders of magnitude. The order of priority is position of
the hand, orientation, direction of the elbow, posture. Damping increases as manipulability
decreases (Nakamura and Hanafusa, 1986), so that the arm slows down at singularities instead of
jumping.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import daqp
import numpy as np
import pinocchio as pin
from numpy.typing import NDArray
from pink.tasks import PostureTask

from hpstm_ros.retarget.arm_tasks import ArmTasks, Posture, objective
from hpstm_ros.retarget.human_arm import Facing, HumanArm, other, read_arm
from hpstm_ros.retarget.robots import RobotDescription
from hpstm_ros.retarget.settings import RetargetSettings
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import MODEL_RATE_HZ

F64 = NDArray[np.float64]
Barriers = Callable[[F64], list[tuple[F64, float, str]]]
"""Obstacles near a posture (n,): rows (n,) from joint motion to the approach in m, and the
remaining distance in m (`hpstm_ros.safety.guard`).
"""

_ARRIVED_RAD = 1e-4  # a smaller step ends the iteration
_NEARLY_RAD = 0.02  # barriers of a posture are valid for postures that differ by less
_APPROACH = 0.5  # fraction of the remaining distance to an obstacle that one body may use
_SLIP_M = 0.001  # by which parts may be closer than the linear barriers predict
_SHORTENED = 4  # maximum number of times that a step is halved for that
_APART_M = 0.002  # maximum separation per body of parts that are too close


@dataclass(slots=True)
class Goal:
    """The goal of the robot, before the supervisor.

    Attributes:
        q: (n,) rad.
        p_base_tip: (A, 3) m, target position of each arm's tip.
        q_base_tip: (A, 4) xyzw, target orientation of each tip.
        error_m: (A,) m, distance between each tip at `q` and its target.
        elbow_error: (A,) rad, between the elbow directions; NaN if the arm has no elbow frame.
        confidence: 0 to 1; the supervisor scales the speed by it.
        projected: (A,) bool, whether the target was moved into the workspace.
    """

    q: F64
    p_base_tip: F64
    q_base_tip: F64
    error_m: F64
    elbow_error: F64
    confidence: float
    projected: NDArray[np.bool_]


class Retargeter:
    """Converts bodies to joint goals for all arms of a robot."""

    def __init__(
        self,
        robot: RobotDescription,
        side: str | None = None,
        settings: RetargetSettings | None = None,
        barriers: Barriers | None = None,
    ) -> None:
        """Start from the robot's ready posture.

        Args:
            robot: to control.
            side: the human arm that a one-armed robot follows (default: as configured).
            settings: of the mapping.
            barriers: obstacles that the inverse kinematics avoids. Without them, the supervisor may
                stop the arm although a path around the obstacle exists.
        """
        self.robot = robot
        self.settings = settings or RetargetSettings()
        self._side = side
        self._barriers = barriers
        self._near: tuple[F64, list[tuple[F64, float, str]]] | None = (
            None  # a posture, and its barriers
        )
        self._arms = [ArmTasks(robot, arm) for arm in robot.arms]
        self._configuration = Posture(robot.model, robot.model.createData(), robot.q_ready)
        # current range of the goals: `leash_s` around the arm
        self._lower = robot.lower
        self._upper = robot.upper
        self._posture = PostureTask(
            cost=max(min(arm.weights["posture"] for arm in robot.arms), 1e-6)
        )
        self._eye = np.eye(robot.model.nv)
        self._turns = bool(robot.continuous.any())
        self._held: F64 | None = None  # posture when the clutch was engaged
        self._facing = Facing()
        self._manipulable = [self._manipulability(arm) or 1.0 for arm in self._arms]

    @property
    def q(self) -> F64:
        """(n,) rad, the last goal."""
        return np.array(self._configuration.q)

    def look_around(self) -> None:
        """Compute the barriers at the last goal for the next body. Call it when idle, or `step`
        does it.
        """
        if self._barriers is not None:
            self._near = self.q, self._barriers(self.q)

    def restart(self, q: F64) -> None:
        """Continue from posture ``q`` (n,) rad, that of the arm when it is engaged.

        The clutch is engaged again.
        """
        self._configuration.update(np.clip(q, self.robot.lower, self.robot.upper))
        self._let_go()

    def _let_go(self) -> None:
        self._held = None
        for arm in self._arms:
            arm.anchor = None

    def _preferred(self) -> F64:
        """(n,) rad, preferred posture: the ready one, or with a clutch that of its engagement, so
        that the arm does not move while the operator is at rest.
        """
        if self.settings.mode != "clutched":
            self._held = None
        elif self._held is None:
            self._held = self.q
        posture = self.robot.q_ready if self._held is None else self._held
        if not self._turns:
            return posture
        turns = np.round((self._configuration.q - posture) / (2 * np.pi))
        return np.where(self.robot.continuous, posture + 2 * np.pi * turns, posture)

    def new_operator(self) -> None:
        """Reset arm length and clutch anchors for another operator."""
        self._let_go()
        self._facing = Facing()
        for arm in self._arms:
            arm.length = None

    def step(
        self, body: BodyFrame, q_now: F64 | None = None, tip_speed: float = np.inf
    ) -> Goal | None:
        """The goal for one body, or None if the body's arms cannot be used.

        Args:
            body: of the operator.
            q_now: (n,) rad, currently commanded posture. Goals stay within `leash_s` of it, so that
                other joints compensate for a slow wrist, and the path to a goal is short. None: the
                arm is assumed to be at the last goal.
            tip_speed: m/s, of the tips; more distant targets are approached in a straight line.
        """
        settings = self.settings
        configuration = self._configuration
        if q_now is not None:
            leash = settings.leash_s * self.robot.velocity
            self._lower = np.maximum(q_now - leash, self.robot.lower)
            self._upper = np.minimum(q_now + leash, self.robot.upper)
            near = np.minimum(np.maximum(configuration.q, self._lower), self._upper)
            if (near != configuration.q).any():
                configuration.update(near)
        humans = self._read(body)
        if humans is None:
            return None
        self._posture.set_target(self._preferred())
        poses = []
        for arm, human in zip(self._arms, humans, strict=True):
            tip = configuration.get_transform_frame_to_world(arm.arm.tip)
            p, R = arm.target(human, settings, configuration)
            p = arm.in_workspace(p)
            poses.append(pin.SE3(R, p))
            arrow = p - tip.translation
            step = settings.speed_factor * tip_speed / MODEL_RATE_HZ
            distance = math.sqrt(arrow @ arrow)
            if distance > step:
                p = tip.translation + arrow * (step / distance)
            arm.set_targets(p, R, human, configuration, settings)
        self._solve()
        return self._goal(poses, humans)

    def _read(self, body: BodyFrame) -> list[HumanArm] | None:
        """The human arm for each arm of the robot, or None if one cannot be used."""
        mirrored = self.settings.mapping == "mirrored"
        humans = []
        for arm in self._arms:
            if len(self._arms) == 2:
                # mirrored: the robot's left arm follows the operator's right arm
                side = other(arm.arm.side) if mirrored else arm.arm.side
            else:
                side = self._side or arm.arm.side
            human = read_arm(body, side, self.settings.orientation_from, mirrored, self._facing)
            if human is None:
                return None
            humans.append(human)
        return humans

    def _solve(self) -> None:
        """Move towards the targets, as far as the joints' speed and the barriers allow.

        A pair of parts has one barrier, at its nearest points. Where faces meet, a step that keeps
        it turns other points of the pair too close; these get barriers of their own, and the step
        is repeated from its start (5 % of the bodies of a bare PR2; once was always enough).
        """
        configuration = self._configuration
        if self._near is None or np.abs(configuration.q - self._near[0]).max() > _NEARLY_RAD:
            self.look_around()
        q_start = configuration.q.copy()
        q_near, near = self._near or (configuration.q, [])
        rows = np.array([row for row, _, _ in near]).reshape(-1, self.robot.model.nv)
        left = np.array([left for _, left, _ in near]) - rows @ (q_start - q_near)
        least = min(float(left.min(initial=0.0)), -_SLIP_M)
        self._newton(rows, left)
        # For smaller steps, parts that rotate about corners deviate by at most 0.2 mm.
        if near and np.abs(configuration.q - q_start).max() > _NEARLY_RAD:
            closer = self._too_close(q_start, least)
            if closer:
                configuration.update(q_start)
                rows = np.vstack((rows, *(row for row, _ in closer)))
                self._newton(rows, np.concatenate((left, [start for _, start in closer])))
                self._stay_apart(q_start, least)
        if self._near is not None and not np.array_equal(configuration.q, self._near[0]):
            self._near = None

    def _too_close(self, q_start: F64, least: float) -> list[tuple[F64, float]]:
        """The barriers of this posture that are closer than ``least`` m.

        Each is a row (n,) m/rad and the distance in m that its linear extension leaves at
        ``q_start`` (n,) rad, where the parts are not too close.
        """
        self.look_around()
        assert self._near is not None
        return [
            (row, max(left - float(row @ (q_start - self.q)), 0.0))
            for row, left, _ in self._near[1]
            if left < least
        ]

    def _newton(self, rows: F64, left: F64) -> None:
        """Take Newton steps until the tips arrive or the joints' speed limits are exhausted.

        Args:
            rows: (B, n) m/rad, barriers: approach per unit of each joint.
            left: (B,) m, distance left to each of them; negative: too close.
        """
        configuration = self._configuration
        dt = 1.0 / MODEL_RATE_HZ / self.settings.iterations
        most = self.robot.velocity * self.settings.speed_factor * dt
        # Parts that are too close, because their paths are curved, move apart again.
        room = np.where(left > 0.0, _APPROACH * left, np.maximum(left, -_APART_M))
        free = np.full(len(left), -np.inf)
        senses = np.zeros(self.robot.model.nv + len(left), dtype=np.intc)
        for _ in range(self.settings.iterations):
            H, c = self._objective()
            q = configuration.q
            # Pass bounds as bounds, not as constraint rows as in `pink.solve_ik`, which takes three
            # times as long.
            above = np.minimum(np.maximum(self._upper - q, 0.0), most)
            below = np.minimum(np.maximum(q - self._lower, 0.0), most)
            bounds = np.concatenate((above, room)), np.concatenate((-below, free))
            move, _, found, _ = daqp.solve(H, c, rows, *bounds, senses)
            if found < 1 and (room < 0.0).any():  # infeasible: at least keep the distance
                room = np.maximum(room, 0.0)
                bounds = np.concatenate((above, room)), np.concatenate((-below, free))
                move, _, found, _ = daqp.solve(H, c, rows, *bounds, senses)
            if found < 1:
                break
            configuration.update(q + move)
            room = np.maximum(room - rows @ move, 0.0)
            if np.abs(move).max() < _ARRIVED_RAD:
                break

    def _objective(self) -> tuple[F64, F64]:
        """The objective of a Newton step dq: the matrix H (n, n) and the vector c (n,) of
        ``dq H dq / 2 + c dq``.

        As by ``pink.build_ik``, in a third of the time.
        """
        configuration = self._configuration
        damping = 1e-9 + 1e-3 * max(self._nearness(k) for k in range(len(self._arms))) ** 2
        H = damping * self._eye
        c = np.zeros(len(H))
        for arm in self._arms:
            for task in arm.tasks:
                H_task, c_task = objective(task, configuration)
                H += H_task
                c += c_task
        cost = self._posture.cost
        H += cost * cost * self._eye
        c += cost * (cost * self._posture.compute_error(configuration))
        return H, c

    def _stay_apart(self, q_start: F64, least: float) -> None:
        """Shorten the step from ``q_start`` (n,) until no parts are closer than ``least`` m.

        Barriers are linear, but parts may rotate about corners, so that a long step may bring them
        too close.
        """
        for _ in range(_SHORTENED):
            self.look_around()
            assert self._near is not None
            if min((left for _, left, _ in self._near[1]), default=0.0) >= least:
                return
            self._configuration.update((q_start + self.q) / 2)
        self._configuration.update(q_start)
        self._near = None

    def _manipulability(self, arm: ArmTasks) -> float:
        """Yoshikawa's manipulability of the tip's position Jacobian."""
        J = self._configuration.get_frame_jacobian(arm.arm.tip)[:3]
        return float(np.sqrt(max(np.linalg.det(J @ J.T), 0.0)))

    def _nearness(self, k: int) -> float:
        """Proximity to a singularity, from 0 (manipulability at least 10 % of that in the ready
        posture) to 1 (singular).
        """
        return max(1.0 - self._manipulability(self._arms[k]) / (0.1 * self._manipulable[k]), 0.0)

    def _goal(self, poses: list[pin.SE3], humans: list[HumanArm]) -> Goal:
        configuration = self._configuration
        settings = self.settings
        arrows = [
            configuration.get_transform_frame_to_world(a.arm.tip).translation - pose.translation
            for a, pose in zip(self._arms, poses, strict=True)
        ]
        deviation = max(
            float(np.sqrt(max(np.linalg.eigvalsh(h.covariance)[-1], 0.0))) for h in humans
        )
        sure = min(max(1.0 - deviation / settings.stop_deviation_m, 0.0), 1.0)
        return Goal(
            q=np.array(configuration.q),
            p_base_tip=np.array([pose.translation for pose in poses]),
            q_base_tip=np.array([pin.Quaternion(pose.rotation).coeffs() for pose in poses]),
            error_m=np.array([math.sqrt(arrow @ arrow) for arrow in arrows]),
            elbow_error=np.array(
                [a.elbow_error(h, configuration) for a, h in zip(self._arms, humans, strict=True)]
            ),
            confidence=min(sure, *(h.confidence for h in humans)),
            projected=np.array([arm.projected for arm in self._arms]),
        )
