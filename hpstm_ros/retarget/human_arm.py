"""One arm of a body relative to its shoulder, as input of retargeting."""

import math
from dataclasses import dataclass

import numpy as np
import pinocchio as pin
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame
from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

_NS = 1_000_000_000
_UPSIDE_DOWN = (
    0.1  # squared cosine of half the tilt, 143 degrees; noise can flip the heading beyond it
)
_HALF_S = 0.15  # half-life of the error of a held heading
_SAME_S = 1.0  # after a longer gap between bodies, the heading is initialised again

_MIRROR = np.diag([1.0, -1.0, 1.0])
# Axes of the hand in the joint frame (identity in the T-pose with palms down): x along the fingers,
# z out of the back of the hand.
_R_JOINT_HAND = {"left": np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])}
_R_JOINT_HAND["right"] = _R_JOINT_HAND["left"].T
_INDICES = {
    side: [JOINT_INDEX[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist")]
    for side in ("left", "right")
}
"""Joints of shoulder, elbow and wrist."""


@dataclass(slots=True)
class HumanArm:
    """An arm in the operator's frame: origin at the shoulder, x forward, y left, z up (heading
    removed).

    Attributes:
        hand: (3,) m, wrist from shoulder.
        elbow: (3,) unit, direction from shoulder to elbow.
        R_operator_hand: (3, 3) axes of the hand: x along the fingers, z out of the back of the
            hand.
        length: m, upper arm plus forearm.
        covariance: (3, 3) m^2 of `hand`, zero if the body has none.
        elbow_variance: m^2 of the elbow, mean over the axes.
        confidence: 0 to 1, minimum over the arm's joints.
    """

    hand: F64
    elbow: F64
    R_operator_hand: F64
    length: float
    covariance: F64
    elbow_variance: float
    confidence: float


class Facing:
    """The heading of an operator, continuous for every pitch: bowing beyond 90 degrees does not
    flip it.

    The heading is the rotation of the pelvis about the vertical after its tilt is removed by the
    shortest rotation. It is undefined for an upside-down pelvis; near that, the heading is held,
    and the resulting error is reduced to zero within a second.
    """

    def __init__(self) -> None:
        """Start without a heading."""
        self._last: tuple[int, float] | None = None
        self._held = 0.0

    def update(self, stamp: int, q_world_pelvis: rotations.Array) -> float:
        """The heading in rad for the pelvis's orientation (4,) xyzw at ``stamp`` ns."""
        turn = float(rotations.turn_about_z(q_world_pelvis))
        since = None if self._last is None else (stamp - self._last[0]) / _NS
        if since is None or not 0 <= since <= _SAME_S or self._last is None:
            self._held = 0.0
        elif float(q_world_pelvis[2:] @ q_world_pelvis[2:]) < _UPSIDE_DOWN:
            off = self._last[1] - turn
            self._held = (off + np.pi) % (2 * np.pi) - np.pi
        else:
            self._held *= 0.5 ** (since / _HALF_S)
        heading = turn + self._held
        self._last = stamp, heading
        return heading


def other(side: str) -> str:
    """The other side."""
    return "left" if side == "right" else "right"


def read_arm(
    body: BodyFrame,
    side: str,
    orientation_from: str = "wrist",
    mirrored: bool = False,
    facing: Facing | None = None,
) -> HumanArm | None:
    """The arm on one side of a body, or None if it must not be used (a joint is invalid or not
    finite).

    ``mirrored`` reflects it in the operator's sagittal plane. The orientation of the hand is that
    of the ``wrist`` or, if the hand is not measured, the ``forearm``. ``facing`` keeps the heading
    of previous bodies.
    """
    shoulder, elbow, wrist = _INDICES[side]
    used = [0, shoulder, elbow, wrist]
    points = body.positions[used]
    quaternions = body.rotations[used]
    hand_quaternion = quaternions[3 if orientation_from == "wrist" else 2]
    near = np.abs(points).max() <= 1e4  # False for NaN
    if not (near and body.valid[used].all() and np.isfinite(quaternions).all()):
        return None
    upper = points[2] - points[1]
    fore = points[3] - points[2]
    upper_length = math.sqrt(upper @ upper)
    length = upper_length + math.sqrt(fore @ fore)
    norm = math.sqrt(hand_quaternion @ hand_quaternion)
    if not (0.05 < upper_length < length < 2.0 and 0.5 < norm < 2.0):  # an implausible arm
        return None
    heading = (facing or Facing()).update(body.stamp, np.array(_unit(quaternions[0])))
    R_world_operator = _matrix(0.0, 0.0, float(np.sin(heading / 2)), float(np.cos(heading / 2)))
    R_operator_world = R_world_operator.T
    R_hand = R_operator_world @ _matrix(*_unit(hand_quaternion)) @ _R_JOINT_HAND[side]
    covariance = np.zeros((3, 3))
    elbow_variance = 0.0
    if body.covariance is not None and np.isfinite(body.covariance[used]).all():
        between = body.covariance[wrist] + body.covariance[shoulder]
        covariance = R_operator_world @ between @ R_world_operator
        elbow_variance = max(float(np.trace(body.covariance[elbow])) / 3, 0.0)
    hand = R_operator_world @ (upper + fore)
    direction = R_operator_world @ (upper / upper_length)
    if mirrored:
        hand = _MIRROR @ hand
        direction = _MIRROR @ direction
        covariance = _MIRROR @ covariance @ _MIRROR
        x = _MIRROR @ R_hand[:, 0]
        z = _MIRROR @ R_hand[:, 2]
        R_hand = np.column_stack((x, np.cross(z, x), z))
    confidence = body.confidence[used]
    least = float(np.min(confidence)) if np.isfinite(confidence).all() else 0.0
    return HumanArm(
        hand, direction, R_hand, length, covariance, elbow_variance, min(max(least, 0.0), 1.0)
    )


def _unit(quaternion: F64) -> tuple[float, float, float, float]:
    """A quaternion (4,) xyzw, normalised; the zero quaternion becomes the identity.

    The same numbers as `rotations.normalise`, whose overhead for a single quaternion is large.
    """
    x, y, z, w = quaternion.tolist()
    length = math.sqrt(x * x + y * y + z * z + w * w)
    if not length > 1e-12:
        return 0.0, 0.0, 0.0, 1.0
    return x / length, y / length, z / length, w / length


def _matrix(x: float, y: float, z: float, w: float) -> F64:
    """The rotation matrix (3, 3) of a unit quaternion."""
    return np.asarray(pin.Quaternion(w, x, y, z).matrix())
