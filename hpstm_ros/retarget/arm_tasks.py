"""Tasks of the inverse kinematics for one arm: where its tip and its elbow should be."""

import math
from dataclasses import dataclass

import numpy as np
import pink
import pinocchio as pin
from numpy.typing import NDArray
from pink.exceptions import FrameNotFound
from pink.tasks import FrameTask

from hpstm_ros.retarget.human_arm import HumanArm
from hpstm_ros.retarget.robots import Arm, RobotDescription
from hpstm_ros.retarget.settings import RetargetSettings

F64 = NDArray[np.float64]

_BOX_MARGIN_M = 0.02  # inside the supervisor's box, since a tip moves on an arc between two goals


class Posture(pink.Configuration):  # type: ignore[misc]
    """Pink's configuration with frame poses and Jacobians cached per posture."""

    def __init__(self, model: pin.Model, data: pin.Data, q: F64) -> None:
        """See Pink."""
        self._ids: dict[str, int] = {}  # of frames, which Pink looks up by name each time
        super().__init__(model, data, q)

    def update(self, q: F64 | None = None) -> None:
        """See Pink."""
        self._poses: dict[str, pin.SE3] = {}
        self._jacobians: dict[str, F64] = {}
        super().update(q)

    def get_transform_frame_to_world(self, frame: str) -> pin.SE3:
        """See Pink. Not to be written to."""
        if frame not in self._poses:
            self._poses[frame] = self.data.oMf[self._id(frame)].copy()
        return self._poses[frame]

    def get_frame_jacobian(self, frame: str) -> F64:
        """See Pink. Not to be written to."""
        if frame not in self._jacobians:
            jacobian = pin.getFrameJacobian(self.model, self.data, self._id(frame), pin.LOCAL)
            self._jacobians[frame] = jacobian.reshape(6, -1)  # 1-D for a single joint
        return self._jacobians[frame]

    def _id(self, frame: str) -> int:
        if frame not in self._ids:
            if not self.model.existFrame(frame):
                raise FrameNotFound(frame, self.model.frames)
            self._ids[frame] = self.model.getFrameId(frame)
        return self._ids[frame]


def objective(task: FrameTask, configuration: pink.Configuration) -> tuple[F64, F64]:
    """The term of a task in the quadratic program: its matrix (n, n) and its vector (n,).

    The same numbers as Pink's ``compute_qp_objective``, in half the time: its weight matrix is
    diagonal, and its damping (``lm_damping``) is not used here.
    """
    at = configuration.get_transform_frame_to_world(task.frame)
    wanted = task.transform_target_to_world
    error = pin.log6(at.actInv(wanted)).vector
    J = -pin.Jlog6(wanted.actInv(at)) @ configuration.get_frame_jacobian(task.frame)
    J_weighted = task.cost[:, None] * J
    return J_weighted.T @ J_weighted, (task.cost * error) @ J_weighted


@dataclass(frozen=True, slots=True)
class _Anchor:
    """Poses of operator and robot when the clutch was engaged, in the base frame, so that the robot
    moves only when the operator does.

    Attributes:
        hand: (3,) m, the operator's wrist relative to the shoulder.
        R_tip: (3, 3) orientation of the tip that corresponds to the hand's.
        p_tip_robot, R_tip_robot: pose of the tip.
        R_elbow: (3, 3) rotation from the direction of the operator's elbow to the robot's.
    """

    hand: F64
    R_tip: F64
    p_tip_robot: F64
    R_tip_robot: F64
    R_elbow: F64


