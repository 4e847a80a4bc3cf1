"""Joint orientations of the body from a source's orientations, its rest pose, or its points alone.

Whatever the source's conventions, bone directions follow the source's joint positions; orientations
only determine the twist about the bone.
"""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.motion_files.landmarks import SIDES, Landmarks, length, unit

F64 = NDArray[np.float64]
_DEFAULT = Skeleton.from_height()
_X, _Y, _Z = np.eye(3)
BONES: tuple[tuple[str, str], ...] = (
    *(("spine1", "spine2"), ("spine2", "spine3"), ("spine3", "neck"), ("neck", "head")),
    *(
        (f"{side}_{start}", f"{side}_{end}")
        for side in SIDES
        for start, end in (
            *(("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("collar", "shoulder")),
            *(("shoulder", "elbow"), ("elbow", "wrist")),
        )
    ),
)
"""(joint, end) of every bone whose direction follows from its joint's orientation."""
_FLEXED = (np.sin(np.radians(10.0)), np.sin(np.radians(30.0)))
"""Sines of knee or elbow flexion between which the weight of the hinge axis for the limb's twist
rises from 0 to 1.
"""
TWISTED_DEG = 50.0
"""If an arm's rest pose is rotated about the bone by more than this, according to its elbow axis,
its palms do not face down.
"""
SPREAD_DEG = 12.0
"""Legs of a rest pose spread farther than this (CMU's: 20) rotate the feet too; below it, the soles
are flat.
"""
_PITCH_DEG = 12.0
"""A pelvis that leans more than this under an upright trunk leans because of its joint
positions.
"""


def triad(first: Array, second: Array, first_at_rest: Array, second_at_rest: Array) -> Array:
    """Return quaternions (..., 4) that take ``first_at_rest`` (3,) to ``first`` (..., 3).

    They also take the plane it spans with ``second_at_rest`` to that of ``first`` and ``second``.
    """

    def basis(a: Array, b: Array) -> Array:
        x = unit(a)
        z = unit(np.cross(x, b))
        return np.stack((x, np.cross(z, x), z), axis=-1)

    return rotations.from_matrix(
        basis(first, second) @ basis(first_at_rest, second_at_rest).swapaxes(-1, -2)
    )


def swing_to(q: Array, bone: Array, bone_at_rest: Array) -> Array:
    """Rotate orientations (T, 4) by the shortest way so that the bone at rest (3,) points along
    ``bone`` (T, 3).
    """
    return rotations.multiply(rotations.between_vectors(rotations.rotate(q, bone_at_rest), bone), q)


def swing_bones(q: Array, points: Array) -> Array:
    """Rotate orientations (T, 22, 4) so that bones point along ``points`` (T, 22, 3).

    Bones without length or end cause no rotation.
    """
    out = q.copy()
    seen = Landmarks(points)
    least = 0.01 * seen.leg
    for joint, end in BONES:
        bone = seen.between(joint, end)
        there = length(bone) > least  # False for NaN
        index = JOINT_INDEX[joint]
        turned = swing_to(q[:, index], bone, _DEFAULT.offsets[JOINT_INDEX[end]])
        out[:, index] = np.where(there[:, None], turned, q[:, index])
    return out


def from_points(points: Array) -> tuple[Array, Array]:
    """Return orientations (T, 22, 4) of bodies given by joints (T, 22, 3) alone, and their twist
    confidence (T, 22), 0 to 1.

    Hips and shoulders determine the trunk; the axes of bent knees and elbows determine the limbs,
    which follow the trunk if they are straight. Hands, feet and head follow their parents.
    """
    seen = Landmarks(points)
    frames = len(points)
    q: dict[str, Array] = {}
    shown: dict[str, Array] = {joint: np.ones(frames) for joint in JOINTS}
    rise = seen.of("spine1") - seen.middle("hip")
    short = length(rise) < 0.05 * seen.leg
    rise = np.where(short[:, None], seen.trunk, rise)
    q["pelvis"] = triad(seen.left_hips, rise, _Y, _Z)
    hips = seen.left_hips
    shoulders = seen.left_shoulders
    for joint, end, part in (
        *(("spine1", "spine2", 0.25), ("spine2", "spine3", 0.5)),
        *(("spine3", "neck", 1.0), ("neck", "head", 1.0)),
    ):
        left = unit((1 - part) * hips + part * shoulders)
        q[joint] = triad(seen.between(joint, end), left, _Z, _Y)
    q["head"] = q["neck"]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        _leg(seen, side, q, shown)
        _arm(seen, side, sign, q, shown)
    return (
        np.stack([q[joint] for joint in JOINTS], axis=1),
        np.stack([shown[joint] for joint in JOINTS], axis=1),
    )


def _leg(seen: Landmarks, side: str, q: dict[str, Array], shown: dict[str, Array]) -> None:
    """Set the orientations (T, 4) and twist confidences (T,) of a leg's joints."""
    thigh, shank = (
        seen.between(f"{side}_{a}", f"{side}_{b}") for a, b in (("hip", "knee"), ("knee", "ankle"))
    )
    axis, share = _hinge(thigh, shank, seen.left_hips)
    q[f"{side}_hip"] = triad(-thigh, axis, _Z, _Y)
    q[f"{side}_knee"] = triad(-shank, axis, _Z, _Y)
    foot = seen.between(f"{side}_ankle", f"{side}_foot")
    sole = _DEFAULT.offsets[JOINT_INDEX[f"{side}_foot"]]
    there = np.isfinite(foot).all(axis=1, keepdims=True)
    q[f"{side}_ankle"] = np.where(
        there, triad(np.where(there, foot, _X), axis, sole, _Y), q[f"{side}_knee"]
    )
    q[f"{side}_foot"] = q[f"{side}_ankle"]
    for joint in ("hip", "knee"):
        shown[f"{side}_{joint}"] = share


def _arm(
    seen: Landmarks, side: str, sign: float, q: dict[str, Array], shown: dict[str, Array]
) -> None:
    """Set the orientations (T, 4) and twist confidences (T,) of an arm's joints.

    ``q`` has those of the trunk; ``sign`` is 1 on the left, -1 on the right.
    """
    collar = seen.between(f"{side}_collar", f"{side}_shoulder")
    there = np.isfinite(collar).all(axis=1, keepdims=True)
    at_rest = _DEFAULT.offsets[JOINT_INDEX[f"{side}_shoulder"]]
    q[f"{side}_collar"] = np.where(
        there, swing_to(q["spine3"], np.where(there, collar, _X), at_rest), q["spine3"]
    )
    upper, fore = (
        seen.between(f"{side}_{a}", f"{side}_{b}")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))
    )
    back = rotations.rotate(swing_to(q["spine3"], upper, sign * _Y), _Z)
    axis, share = _hinge(upper, fore, -sign * back)
    q[f"{side}_shoulder"] = triad(sign * upper, -sign * axis, _Y, _Z)
    q[f"{side}_elbow"] = triad(sign * fore, -sign * axis, _Y, _Z)
    q[f"{side}_wrist"] = q[f"{side}_elbow"]
    for joint in ("shoulder", "elbow"):
        shown[f"{side}_{joint}"] = share


