"""Inputs of HDyS: points, canonical angles, or angles of a musculoskeletal model.

Each frame of the motion is expressed in its own heading frame: x along the heading of the pelvis, z
up, origin on the ground below the pelvis.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pallas_ros.body import kinematics, rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS

F64 = NDArray[np.float64]

SIDES = ("left", "right")
KEYPOINTS = len(JOINTS)
ANGLE_VALUES = 12 * len(JOINTS) + 7
COORDINATES = (
    *("pelvis_tilt", "pelvis_list", "pelvis_rotation"),
    *("lumbar_extension", "lumbar_bending", "lumbar_rotation"),
    *(
        f"{name}_{side}"
        for side in "lr"
        for name in (
            *("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle"),
            *("arm_flex", "arm_add", "arm_rot", "elbow_flex"),
        )
    ),
)
"""Angles of the Rajagopal (2016) model that are used."""
COORDINATE_VALUES = 3 * len(COORDINATES) + 7

_R_WORLD_FILE: F64 = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Rotation from the axes of OpenSim (x forward, y up, z right) to x forward, y left, z up."""
_FASTEST = 30.0
"""rad/s, and a tenth of the limit in rad/s^2; an angle that changes faster passed a singularity."""


@dataclass(frozen=True, eq=False)
class View:
    """Heading frames of a segment of motion.

    Attributes:
        R_heading_world: (T, 3, 3), world to heading frame.
        origin: (T, 3) m, world: the ground below the pelvis.
        fps: Hz, frame rate.
    """

    R_heading_world: F64
    origin: F64
    fps: float

    @classmethod
    def of(cls, q_world_pelvis: F64, p_world_pelvis: F64, floor: float, fps: float) -> "View":
        """Heading frames of a pelvis.

        Args:
            q_world_pelvis: (T, 4) xyzw.
            p_world_pelvis: (T, 3) m.
            floor: m, height of the ground.
            fps: Hz, frame rate.
        """
        turn = rotations.about_z(-np.asarray(rotations.heading(q_world_pelvis)))
        origin = p_world_pelvis.copy()
        origin[:, 2] = floor
        return cls(np.asarray(rotations.to_matrix(turn), np.float64), origin, fps)

    def at(self, frames: NDArray[np.intp]) -> "View":
        """The view restricted to the frame indices ``frames`` (n,)."""
        return View(self.R_heading_world[frames], self.origin[frames], self.fps)

    def turned(self, vectors: F64) -> F64:
        """Rotate vectors (T, ..., 3) from the world to the heading frames."""
        flat = vectors.reshape(len(vectors), -1, 3)
        return np.asarray(np.einsum("tij,tpj->tpi", self.R_heading_world, flat)).reshape(
            vectors.shape
        )

    def points(self, p_world: F64) -> F64:
        """Position m, velocity m/s and acceleration m/s^2 (T, P, 9) of points (T, P, 3) m."""
        v, a = derivatives(p_world, self.fps)
        parts = (p_world - self.origin[:, None], v, a)
        return np.concatenate([self.turned(part) for part in parts], axis=-1)

    def angles(self, q_world_joint: F64, p_world_pelvis: F64) -> F64:
        """Canonical angles (T, 271): rotations relative to the parents as r6d, their angular
        velocities and accelerations in the joints' frames, the pelvis's height, velocity and
        acceleration."""
        count = len(q_world_joint)
        local = np.asarray(kinematics.to_local(q_world_joint), np.float64)
        R = np.asarray(rotations.to_matrix(local), np.float64)
        R[:, 0] = self.R_heading_world @ R[:, 0]
        step = np.asarray(
            rotations.to_rotvec(rotations.multiply(rotations.inverse(local[:-1]), local[1:]))
        )
        v = np.empty((count, len(JOINTS), 3))
        a = np.empty_like(v)
        v[1:-1] = (step[1:] + step[:-1]) * self.fps / 2
        a[1:-1] = (step[1:] - step[:-1]) * self.fps**2
        for values in (v, a):
            values[0] = values[1]
            values[-1] = values[-2]
        r6d = np.asarray(rotations.to_r6d(R))
        parts = [part.reshape(count, -1) for part in (r6d, v, a)]
        return np.concatenate((*parts, self._pelvis(p_world_pelvis)), axis=1)

    def coordinates(self, angles: Mapping[str, F64], p_world_pelvis: F64) -> F64:
        """Angles (T,) rad of `COORDINATES`, their derivatives, and the pelvis's height, velocity
        and acceleration (T, 79)."""
        values = np.unwrap(np.stack([angles[name] for name in COORDINATES], axis=1), axis=0)
        v, a = derivatives(values, self.fps)
        v = np.clip(v, -_FASTEST, _FASTEST)
        a = np.clip(a, -10 * _FASTEST, 10 * _FASTEST)
        values = (values + np.pi) % (2 * np.pi) - np.pi
        return np.concatenate((values, v, a, self._pelvis(p_world_pelvis)), axis=1)

    def _pelvis(self, p_world_pelvis: F64) -> F64:
        moving = self.points(p_world_pelvis[:, None])[:, 0]
        return moving[:, 2:]


