"""Joint orientations consistent with joint positions: the swing of every bone comes from the
positions, its twist from a guess.
"""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

_CHILDREN = {
    joint: [c for c in range(len(JOINTS)) if PARENTS[c] == joint] for joint in range(len(JOINTS))
}
_PELVIS = JOINT_INDEX["pelvis"]
_CHEST = JOINT_INDEX["spine3"]


def rotations_from_positions(positions: F64, skeleton: Skeleton, guess: F64 | None = None) -> F64:
    """Global orientations (22, 4) xyzw whose bones have the directions of positions (22, 3).

    Pelvis and chest, with three bones each, are fitted to all of them (Kabsch 1976). Every other
    joint is aligned with its bone by the shortest rotation from ``guess`` (22, 4), or from its
    parent's orientation without a guess. A joint without a bone keeps its guess, or its parent's
    orientation. Bones with NaN at an end are ignored.
    """
    out = np.tile(rotations.IDENTITY, (len(JOINTS), 1)) if guess is None else guess.copy()
    for joint in range(len(JOINTS)):
        if guess is None and joint:
            out[joint] = out[PARENTS[joint]]
        seen = [c for c in _CHILDREN[joint] if np.isfinite(positions[[c, joint]]).all()]
        if not seen:
            continue
        rest = skeleton.offsets[seen]
        bones = positions[seen] - positions[joint]
        if joint in (_PELVIS, _CHEST) and len(seen) > 1:
            out[joint] = _fit(rest, bones)
        elif np.linalg.norm(bones[0]) > 1e-6:
            out[joint] = rotations.multiply(
                rotations.between_vectors(rotations.rotate(out[joint], rest[0]), bones[0]),
                out[joint],
            )
    return out


def _fit(rest: F64, bones: F64) -> F64:
    """The quaternion (4,) that best rotates vectors rest (n, 3) to bones (n, 3), weighted by
    length.
    """
    u, _, vt = np.linalg.svd(bones.T @ rest)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    return np.asarray(rotations.from_matrix(u @ sign @ vt))


def on_manifold(positions: F64, skeleton: Skeleton, guess: F64 | None = None) -> tuple[F64, F64]:
    """Positions (22, 3) nearest to the given ones with the bone lengths of a skeleton, and
    consistent orientations (22, 4).

    The pelvis must be finite.
    """
    q_world_joint = rotations_from_positions(positions, skeleton, guess)
    placed = forward_kinematics(skeleton, q_world_joint, positions[_PELVIS])
    return np.asarray(placed + np.nanmean(positions - placed, axis=0)), q_world_joint


def with_lengths(lengths: F64) -> Skeleton:
    """A skeleton with bone lengths (22,) m and the bone directions of the default body's T-pose."""
    default = Skeleton.from_height()
    offsets = default.offsets * (lengths / np.maximum(default.lengths, 1e-9))[:, None]
    shank = float(lengths[JOINT_INDEX["left_ankle"]] / default.lengths[JOINT_INDEX["left_ankle"]])
    forearm = float(lengths[JOINT_INDEX["left_wrist"]] / default.lengths[JOINT_INDEX["left_wrist"]])
    return Skeleton(
        offsets, hand=default.hand * forearm, head=default.head * shank, sole=default.sole * shank
    )
