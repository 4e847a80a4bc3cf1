"""A robot arm as data: what a URDF and a short YAML say of it."""

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
    """What opens and closes beyond a tip.

    Attributes:
        joint_names: (m,) joints that are driven.
        open, closed: (m,) rad, or m of a slide.
        velocity, acceleration: (m,) rad/s and rad/s^2, or m/s and m/s^2.
        effort: N or Nm, at most; 0 where the URDF does not say.
        followers: joints that mimic a driven one: name, number of the driven joint, multiplier,
            offset.
    """

    joint_names: tuple[str, ...]
    open: F64
    closed: F64
    velocity: F64
    acceleration: F64
    effort: float
    followers: tuple[tuple[str, int, float, float], ...] = ()

    def position(self, opening: float) -> F64:
        """(m,) for an opening of 0, closed, to 1, open."""
        return self.closed + min(max(opening, 0.0), 1.0) * (self.open - self.closed)


@dataclass(frozen=True, eq=False)
class Arm:
    """One chain of a robot, and how a human arm maps to it.

    Attributes:
        name: of the chain.
        side: the human arm it follows when arms are mapped to the same side.
        tip: frame that follows the hand.
        elbow: frame that follows the elbow's direction, or None where the arm has no such freedom.
        p_base_shoulder: (3,) m, where in the robot's base frame the operator's shoulder is.
        R_base_operator: (3, 3) the operator's forward, left, up in the base frame.
        R_hand_tip: (3, 3) the tip's axes in the hand's (x along the fingers, z out of the back of
            the hand).
        reach: m from the shoulder, what the operator's straight arm is scaled to.
        reach_min: m from the shoulder, nearer than which the tip is not sent.
        weights: of the tasks `position` (1/m^2), `orientation` (1/rad^2), `elbow` (1/m^2),
            `posture` (1/rad^2), as cost's roots.
        gripper: beyond the tip, or None.
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
    """A robot: its model, with the joints that no arm uses locked, its arms, limits and workspace.

    Attributes:
        name: of the configuration or the file.
        path: of the URDF.
        text: of the URDF, as read, xacro expanded.
        model: Pinocchio's, of the moving joints alone.
        locked: full model's joint ids that are locked, and the full configuration they are locked
            in.
        geometry: convex shapes with collision pairs, keep-out volumes of the workspace included.
        joint_names: of the moving joints, in the model's order; joints that mimic one of them are
            in the model, but not among these.
        arms: one, or two for a two-armed robot.
        locked_at: where the other joints that move by themselves stand, by their names, rad.
        q_ready: (n,) rad, the posture to prefer.
        lower, upper: (n,) rad, position limits; those of a continuous joint are many turns away.
        continuous: (n,) which joints turn without end, so that an angle and that plus a full turn
            are the same.
        velocity, acceleration, jerk: (n,) rad/s and its derivatives; the URDF's or the YAML's, the
            stricter.
        effort: (n,) Nm; 0 where the URDF does not say.
        box_min, box_max: (3,) m, where tips may be, in the base frame.
        tip_speed: m/s, the limit of each tip's speed that the robot's own configuration asks for,
            or None.
        remarks: what was noticed and assumed, a sentence each.
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
        """Pinocchio's id of a frame."""
        return frame_id(self.model, name)

    def visual(self) -> pin.GeometryModel:
        """The visual meshes on the moving joints, for rendering."""
        full = urdf.geometry(self.path, self.text, self.full, pin.GeometryType.VISUAL)
        return pin.buildReducedModel(self.full, full, self.locked, self.q_full)[1]


def frame_id(model: pin.Model, name: str) -> int:
    """Pinocchio's id of the link called ``name``, or of the joint where no link is called so: a
    link and a joint may share a name.

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
    """Ids of the joints that move by themselves, in the order of the configuration."""
    return [joint for joint in range(1, model.njoints) if model.nvs[joint] == 1]