def derivatives(values: F64, fps: float) -> tuple[F64, F64]:
    """First and second derivative (T, ...) of values (T, ...) by central differences.

    The first and the last frame repeat their neighbours.
    """
    v = np.empty_like(values)
    a = np.empty_like(values)
    v[1:-1] = (values[2:] - values[:-2]) * fps / 2
    a[1:-1] = (values[2:] - 2 * values[1:-1] + values[:-2]) * fps**2
    for array in (v, a):
        array[0] = array[1]
        array[-1] = array[-2]
    return v, a


def coordinates_of(R_heading_joint: F64) -> dict[str, F64]:
    """Angles (T,) rad of `COORDINATES` for a canonical body (T, 22, 3, 3).

    They use the axis order of the musculoskeletal model; its tilted ankle and elbow axes are
    approximated by straight ones.
    """
    R = R_heading_joint
    pelvis = R[:, JOINT_INDEX["pelvis"]]
    trunk = R[:, JOINT_INDEX["spine3"]]
    out = dict(zip(COORDINATES[:3], _euler(pelvis)))
    out |= zip(COORDINATES[3:6], _euler(_relative(pelvis, trunk)))
    for side in SIDES:
        sign = 1.0 if side == "right" else -1.0
        end = side[0]
        thigh = R[:, JOINT_INDEX[f"{side}_hip"]]
        shank = R[:, JOINT_INDEX[f"{side}_knee"]]
        foot = R[:, JOINT_INDEX[f"{side}_ankle"]]
        hanging = Rotation.from_euler("x", -sign * np.pi / 2).as_matrix()
        upper = R[:, JOINT_INDEX[f"{side}_shoulder"]] @ hanging
        fore = R[:, JOINT_INDEX[f"{side}_elbow"]] @ hanging
        flexion, adduction, turn = _euler(_relative(pelvis, thigh))
        out[f"hip_flexion_{end}"] = flexion
        out[f"hip_adduction_{end}"] = sign * adduction
        out[f"hip_rotation_{end}"] = sign * turn
        out[f"knee_angle_{end}"] = -_euler(_relative(thigh, shank))[0]
        out[f"ankle_angle_{end}"] = _euler(_relative(shank, foot))[0]
        flexion, adduction, turn = _euler(_relative(trunk, upper))
        out[f"arm_flex_{end}"] = flexion
        out[f"arm_add_{end}"] = sign * adduction
        out[f"arm_rot_{end}"] = sign * turn
        bend = Rotation.from_matrix(_relative(upper, fore)).magnitude()
        out[f"elbow_flex_{end}"] = bend
    return out


def pelvis_coordinates(R_heading_pelvis: F64) -> dict[str, F64]:
    """The three angles (T,) rad of the pelvis, by name, from orientations (T, 3, 3)."""
    return dict(zip(COORDINATES[:3], _euler(R_heading_pelvis)))


def _relative(R_world_a: F64, R_world_b: F64) -> F64:
    return np.asarray(np.swapaxes(R_world_a, -1, -2) @ R_world_b)


def _euler(R: F64) -> F64:
    """Euler angles (3, T) rad about z, then x, then y of the axes of OpenSim."""
    turned = _R_WORLD_FILE.T @ R @ _R_WORLD_FILE
    with warnings.catch_warnings():  # arms held sideways are at the singularity of these axes
        warnings.filterwarnings("ignore", message="Gimbal lock")
        return np.asarray(Rotation.from_matrix(turned).as_euler("ZXY")).T