def _hinge(upper: Array, lower: Array, straight: Array) -> tuple[Array, Array]:
    """Return a limb's flexion axis (T, 3), or ``straight``, and its flexion (T,), 0 to 1."""
    normal = np.cross(unit(upper), unit(lower))
    low, high = _FLEXED
    share = np.clip((length(normal) - low) / (high - low), 0.0, 1.0)
    along = unit(upper)
    straight = unit(straight - np.sum(straight * along, axis=1, keepdims=True) * along)
    return share[:, None] * unit(normal) + (1 - share[:, None]) * straight, share


def from_standing_rest(
    q_source: Array, owners: list[int], R_world_file: Array, R_body_rest: Array
) -> Array:
    """Return orientations (T, 22, 4), before swinging, of a source with a standing rest pose.

    Args:
        q_source: (T, k, 4) in the file's axes, the identity in the rest pose.
        owners: for each of the 22 joints, which of the k carries it.
        R_world_file, R_body_rest: of `Axes`.
    """
    world = rotations.from_matrix(R_world_file)
    rest = rotations.from_matrix(R_body_rest)
    turned = rotations.multiply(world, rotations.multiply(q_source, rotations.inverse(rest)))
    return rotations.normalise(turned[:, owners])


def from_motion(q_source: Array, owners: list[int], R_world_file: Array, points: Array) -> Array:
    """Return orientations (T, 22, 4), before swinging, of a source with an unusable rest pose.

    The frames of a source joint and of the body's differ by a constant, which is estimated from the
    motion: it is the mean difference from the orientations derived from the points (T, 22, 3), each
    frame weighted by its twist confidence. Hands, toes and head, which carry nothing, are aligned
    on average with their parents.
    """
    shown, weights = from_points(points)
    world = rotations.multiply(rotations.from_matrix(R_world_file), q_source)[:, owners]
    out = np.empty_like(shown)
    carriers = {"head": "neck"} | {
        f"{side}_{end}": f"{side}_{carrier}"
        for side in SIDES
        for end, carrier in (("wrist", "elbow"), ("foot", "ankle"))
    }
    for index, joint in enumerate(JOINTS):
        goal = shown[:, index]
        if joint in carriers:
            goal = out[:, JOINT_INDEX[carriers[joint]]]
        difference = rotations.multiply(rotations.inverse(world[:, index]), goal)
        constant = _mean(difference, weights[:, index] ** 2 + 1e-4)
        out[:, index] = rotations.multiply(world[:, index], constant)
        if joint == "pelvis":
            out[:, index] = _upright(out[:, index], points)
    return rotations.normalise(out)


