"""The operator as a Pinocchio model.

A free pelvis and a ball joint at each of the other 21 joints.
"""

from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from hpstm_ros.dynamics.anthropometry import (
    GRAVITY,
    SIDES,
    Foot,
    Segment,
    check_load,
    check_mass,
    segments,
)
from hpstm_ros.dynamics.contacts import cross
from pallas_ros.body import kinematics, rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

ROOT_DOF = 6
HAND_REACH = 0.6
"""Distance from the wrist to the middle of a held object, as a share of the hand's length."""


@dataclass(frozen=True, eq=False)
class State:
    """The body's state at one instant, in the model's coordinates.

    Attributes:
        q: (91,) pelvis position m and orientation xyzw, then the 21 orientations relative to their
            parents.
        v: (69,) linear (m/s) and angular (rad/s) velocity of the pelvis in its own frame, then
            angular velocities in the joints' frames.
        a: (69,) derivatives of `v`.
    """

    q: F64
    v: F64
    a: F64


@dataclass(frozen=True, eq=False)
class Demand:
    """Forces and moments that a motion requires if gravity is the only external force.

    Attributes:
        moment: (22, 3) Nm, net moment on each distal segment, world axes; the row of the pelvis is
            the external moment that must act on it.
        force: (3,) N, external force that must act on the pelvis, world axes.
        positions: (22, 3) m, of the joints, world.
        orientations: (22, 3, 3), joint to world.
        centre: (3,) m, centre of mass, world.
    """

    moment: F64
    force: F64
    positions: F64
    orientations: F64
    centre: F64


class Human:
    """Mass, inertia and geometry of one person.

    Args:
        offsets: (22, 3) m, of every joint from its parent in the T-pose (of a `Skeleton`, or
            measured).
        mass: kg.
        stature: m.
        sex: one of `anthropometry.SEXES`, selects the table of inertias.

    Raises:
        PallasError: the mass is out of range for a person, or ``sex`` is unknown.
    """

    def __init__(self, offsets: F64, mass: float, stature: float, sex: str = "mean") -> None:
        self.offsets = np.asarray(offsets, dtype=np.float64)
        self.mass = check_mass(mass)
        self.stature = float(stature)
        self.segments: tuple[Segment, ...] = segments(self.offsets, self.mass, stature, sex)
        self.feet = tuple(Foot.of(self.offsets, side, stature) for side in SIDES)
        self.loads = dict.fromkeys(SIDES, 0.0)
        self._model = self._build()
        self._data = self._model.createData()
        self._rest = {
            joint: pin.Inertia(self._model.inertias[joint + 1]) for joint in range(len(JOINTS))
        }

    @classmethod
    def of_skeleton(cls, skeleton: Skeleton, mass: float, sex: str = "mean") -> "Human":
        """Return a person with the dimensions of a skeleton and a mass in kg."""
        return cls(skeleton.offsets, mass, skeleton.height, sex)

    def _build(self) -> "pin.Model":
        model = pin.Model()
        model.gravity.linear = np.array([0.0, 0.0, -GRAVITY])
        for joint, name in enumerate(JOINTS):
            kind = pin.JointModelFreeFlyer() if joint == 0 else pin.JointModelSpherical()
            at = pin.SE3(np.eye(3), self.offsets[joint])
            added = model.addJoint(PARENTS[joint] + 1, kind, at, name)
            assert added == joint + 1, "each joint must follow its parent"
        for segment in self.segments:
            inertia = pin.Inertia(segment.mass, segment.centre, segment.inertia)
            model.appendBodyToJoint(segment.joint + 1, inertia, pin.SE3.Identity())
        return model

    def carry(self, load: float, side: str) -> None:
        """Set the mass in a hand to ``load`` kg.

        Raises:
            PallasError: the mass is out of range for one hand.
        """
        self.loads[side] = check_load(load)
        wrist = JOINT_INDEX[f"{side}_wrist"]
        inertia = pin.Inertia(self._rest[wrist])
        if self.loads[side]:
            inertia += pin.Inertia(self.loads[side], self.grip(side), np.zeros((3, 3)))
        self._model.inertias[wrist + 1] = inertia

    def grip(self, side: str) -> F64:
        """Position (3,) m of a held object in the wrist's frame."""
        sign = 1.0 if side == "left" else -1.0
        return np.array([0.0, sign * HAND_REACH * 0.108 * self.stature, 0.0])

    @property
    def weight(self) -> float:
        """Weight of the body and its loads, N."""
        return (self.mass + sum(self.loads.values())) * GRAVITY

    def placed(self, q: F64) -> tuple[F64, F64]:
        """Orientations (22, 3, 3) and positions (22, 3) m of the joints in the world, for the
        coordinates ``q`` (91,) of a state.
        """
        pin.forwardKinematics(self._model, self._data, q)
        return self._poses()

    def _poses(self) -> tuple[F64, F64]:
        poses = np.array([placement.homogeneous for placement in self._data.oMi.tolist()[1:]])
        return poses[:, :3, :3], poses[:, :3, 3]

    def demand(self, state: State) -> Demand:
        """Inverse dynamics without external forces (recursive Newton-Euler)."""
        tau = pin.rnea(self._model, self._data, state.q, state.v, state.a)
        # rnea does not update the positions of the joints in the world
        centre = pin.centerOfMass(self._model, self._data, state.q)
        R_world_joint, positions = self._poses()
        own = np.concatenate((tau[3:ROOT_DOF], tau[ROOT_DOF:])).reshape(-1, 3)
        moment = (R_world_joint @ own[:, :, None])[:, :, 0]
        return Demand(
            moment, R_world_joint[0] @ tau[:3], positions, R_world_joint, np.array(centre)
        )


