"""Data of a robot arm from its URDF and YAML file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.retarget import urdf
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gripper:
    """A gripper at a tip.

    Attributes:
        joint_names: (m,) driven joints.
        open, closed: (m,) rad, or m for prismatic joints.
        velocity, acceleration: (m,) rad/s and rad/s^2, or m/s and m/s^2.
        effort: maximum in N or Nm; 0 if the URDF states none.
        followers: mimic joints: name, index of the driven joint, multiplier, offset.
    """

    joint_names: tuple[str, ...]
    open: F64
    closed: F64
    velocity: F64
    acceleration: F64
    effort: float
    followers: tuple[tuple[str, int, float, float], ...] = ()

    def position(self, opening: float) -> F64:
        """Joint positions (m,) for an opening from 0 (closed) to 1 (open)."""
        return self.closed + min(max(opening, 0.0), 1.0) * (self.open - self.closed)


@dataclass(frozen=True, eq=False)
class Arm:
    """A kinematic chain of a robot, and the mapping from a human arm to it.

    Attributes:
        name: of the chain.
        side: the human arm that it follows with the mapping ``same``.
        tip: frame that follows the hand.
        elbow: frame that follows the elbow's direction, or None if the arm has no such redundancy.
        p_base_shoulder: (3,) m, position of the operator's shoulder in the robot's base frame.
        R_base_operator: (3, 3) the operator's forward, left, up in the base frame.
        R_hand_tip: (3, 3) the tip's axes in the hand frame (x along the fingers, z out of the back
            of the hand).
        reach: m from the shoulder, to which the operator's straight arm is scaled.
        reach_min: m from the shoulder, minimum distance of the tip.
        weights: of the tasks `position` (1/m^2), `orientation` (1/rad^2), `elbow` (1/m^2),
            `posture` (1/rad^2); square roots of the costs.
        gripper: at the tip, or None.
    """

    name: str
    side: str
    tip: str
    elbow: str | None
    p_base_shoulder: F64
    R_base_operator: F64
    R_hand_tip: F64
    reach: float
    reach_min: float
    weights: dict[str, float]
    gripper: Gripper | None = None


@dataclass(frozen=True, eq=False)
class RobotDescription:
    """A robot: its model, with unused joints locked, its arms, limits and workspace.

    Attributes:
        name: of the configuration or the file.
        path: of the URDF.
        text: of the URDF, with xacro expanded.
        model: Pinocchio model of only the moving joints.
        locked: ids of the locked joints in the full model, and its configuration.
        geometry: convex shapes with collision pairs, including keep-out volumes.
        joint_names: of the moving joints, in the model's order, without mimic joints (which are in
            the model).
        arms: one, or two for a two-armed robot.
        locked_at: positions of the other independent joints by name, rad.
        q_ready: (n,) rad, preferred posture.
        lower, upper: (n,) rad, position limits; many turns for continuous joints.
        continuous: (n,) mask of continuous joints, whose angles are equal modulo a full turn.
        velocity, acceleration, jerk: (n,) rad/s and its derivatives; the stricter of URDF and YAML.
        effort: (n,) Nm; 0 if the URDF states none.
        box_min, box_max: (3,) m, workspace box of the tips in the base frame.
        tip_speed: m/s, speed limit of each tip from the robot's configuration, or None.
        remarks: observations and assumptions, one sentence each.
    """

    name: str
    path: Path
    text: str
    full: pin.Model
    model: pin.Model
    locked: list[int]
    q_full: F64
    geometry: pin.GeometryModel
    joint_names: tuple[str, ...]
    arms: tuple[Arm, ...]
    q_ready: F64
    lower: F64
    upper: F64
    velocity: F64
    acceleration: F64
    jerk: F64
    effort: F64
    box_min: F64
    box_max: F64
    tip_speed: float | None
    continuous: NDArray[np.bool_]
    locked_at: dict[str, float]
    remarks: tuple[str, ...] = ()

    @property
    def dof(self) -> int:
        """Number of moving joints."""
        return len(self.joint_names)

    def frame(self, name: str) -> int:
        """The Pinocchio id of a frame."""
        return frame_id(self.model, name)

    def visual(self) -> pin.GeometryModel:
        """The visual meshes on the moving joints, for rendering."""
        full = urdf.geometry(self.path, self.text, self.full, pin.GeometryType.VISUAL)
        return pin.buildReducedModel(self.full, full, self.locked, self.q_full)[1]


def frame_id(model: pin.Model, name: str) -> int:
    """The Pinocchio id of the link ``name``, or of the joint if there is no such link; a link and a
    joint may share a name.

    Raises:
        PallasError: there is neither.
    """
    for kind in (pin.FrameType.BODY, pin.FrameType.JOINT, pin.FrameType.FIXED_JOINT):
        if model.existFrame(name, kind):
            return int(model.getFrameId(name, kind))
    links = [frame.name for frame in model.frames if frame.type == pin.FrameType.BODY]
    shown = ", ".join(links[:40]) + (", ..." if len(links) > 40 else "")
    raise PallasError(f"the URDF has no frame '{name[:80]}'; it has {shown}")


def own_joints(model: pin.Model) -> list[int]:
    """Ids of the independent joints, in the order of the configuration."""
    return [joint for joint in range(1, model.njoints) if model.nvs[joint] == 1]