def _mean(q: Array, weights: Array) -> Array:
    """Return the mean (4,) of quaternions (T, 4) (Markley et al. 2007)."""
    return np.asarray(np.linalg.eigh((q * weights[:, None]).T @ q)[1][:, -1])


def _upright(q_world_pelvis: Array, points: Array) -> Array:
    """Correct a pelvis (T, 4) by a constant pitch if it leans although the trunk is upright."""
    trunk = Landmarks(points).trunk
    own = rotations.rotate(rotations.inverse(q_world_pelvis), trunk)[trunk[:, 2] > 0.9]
    if len(own) < 5:
        return q_world_pelvis
    mean = own.mean(axis=0)
    pitch = float(np.arctan2(mean[0], mean[2]))
    if abs(np.degrees(pitch)) < _PITCH_DEG:
        return q_world_pelvis
    return rotations.multiply(q_world_pelvis, rotations.from_rotvec(pitch * _Y))


def _carry_swing(
    q: Array, points: Array, carrier: str, ends: tuple[str, ...], beyond_deg: float
) -> None:
    """Rotate the children of a bone by its mean swing, if that exceeds ``beyond_deg`` degrees."""
    index = JOINT_INDEX[carrier]
    end = dict(BONES)[carrier]
    swung = swing_to(
        q[:, index], Landmarks(points).between(carrier, end), _DEFAULT.offsets[JOINT_INDEX[end]]
    )
    swing = _mean(rotations.multiply(rotations.inverse(q[:, index]), swung), np.ones(len(q)))
    if rotations.angle_between(swing, rotations.IDENTITY) > np.radians(beyond_deg):
        for joint in ends:
            q[:, JOINT_INDEX[joint]] = rotations.multiply(q[:, JOINT_INDEX[joint]], swing)


def fit_to_rest(q: Array, points: Array) -> Array:
    """Align orientations (T, 22, 4) of `from_standing_rest` with the bones; correct the ends of
    limbs for rest poses other than the T-pose.

    In the rest pose a hand is aligned with its forearm, so it takes the forearm's swing; likewise a
    foot whose leg is spread far. Rest poses with the palms forward or down look the same; only the
    axis of the bent elbow distinguishes them.
    """
    q = q.copy()
    shown, weights = from_points(points)
    for side in SIDES:
        _carry_swing(q, points, f"{side}_elbow", (f"{side}_wrist",), 0.0)
        _carry_swing(q, points, f"{side}_knee", (f"{side}_ankle", f"{side}_foot"), SPREAD_DEG)
    out = swing_bones(q, points)
    for side in SIDES:
        shoulder, elbow, wrist = (
            JOINT_INDEX[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist")
        )
        bent = weights[:, shoulder] > 0.9
        if bent.sum() < 10:
            continue
        between = rotations.multiply(rotations.inverse(out[bent, shoulder]), shown[bent, shoulder])
        twist = np.exp(2j * np.arctan2(between[:, 1], between[:, 3])).mean()
        if abs(twist) > 0.85 and abs(np.angle(twist)) > np.radians(TWISTED_DEG):
            turn = rotations.from_rotvec(np.angle(twist) * _Y)
            for joint in (shoulder, elbow, wrist):
                out[:, joint] = rotations.multiply(out[:, joint], turn)
    return rotations.normalise(out)
