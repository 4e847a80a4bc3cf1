"""Converts joint orientations of another skeleton to those of the canonical 22-joint body.

The frame of a source joint differs from that of the canonical bone by a constant, its
orientation in the T-pose: ``R_world_bone = R_world_joint · R_rest_jointᵀ``. `RestFrames`
contains these constants. If the direction of a source bone differs from the canonical one in
the T-pose (an arm that hangs by 8°), the constant includes the shortest rotation between the
two, so that limb directions are preserved exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter1d

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.motion import Motion
from pallas_ros.body.motion import resample_path as resample
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MODEL_RATE_HZ
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton

Y_UP_TO_Z_UP: NDArray[np.float64] = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Rotation from y up, facing +z, to z up, facing +x."""

LIMB_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("hip", "knee"),
        ("knee", "ankle"),
        ("ankle", "foot"),
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
    )
)
"""(joint, child) pairs whose direction must be preserved exactly."""


_FEET = [JOINT_INDEX[name] for name in ("left_ankle", "right_ankle", "left_foot", "right_foot")]


@dataclass(frozen=True)
class RestFrames:
    """Mapping from the joints of a source skeleton to those of the canonical body.

    Attributes:
        first, second: (22,) indices of the source joints between which a canonical joint lies;
            equal for a single source joint.
        share: (22,) position between ``first`` and ``second``, 0 to 1.
        q_first, q_second: (22, 4) xyzw, orientations of these joints in the T-pose, z up, facing
            +x.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: NDArray[np.float64]
    q_first: NDArray[np.float64]
    q_second: NDArray[np.float64]

    def to_body(self, q_world_joint: Array) -> Array:
        """Convert source orientations (T, J, 4), z up, to canonical global ones (T, 22, 4)."""
        dtype = q_world_joint.dtype
        first = rotations.multiply(
            q_world_joint[:, self.first], rotations.inverse(self.q_first).astype(dtype)
        )
        mixed = np.flatnonzero(self.share > 0)
        second = rotations.multiply(
            q_world_joint[:, self.second[mixed]],
            rotations.inverse(self.q_second[mixed]).astype(dtype),
        )
        first[:, mixed] = rotations.slerp(first[:, mixed], second, self.share[mixed].astype(dtype))
        return rotations.normalise(first)


def rest_frames(
    sources: dict[str, tuple[str, str, float]], names: list[str], q_rest: dict[str, Array]
) -> RestFrames:
    """Build `RestFrames` from canonical joint -> (source joint, source joint, share) and source
    joint -> rest orientation (4,).
    """
    rows = [sources[joint] for joint in JOINTS]
    return RestFrames(
        first=np.array([names.index(a) for a, _, _ in rows]),
        second=np.array([names.index(b) for _, b, _ in rows]),
        share=np.array([share for _, _, share in rows]),
        q_first=np.stack([q_rest[a] for a, _, _ in rows]),
        q_second=np.stack([q_rest[b] for _, b, _ in rows]),
    )


def align_to_tpose(
    q_tpose: dict[str, Array], bones: Mapping[str, tuple[str, Array]]
) -> dict[str, Array]:
    """Rotate T-pose orientations so that limb bones have the canonical directions.

    Args:
        q_tpose: source joint -> orientation (4,) in the T-pose of the source, z up, facing +x.
        bones: source joint -> (canonical joint of the segment, offset of the distal end of the
            segment in the frame of the source joint).
    """
    skeleton = Skeleton.from_height()
    child = {a: JOINT_INDEX[b] for a, b in LIMB_BONES}
    out = dict(q_tpose)
    for source, (joint, offset) in bones.items():
        is_now = rotations.rotate(q_tpose[source], offset)
        out[source] = rotations.multiply(
            rotations.between_vectors(is_now, skeleton.offsets[child[joint]]), q_tpose[source]
        )
    return out


def to_global(q_local: Array, parents: NDArray[np.integer]) -> Array:
    """Convert local rotations (T, J, 4) to global ones, for any hierarchy in which parents precede
    their children.
    """
    out = q_local.copy()
    for joint, parent in enumerate(parents):
        if parent >= 0:
            out[:, joint] = rotations.multiply(out[:, parent], q_local[:, joint])
    return out


def stand_on_ground(q_world_bone: Array, p_pelvis: Array, skeleton: Skeleton) -> Array:
    """Shift the pelvis path (T, 3) m vertically so that the lowest points of the feet (5th
    percentile) are at z = 0.
    """
    positions = forward_kinematics(skeleton, q_world_bone, p_pelvis)
    soles = skeleton.rest_positions[:, 2]
    lowest = np.min(positions[:, _FEET, 2] - soles[_FEET], axis=1)
    return p_pelvis - np.array([0.0, 0.0, np.percentile(lowest, 5)], dtype=p_pelvis.dtype)


def foot_contacts(
    positions: Array, fps: float, skeleton: Skeleton, *, level_floor: bool = True
) -> NDArray[np.bool_]:
    """Contacts (T, 2) bool of left and right foot: ankle or toe base is low and slow.

    A point is in contact if it is less than 6 cm above its height in the T-pose and slower than
    0.35 m/s horizontally. If the floor is not level (stairs, stools, platforms), the height is
    relative to the lowest sole within two seconds, and a point that is almost at rest, slower than
    0.12 m/s in all directions, is in contact at any height.
    """
    soles = skeleton.rest_positions[:, 2]
    floor = np.zeros(len(positions))
    if not level_floor:
        lowest = np.min(positions[:, _FEET, 2] - soles[_FEET], axis=1)
        floor = minimum_filter1d(lowest, max(1, round(4 * fps)), mode="nearest")
    out = np.zeros((len(positions), 2), dtype=bool)
    for side, name in enumerate(("left", "right")):
        for point in ("ankle", "foot"):
            joint = JOINT_INDEX[f"{name}_{point}"]
            p = positions[:, joint]
            velocity = np.gradient(p, axis=0) * fps if len(p) > 1 else np.zeros_like(p)
            speed = np.linalg.norm(velocity, axis=-1)
            out[:, side] |= (p[:, 2] - soles[joint] - floor < 0.06) & (speed < 0.35)
            if not level_floor:
                out[:, side] |= speed < 0.12
    return out


def body_motion(
    q_world_bone: Array,
    p_pelvis: Array,
    fps: float,
    leg_length: float,
    skeleton: Skeleton | None = None,
    *,
    smooth: Callable[[Array, Array], tuple[Array, Array]] | None = None,
    level_floor: bool = True,
) -> Motion:
    """Make a `Motion` at 60 Hz from canonical orientations (T, 22, 4) and the pelvis path (T,
    3) m of the source.

    Segment lengths are those of the skeleton; the path is scaled by the ratio of leg lengths, so
    that feet hardly slide. ``leg_length`` m is the length of thigh and shank of the source.
    ``smooth`` filters orientations and path at 60 Hz; with ``level_floor`` False, feet may be on
    stairs or platforms.
    """
    skeleton = skeleton or Skeleton.from_height()
    q, p = resample(q_world_bone, p_pelvis, fps)
    if smooth is not None:
        q, p = smooth(q, p)
    own = float(
        skeleton.lengths[JOINT_INDEX["left_knee"]] + skeleton.lengths[JOINT_INDEX["left_ankle"]]
    )
    p = stand_on_ground(q, p * (own / leg_length), skeleton)
    positions = forward_kinematics(skeleton, q, p)
    contacts = foot_contacts(positions, MODEL_RATE_HZ, skeleton, level_floor=level_floor)
    return Motion(
        MODEL_RATE_HZ,
        np.asarray(positions, np.float64),
        np.asarray(q, np.float64),
        extra={"contacts": contacts},
    )
