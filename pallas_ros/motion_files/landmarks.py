"""Points of the body in a source's own axes and unit, and the directions derived from them."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.motion_files.joints import SPINE_JOINTS, TRUNK_SHARES

_DEFAULT = Skeleton.from_height()
SIDES = ("left", "right")
_TRUNK = ("pelvis", *SPINE_JOINTS, "neck")


def length(vectors: Array) -> Array:
    """Return the lengths (...) of vectors (..., 3)."""
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def unit(vectors: Array) -> Array:
    """Normalise vectors (..., 3); those shorter than 1e-12 are not scaled to unit length."""
    return np.asarray(vectors / np.maximum(length(vectors)[..., None], 1e-12))


def place(points: dict[str, Array]) -> Array:
    """Return the body's joints (T, 22, 3) from those available in a source (each (T, 3)).

    Missing spine joints are interpolated between the available ones, and a missing neck between the
    shoulders. Missing collars and feet are NaN.
    """
    frames = len(points["pelvis"])
    out = np.full((frames, len(JOINTS), 3), np.nan)
    for joint, path in points.items():
        out[:, JOINT_INDEX[joint]] = path
    if "neck" not in points:
        out[:, JOINT_INDEX["neck"]] = (points["left_shoulder"] + points["right_shoulder"]) / 2
    shares = {"pelvis": 0.0, **TRUNK_SHARES, "neck": 1.0}
    known = [joint for joint in _TRUNK if joint in points or joint == "neck"]
    for below, above in pairwise(known):
        between = _TRUNK[_TRUNK.index(below) + 1 : _TRUNK.index(above)]
        for joint in between:
            share = (shares[joint] - shares[below]) / (shares[above] - shares[below])
            start = out[:, JOINT_INDEX[below]]
            end = out[:, JOINT_INDEX[above]]
            out[:, JOINT_INDEX[joint]] = start + share * (end - start)
    return out


@dataclass(frozen=True)
class Landmarks:
    """Directions and lengths of bodies given as joints (T, 22, 3), in any axes and unit."""

    points: Array

    def of(self, joint: str) -> Array:
        """Return a joint's trajectory (T, 3)."""
        return np.asarray(self.points[:, JOINT_INDEX[joint]])

    def between(self, start: str, end: str) -> Array:
        """Return the vector from one joint to another (T, 3)."""
        return self.of(end) - self.of(start)

    def middle(self, part: str) -> Array:
        """Return the midpoint between left and right joint (T, 3)."""
        return np.asarray((self.of(f"left_{part}") + self.of(f"right_{part}")) / 2)

    @property
    def trunk(self) -> Array:
        """Unit vector from mid-hip to the neck (T, 3)."""
        return unit(self.of("neck") - self.middle("hip"))

    @property
    def legs(self) -> Array:
        """Unit vector from mid-ankle to mid-hip (T, 3)."""
        return unit(self.middle("hip") - self.middle("ankle"))

    @property
    def left_hips(self) -> Array:
        """Unit vector from the right hip to the left (T, 3)."""
        return unit(self.between("right_hip", "left_hip"))

    @property
    def left_shoulders(self) -> Array:
        """Unit vector from the right shoulder to the left (T, 3)."""
        return unit(self.between("right_shoulder", "left_shoulder"))

    @property
    def left(self) -> Array:
        """Unit vector to the body's left, from hips and shoulders (T, 3)."""
        return unit(self.left_hips + self.left_shoulders)

    def limb(self, *joints: str) -> float:
        """Return the length of a chain of joints, starting with the limb's first.

        Median over frames, mean of both sides.
        """
        total = 0.0
        for side in SIDES:
            for start, end in pairwise(joints):
                total += float(np.median(length(self.between(f"{side}_{start}", f"{side}_{end}"))))
        return total / 2

    @property
    def leg(self) -> float:
        """Length of thigh and shank, in the points' unit."""
        return self.limb("hip", "knee", "ankle")

    @property
    def stature(self) -> float:
        """Stature of a person with these limbs and trunk, in the points' unit.

        The median of three estimates.
        """
        default = Landmarks(_DEFAULT.rest_positions[None])
        return float(
            np.median([a / b for a, b in zip(self._sizes(), default._sizes(), strict=True)])
            * _DEFAULT.height
        )

    def _sizes(self) -> NDArray[np.float64]:
        trunk = float(np.median(length(self.of("neck") - self.middle("hip"))))
        return np.array([self.leg, self.limb("shoulder", "elbow", "wrist"), trunk])

    def proportions(self) -> dict[str, float]:
        """Return sizes of body parts relative to the default body of the same stature."""
        default = Landmarks(_DEFAULT.rest_positions[None])
        scale = self.stature / _DEFAULT.height
        parts: dict[str, float] = {}
        for name, chain in {
            "thigh": ("hip", "knee"),
            "shank": ("knee", "ankle"),
            "upper arm": ("shoulder", "elbow"),
            "forearm": ("elbow", "wrist"),
        }.items():
            for side in SIDES:
                joints = [f"{side}_{joint}" for joint in chain]
                own = float(np.median(length(self.between(*joints))))
                parts[f"{side} {name}"] = own / (scale * float(length(default.between(*joints))[0]))
        parts["trunk"] = float(self._sizes()[2] / (scale * default._sizes()[2]))
        return parts