def states(q_world_joint: F64, p_world_pelvis: F64, rate: float) -> list[State]:
    """States of a smooth motion by central differences.

    The first and the last frame have the derivatives of their neighbours.

    Args:
        q_world_joint: (T, 22, 4) xyzw, T at least 3.
        p_world_pelvis: (T, 3) m.
        rate: Hz, frame rate.
    """
    local = np.asarray(kinematics.to_local(q_world_joint))
    step = rotations.to_rotvec(rotations.multiply(rotations.inverse(local[:-1]), local[1:]))
    turn_v = np.empty((*local.shape[:2], 3))
    turn_a = np.empty_like(turn_v)
    turn_v[1:-1] = (step[1:] + step[:-1]) * rate / 2
    turn_a[1:-1] = (step[1:] - step[:-1]) * rate**2
    move = np.diff(p_world_pelvis, axis=0)
    move_v = np.empty_like(p_world_pelvis)
    move_a = np.empty_like(p_world_pelvis)
    move_v[1:-1] = (move[1:] + move[:-1]) * rate / 2
    move_a[1:-1] = (move[1:] - move[:-1]) * rate**2
    for array in (turn_v, turn_a, move_v, move_a):
        array[0], array[-1] = array[1], array[-2]
    return [
        state(p_world_pelvis[t], local[t], move_v[t], move_a[t], turn_v[t], turn_a[t])
        for t in range(len(local))
    ]


def state(p: F64, q_parent_joint: F64, v: F64, a: F64, turn_v: F64, turn_a: F64) -> State:
    """Make a state from the motion of the pelvis in the world and of the joints in their frames.

    Args:
        p, v, a: (3,) position m, velocity m/s, acceleration m/s^2 of the pelvis, world.
        q_parent_joint: (22, 4) xyzw, joint to parent; pelvis to world.
        turn_v, turn_a: (22, 3) angular velocity rad/s and acceleration rad/s^2 relative to the
            parent, in the joint's frame.
    """
    to_own = rotations.inverse(q_parent_joint[0])
    own_v = np.asarray(rotations.rotate(to_own, v), dtype=np.float64)
    own_a = rotations.rotate(to_own, a) - cross(turn_v[0], own_v)
    return State(
        np.concatenate((p, q_parent_joint.reshape(-1))),
        np.concatenate((own_v, turn_v.reshape(-1))),
        np.concatenate((own_a, turn_a.reshape(-1))),
    )