class ArmTasks:
    """The tasks of one arm, and its clutch anchor."""

    def __init__(self, robot: RobotDescription, arm: Arm) -> None:
        """Create the tasks; targets are set for each body."""
        self.robot = robot
        self.arm = arm
        self.tip = FrameTask(
            arm.tip,
            position_cost=arm.weights["position"],
            orientation_cost=arm.weights["orientation"],
        )
        self.elbow = (
            FrameTask(arm.elbow, position_cost=arm.weights["elbow"], orientation_cost=0.0)
            if arm.elbow
            else None
        )
        # All tasks with a weight above zero.
        self.tasks = [self.tip]
        if self.elbow is not None and arm.weights["elbow"] != 0:
            self.tasks.append(self.elbow)
        self.length: float | None = None
        self.anchor: _Anchor | None = None
        self.projected = False
        self._box = robot.box_min + _BOX_MARGIN_M, robot.box_max - _BOX_MARGIN_M

    def target(
        self, human: HumanArm, settings: RetargetSettings, configuration: pink.Configuration
    ) -> tuple[F64, F64]:
        """Target of the tip in the base frame, (3,) m and (3, 3), not limited to the workspace."""
        arm = self.arm
        # Bone lengths of a noisy body vary; the scale must not.
        self.length = (
            human.length
            if self.length is None
            else self.length + 0.01 * (human.length - self.length)
        )
        scale = settings.scale * arm.reach / self.length
        p_hand = arm.R_base_operator @ (scale * human.hand)
        R_tip = arm.R_base_operator @ human.R_operator_hand @ arm.R_hand_tip
        if settings.mode == "absolute":
            self.anchor = None
            return arm.p_base_shoulder + p_hand, R_tip
        hand = arm.R_base_operator @ human.hand
        if self.anchor is None:
            self.anchor = self._take_hold(hand, R_tip, human, configuration)
        anchor = self.anchor
        p = anchor.p_tip_robot + scale * (hand - anchor.hand)
        return p, R_tip @ anchor.R_tip.T @ anchor.R_tip_robot

    def _take_hold(
        self, hand: F64, R_tip: F64, human: HumanArm, configuration: pink.Configuration
    ) -> _Anchor:
        arm = self.arm
        tip = configuration.get_transform_frame_to_world(self.arm.tip)
        R_elbow = np.eye(3)
        if arm.elbow is not None:
            at = configuration.get_transform_frame_to_world(arm.elbow).translation
            R_elbow = pin.Quaternion.FromTwoVectors(
                arm.R_base_operator @ human.elbow, at - arm.p_base_shoulder
            ).matrix()
        return _Anchor(
            hand, R_tip, np.array(tip.translation), np.array(tip.rotation), np.array(R_elbow)
        )

    def elbow_direction(self, human: HumanArm) -> F64:
        """(3,) target direction from the robot's shoulder to its elbow, in the base frame."""
        direction = self.arm.R_base_operator @ human.elbow
        return direction if self.anchor is None else np.asarray(self.anchor.R_elbow @ direction)

    def in_workspace(self, p: F64) -> F64:
        """The nearest point within reach and slightly inside the box, or no farther outside than at
        the clutch anchor; sets `projected`.
        """
        arm = self.arm
        out = p
        low, high = self._box
        near = arm.reach_min
        far = arm.reach
        if self.anchor is not None:
            held = self.anchor.p_tip_robot
            low = np.minimum(low, held)
            high = np.maximum(high, held)
            apart = float(np.linalg.norm(held - arm.p_base_shoulder))
            near = min(near, apart)
            far = max(far, apart)
        for _ in range(2):
            arrow = out - arm.p_base_shoulder
            distance = math.sqrt(arrow @ arrow)
            if not near <= distance <= far:
                forward = arm.R_base_operator[:, 0]
                direction = arrow / distance if distance > 1e-6 else forward
                out = arm.p_base_shoulder + direction * min(max(distance, near), far)
            out = np.minimum(np.maximum(out, low), high)  # a fifth of the time of `np.clip`
        self.projected = bool(np.abs(out - p).max() > 1e-9)
        return np.asarray(out)

    def set_targets(
        self,
        p: F64,
        R: F64,
        human: HumanArm,
        configuration: pink.Configuration,
        settings: RetargetSettings,
    ) -> None:
        """Set the tasks' targets, and their weights from the body's uncertainty."""
        arm = self.arm
        soft = settings.deviation_scale_m**2
        self.tip.set_target(pin.SE3(R, p))
        # Weights are scaled by 1 / (1 + (sigma / scale)^2) along each axis of the tip frame, in
        # which Pink measures errors.
        R_tip_operator = (
            configuration.get_transform_frame_to_world(arm.tip).rotation.T @ arm.R_base_operator
        )
        variance = np.maximum(np.diag(R_tip_operator @ human.covariance @ R_tip_operator.T), 0.0)
        weight = 1.0 / (1.0 + variance / soft)
        cost = np.empty(6)
        cost[:3] = arm.weights["position"] * np.sqrt(weight)
        cost[3:] = arm.weights["orientation"] * np.sqrt(weight.mean()) * max(human.confidence, 0.05)
        self.tip.cost = cost
        if self.elbow is not None and arm.elbow is not None:
            at = configuration.get_transform_frame_to_world(arm.elbow)
            upper = at.translation - arm.p_base_shoulder
            length = math.sqrt(upper @ upper)
            wanted = arm.p_base_shoulder + length * self.elbow_direction(human)
            self.elbow.set_target(pin.SE3(at.rotation, wanted))
            self.elbow.set_position_cost(
                arm.weights["elbow"] / np.sqrt(1.0 + human.elbow_variance / soft)
            )

    def elbow_error(self, human: HumanArm, configuration: pink.Configuration) -> float:
        """Angle in rad between the robot's and the operator's shoulder-to-elbow direction."""
        if self.arm.elbow is None:
            return float("nan")
        arrow = (
            configuration.get_transform_frame_to_world(self.arm.elbow).translation
            - self.arm.p_base_shoulder
        )
        cosine = arrow @ self.elbow_direction(human) / max(math.sqrt(arrow @ arrow), 1e-9)
        return float(np.arccos(min(max(cosine, -1.0), 1.0)))
