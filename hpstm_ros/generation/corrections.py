"""Corrections of generated motion, applied to the output of every network.

They enforce joint ranges, keep feet in place while they touch the floor, prevent penetration of
the floor, move hands to their targets, and smooth the paths. All of them act on orientations and
the root path, so bones keep their lengths.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.representation import CONTACTS, FPS
from hpstm_ros.generation.request import SIDES, HandTarget
from pallas_ros.body import rotations
from pallas_ros.body.kinematics import forward_kinematics, to_global, to_local
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.resources import resource
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.yaml_text import load_mapping

F64 = NDArray[np.float64]

SMOOTHING_FRAMES = 3.0
"""Frames, standard deviation of the filter over time: brings the jerk of samples to about that of
real motion (`pallas eval hpstm_gen`)."""
_CORNERS_FRAMES = 2.0
"""Frames, of the same filter after the corrections, which leave corners."""
_BLEND_FRAMES = 5
"""Frames over which a foot is blended into and out of its standing position."""
_SHORTEST_CONTACT = 4
_HAND_S = 0.35
"""s, standard deviation of the pull of a hand's target over time."""
LIFT_M = 0.03
"""m, height by which a hand target may lift the lower foot: on tiptoe."""
_ROUNDS = 3
"""Passes over hands, feet and ranges in sequence; each slightly disturbs the others."""
_RANGE_MARGIN = 1e-4
"""rad, margin to the ends of the ranges, so that float32 files stay inside."""
_LEG = ("hip", "knee", "ankle", "foot")
_ARM = ("shoulder", "elbow", "wrist")
_HIPS = (JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"])


@cache
def joint_ranges() -> tuple[F64, F64]:
    """Minimum and maximum (22, 3) rad of rotation vectors from the parent; any for the pelvis."""
    document = load_mapping(resource("config/joint_ranges.yaml"), "ranges of joints")
    low = np.full((len(JOINTS), 3), -np.inf)
    high = np.full((len(JOINTS), 3), np.inf)
    for name, bounds in document.items():
        least, most = np.array(bounds, dtype=np.float64)
        if name in JOINT_INDEX:
            low[JOINT_INDEX[name]] = least
            high[JOINT_INDEX[name]] = most
            continue
        low[JOINT_INDEX[f"left_{name}"]] = least
        high[JOINT_INDEX[f"left_{name}"]] = most
        # seen in a mirror across y, turns about x and z change sign
        other = np.stack((least, most)) * [-1.0, 1.0, -1.0]
        low[JOINT_INDEX[f"right_{name}"]] = other.min(0)
        high[JOINT_INDEX[f"right_{name}"]] = other.max(0)
    return low, high


def range_violations(q_world_joint: F64, tolerance: float = 1e-3) -> NDArray[np.bool_]:
    """Return (..., 22) whether a joint is outside its range."""
    low, high = joint_ranges()
    turn = rotations.to_rotvec(to_local(q_world_joint))
    return np.asarray(((turn < low - tolerance) | (turn > high + tolerance)).any(-1))


def within_ranges(q_world_joint: F64) -> F64:
    """Return orientations (..., 22, 4) with every joint clamped to its range."""
    low, high = joint_ranges()
    local = to_local(q_world_joint)
    turn = rotations.to_rotvec(local)
    inside = np.clip(turn, low + _RANGE_MARGIN, high - _RANGE_MARGIN)
    local[..., 1:, :] = rotations.from_rotvec(inside[..., 1:, :])
    return np.asarray(to_global(local))


def correct(
    features: NDArray[np.float32],
    hands: Sequence[HandTarget] = (),
    smoothing: float = SMOOTHING_FRAMES,
) -> NDArray[np.float32]:
    """Return the corrected features (T, 137); ``hands`` are in the same frame."""
    q, root, contacts = rep.decode(smoothed(features, smoothing))
    standing = _long_enough(contacts > 0.5)
    most = np.maximum(hover(within_ranges(q), root), 0.0) + LIFT_M
    for _ in range(_ROUNDS):
        q, root = _corrected(q, root, standing, hands, most)
    once = rep.encode(q, root, standing.astype(np.float64), rep.Place())
    q, root, _ = rep.decode(smoothed(once, _CORNERS_FRAMES))
    q, root = _corrected(q, root, standing, hands, most)
    q = within_ranges(q)
    for target in hands:
        root = root_pulled(q, root, target)
    if hands:
        root = lowered(q, root, most)
        q = within_ranges(legs_bent(q, root))
    root = above_floor(q, root)
    return rep.encode(q, root, standing.astype(np.float64), rep.Place())


def _corrected(
    q: F64, root: F64, standing: NDArray[np.bool_], hands: Sequence[HandTarget], most: F64
) -> tuple[F64, F64]:
    q = within_ranges(q)
    root = above_floor(q, root)
    q, root = feet_planted(q, root, standing)
    for target in hands:
        q, root = hand_pulled(q, root, target, most)
    return q, root


def smoothed(features: NDArray[np.float32], frames: float) -> NDArray[np.float32]:
    """Return the features (T, 137) filtered over time, except the contacts."""
    if frames <= 0 or len(features) < 3:
        return features
    out = np.array(features)
    moving = np.r_[0 : CONTACTS.start]
    out[:, moving] = gaussian_filter1d(features[:, moving], frames, axis=0, mode="nearest")
    return out


def _long_enough(standing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the contacts (T, 2) without those that last only a few frames."""
    out = standing.copy()
    for side in range(2):
        for start, stop in _runs(standing[:, side]):
            if stop - start < _SHORTEST_CONTACT:
                out[start:stop, side] = False
    return out


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def floor_heights() -> tuple[list[int], F64]:
    """Return the joints on the floor, and their minimum heights (4,) m on level ground.

    The joints are toe base and ankle, left then right.
    """
    joints = [JOINT_INDEX[f"{side}_{n}"] for side in SIDES for n in ("foot", "ankle")]
    return joints, Skeleton.from_height().rest_positions[joints, 2] - 0.02


def above_floor(q: F64, root: F64) -> F64:
    """Return the root path (T, 3), raised where a foot sinks into the floor."""
    joints, least = floor_heights()
    p = forward_kinematics(Skeleton.from_height(), q, root)
    sunk = np.maximum(least + 0.015 - p[:, joints, 2], 0.0).max(axis=1)
    if not sunk.any():
        return root
    lift = gaussian_filter1d(maximum_filter1d(sunk, 9, mode="nearest"), 2.0, mode="nearest")
    raised = root.copy()
    raised[:, 2] += np.maximum(lift, sunk)
    return raised


def hover(q: F64, root: F64) -> F64:
    """Height (T,) m of the lower foot above that of a foot on the floor."""
    joints, least = floor_heights()
    p = forward_kinematics(Skeleton.from_height(), q, root)
    return np.asarray((p[:, joints, 2] - least).min(axis=1), dtype=np.float64)


def lowered(q: F64, root: F64, most: F64) -> F64:
    """Return the root path (T, 3), lowered where the lower foot is more than ``most`` (T,) m above
    the floor.
    """
    out = root.copy()
    out[:, 2] -= np.maximum(hover(q, root) - most, 0.0)
    return out


def legs_bent(q: F64, root: F64) -> F64:
    """Bend the legs where a foot would sink into the floor.

    Args:
        q: (T, 22, 4) global orientations xyzw.
        root: (T, 3) m, position of the pelvis.

    Returns:
        Orientations (T, 22, 4).
    """
    _, least = floor_heights()
    for side in SIDES:
        joints = [JOINT_INDEX[f"{side}_{n}"] for n in _LEG]
        p = forward_kinematics(Skeleton.from_height(), q, root)
        low = np.maximum(least[0] - p[:, joints[3], 2], least[1] - p[:, joints[2], 2])
        sunk = np.maximum(low + 0.02, 0.0)
        if sunk.any():
            goal = p[:, joints[2]] + sunk[:, None] * [0.0, 0.0, 1.0]
            q = two_bones(q, np.asarray(p), joints[:3], goal, keep_end=True)
    return q


def feet_planted(q: F64, root: F64, standing: NDArray[np.bool_]) -> tuple[F64, F64]:
    """Hold standing feet in place by bending the legs; move the root where a leg is too short.

    Args:
        q: (T, 22, 4) global orientations xyzw.
        root: (T, 3) m, position of the pelvis.
        standing: (T, 2) whether the left and the right foot stand.

    Returns:
        Orientations (T, 22, 4) and root (T, 3) m.
    """
    for side, name in enumerate(SIDES):
        joints = [JOINT_INDEX[f"{name}_{n}"] for n in _LEG]
        placed = forward_kinematics(Skeleton.from_height(), q, root)
        p = np.asarray(placed, dtype=np.float64)
        toe = p[:, joints[3]]
        shift = planted_shift(toe, standing[:, side])
        if not np.abs(shift).any():
            continue
        ankle = p[:, joints[2]] + shift
        q = two_bones(q, p, joints[:3], ankle, keep_end=True)
    return q, root


def planted_shift(toe: F64, standing: NDArray[np.bool_]) -> F64:
    """Return the displacement (T, 3) that keeps a standing toe in place, fading in and out."""
    shift = np.zeros_like(toe)
    weight = np.zeros(len(toe))
    for start, stop in _runs(standing):
        middle = np.median(toe[start:stop], axis=0)
        own = middle - toe
        own[:start] = own[start]
        own[stop:] = own[stop - 1]
        away = np.maximum(start - np.arange(len(toe)), np.arange(len(toe)) - (stop - 1))
        near = np.clip(1 - away / (_BLEND_FRAMES + 1), 0, 1)
        near = near * near * (3 - 2 * near)
        near[standing & ((np.arange(len(toe)) < start) | (np.arange(len(toe)) >= stop))] = 0
        shift += near[:, None] * own
        weight += near
    return np.asarray(shift / np.maximum(weight, 1.0)[:, None])


def two_bones(q: F64, p: F64, joints: Sequence[int], goal: F64, *, keep_end: bool) -> F64:
    """Return orientations with the end of a two-bone limb at ``goal``, or as near as it reaches.

    Args:
        q: (T, 22, 4) global orientations.
        p: (T, 22, 3) positions that go with them.
        joints: upper, middle and end joint; the middle one bends about the axis it is bent about.
        goal: (T, 3) of the end joint.
        keep_end: keep the orientation of the end joint; else it turns with the limb.

    `pallas_ros.runtime.stance` has a version for one live frame of matrices, which takes 0.07 ms;
    this one, batched over frames, takes 0.19 ms per frame there.
    """
    upper, middle, end = joints
    lengths = Skeleton.from_height().lengths
    first = lengths[middle]
    second = lengths[end]
    a = p[:, middle] - p[:, upper]
    b = p[:, end] - p[:, middle]
    reach = np.linalg.norm(goal - p[:, upper], axis=-1)
    reach = np.clip(reach, abs(first - second) + 0.02, 0.9995 * (first + second))
    # the bend at the middle joint that gives this reach
    cosine = (reach**2 - first**2 - second**2) / (2 * first * second)
    wanted = np.arccos(np.clip(cosine, -1, 1))
    hinge = rotations.rotate(q[:, upper], np.broadcast_to(_hinge(upper), a.shape))
    axis = np.cross(a, b)
    angle = np.arctan2(np.linalg.norm(axis, axis=-1), np.sum(a * b, axis=-1))
    if upper in _HIPS:  # knees bend one way; elbows' orientations hold the forearm's turn as well
        sign = np.where(np.sum(axis * hinge, axis=-1) < 0, -1.0, 1.0)
        axis = axis * sign[:, None]
        angle = angle * sign
    # the nearer to straight, the less the bones determine the axis
    axis = axis + 0.02 * first * second * hinge
    axis = axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
    bend = rotations.from_rotvec(axis * (wanted - angle)[:, None])
    out = q.copy()
    b = np.asarray(rotations.rotate(bend, b), dtype=np.float64)
    swing = rotations.between_vectors(a + b, goal - p[:, upper])
    out[:, upper] = rotations.multiply(swing, q[:, upper])
    out[:, middle] = rotations.multiply(swing, rotations.multiply(bend, q[:, middle]))
    turn = rotations.multiply(swing, bend)
    for joint in _after(end):
        if not keep_end:
            out[:, joint] = rotations.multiply(turn, q[:, joint])
    return np.asarray(rotations.normalise(out))


def _hinge(upper: int) -> F64:
    """Axis that a limb bends about, in the frame of its upper joint."""
    if upper in _HIPS:
        return np.array([0.0, 1.0, 0.0])
    return np.array([0.0, 0.0, -1.0 if JOINTS[upper].startswith("left") else 1.0])


def _after(joint: int) -> list[int]:
    """Return a joint and all its descendants."""
    return [j for j in range(len(JOINTS)) if j == joint or PARENTS[j] == joint]


def hand_pulled(q: F64, root: F64, target: HandTarget, most: F64) -> tuple[F64, F64]:
    """Bring a wrist to its target: by the arm and, if that is too short, by moving the body.

    Args:
        q: (T, 22, 4) global orientations xyzw.
        root: (T, 3) m, position of the pelvis.
        target: of the wrist.
        most: (T,) m, largest height of the lower foot above the floor.

    Returns:
        Orientations (T, 22, 4) and root (T, 3) m.
    """
    frame = min(round(target.time * FPS), len(q) - 1)
    joints = [JOINT_INDEX[f"{target.side}_{n}"] for n in _ARM]
    skeleton = Skeleton.from_height()
    near = np.exp(-0.5 * ((np.arange(len(q)) - frame) / (_HAND_S * FPS)) ** 2)
    p = forward_kinematics(skeleton, q, root)
    shoulder = p[frame, joints[0]]
    away = np.array(target.point) - shoulder
    short = np.linalg.norm(away) - 0.98 * skeleton.lengths[joints[1:]].sum()
    if short > 0:
        root = root + near[:, None] * short * away / np.linalg.norm(away)
        root = lowered(q, root, most)
        p = forward_kinematics(skeleton, q, root)
    offset = np.array(target.point) - p[frame, joints[2]]
    goal = p[:, joints[2]] + near[:, None] * offset
    return two_bones(q, np.asarray(p), joints, goal, keep_end=False), root


def root_pulled(q: F64, root: F64, target: HandTarget) -> F64:
    """Move the root (T, 3) m by the remaining distance of a wrist to its target; feet may slide.

    Args:
        q: (T, 22, 4) global orientations xyzw.
        root: (T, 3) m, position of the pelvis.
        target: of the wrist.
    """
    frame = min(round(target.time * FPS), len(q) - 1)
    near = np.exp(-0.5 * ((np.arange(len(q)) - frame) / (_HAND_S * FPS)) ** 2)
    p = forward_kinematics(Skeleton.from_height(), q, root)
    missed = np.array(target.point) - p[frame, JOINT_INDEX[f"{target.side}_wrist"]]
    return np.asarray(root + near[:, None] * missed)


def hand_error(features: NDArray[np.float32], target: HandTarget) -> float:
    """Distance in m between a wrist and its target at the target's time.

    ``features`` (T, size) as in `hpstm_ros.generation.representation`.
    """
    frame = min(round(target.time * FPS), len(features) - 1)
    wrist = rep.positions(features[frame])[JOINT_INDEX[f"{target.side}_wrist"]]
    return float(np.linalg.norm(wrist - np.array(target.point)))
