"""Convert a source's skeleton to the 22-joint body, with detection and validation.

Joint names, axes, unit and rest pose are detected.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.motion_files import posing
from pallas_ros.motion_files.axes import STATURE_M, Axes, check_sides, detect
from pallas_ros.motion_files.joints import SPINE_JOINTS, match_joints
from pallas_ros.motion_files.landmarks import SIDES, Landmarks, place, unit
from pallas_ros.motion_files.source import Source

_DEFAULT = Skeleton.from_height()
FPS = (1.0, 1000.0)
_PROPORTIONS = (0.5, 2.0)
"""Limits of limb lengths relative to a person of the same stature; children and stylised rigs are
within 0.6 to 1.6.
"""
_SIDES_RATIO = 1.35
"""Maximum ratio of a limb's length to that of the other side."""
_FASTEST_M_S = 15.0
"""Median pelvis speed above any runner's (12 m/s peak): the trajectory is in a different
unit from the skeleton.
"""
_OFF_FLOOR = 0.3
"""Relative to the leg length: if the feet are farther from height 0, the body is moved onto the
floor, since the file's heights have a different meaning.
"""
_OWN_DIRECTION_DEG = {"foot": 15.0, "shoulder": 15.0}
"""Maximum deviation of the bone directions from the default body for files of our own export, by
the bone's end; others have 0.5.
"""


@dataclass(frozen=True)
class Overrides:
    """User-supplied values that override detection.

    Attributes:
        up: of `axes.UPS`, or None.
        metres: length of the file's unit, or None.
        joints: canonical joint -> the file's name for it.
        fps: frames per second, or None.
    """

    up: str | None = None
    metres: float | None = None
    joints: Mapping[str, str] = field(default_factory=dict)
    fps: float | None = None


def to_motion(source: Source, path: Path, overrides: Overrides) -> tuple[Motion, str]:
    """Return the source as a motion at its own frame rate, and a description of what was detected.

    Joint positions are those of the source; missing joints (collars, feet, some of the spine) are
    placed as in the body.

    Raises:
        PallasError: a joint, the axes or the unit cannot be inferred, or the result is not a
            plausible body.
    """
    fps = overrides.fps or source.fps
    if not FPS[0] <= fps <= FPS[1]:
        raise PallasError(
            f"{path}: its header states {fps:g} frames per second, but only {FPS[0]:g} to"
            f" {FPS[1]:g} are plausible; give the rate with --fps"
        )
    matched = match_joints(source, path, overrides.joints)
    wanted = sorted(set(matched.values()))
    slots = {joint: wanted.index(index) for joint, index in matched.items()}
    p_file, q_file = source.pose(wanted)
    points = place({joint: p_file[:, slot] for joint, slot in slots.items()})
    rest = None
    if source.rest is not None:
        rest = place({joint: source.rest[None, i] for joint, i in matched.items()})[0]
    axes = detect(points, rest, source, path, overrides.up, overrides.metres)
    check_sides(Landmarks(points[:: max(len(points) // 400, 1)]), path)
    points = points @ axes.R_world_file.T * axes.metres
    q = _orientations(source, q_file, slots, axes, rest, points)
    points = _with_missing(points, q)
    _check(points, fps, axes, path, overrides)
    points = _on_floor(points, source)
    found = [
        f"{source.kind}, {source.frames} frames at {fps:g} Hz",
        f"{axes.up} up, facing {axes.forward}",
        f"unit {axes.unit}, legs {Landmarks(points).leg:.2f} m",
        *source.remarks,
    ]
    valid = None if source.seen is None else np.asarray(source.seen[:, wanted].all(axis=1))
    return Motion(fps, np.asarray(points), np.asarray(q), valid=valid), "; ".join(found)


def _orientations(
    source: Source,
    q_file: Array | None,
    slots: dict[str, int],
    axes: Axes,
    rest: Array | None,
    points: Array,
) -> Array:
    """Return orientations (T, 22, 4) whose bones are aligned with the points."""
    if q_file is None:
        return posing.from_points(points)[0]
    owners = _owners(slots)
    if axes.R_body_rest is None:
        q = posing.from_motion(q_file, owners, axes.R_world_file, points)
        return posing.swing_bones(q, points)
    q = posing.from_standing_rest(q_file, owners, axes.R_world_file, axes.R_body_rest)
    return q if _is_own(source, rest, axes) else posing.fit_to_rest(q, points)


def _owners(slots: dict[str, int]) -> list[int]:
    """Return, for each of the 22 joints, the slot of the source joint that carries its bone."""
    owners: dict[str, int] = {}
    for joint in JOINTS:
        if joint in slots:
            owners[joint] = slots[joint]
        else:  # parents precede their children
            owners[joint] = owners[JOINTS[PARENTS[JOINT_INDEX[joint]]]]
    first = next((joint for joint in SPINE_JOINTS if joint in slots), None)
    if first is not None:  # the lower end of the spine bends with the trunk, not with the pelvis
        for joint in SPINE_JOINTS[: SPINE_JOINTS.index(first)]:
            owners[joint] = slots[first]
    return [owners[joint] for joint in JOINTS]


def _is_own(source: Source, rest: Array | None, axes: Axes) -> bool:
    """Whether the source is a body of this package, whose orientations need no fitting.

    Its joints have this package's names and T-pose.
    """
    if rest is None or axes.R_body_rest is None or not set(JOINTS) <= set(source.names):
        return False
    at_rest = rest @ axes.R_body_rest.T
    for joint, parent in enumerate(PARENTS):
        if parent < 0 or not np.any(_DEFAULT.offsets[joint]):
            continue
        bone = unit(at_rest[joint] - at_rest[parent])
        allowed = _OWN_DIRECTION_DEG.get(JOINTS[joint].split("_")[-1], 0.5)
        if JOINTS[joint].endswith(("hip", "collar")):
            allowed = (
                30.0  # at branches to the sides: their direction depends on the person's widths
            )
        if bone @ unit(_DEFAULT.offsets[joint]) < np.cos(np.radians(allowed)):
            return False
    return True


def _with_missing(points: Array, q: Array) -> Array:
    """Add missing collars and feet, placed as in the body at the source's size."""
    out = points.copy()
    scale = Landmarks(points).stature / _DEFAULT.height
    for side in SIDES:
        collar, shoulder, ankle, foot = (
            JOINT_INDEX[f"{side}_{joint}"] for joint in ("collar", "shoulder", "ankle", "foot")
        )
        if np.isnan(out[0, collar, 0]):
            bone = rotations.rotate(q[:, collar], scale * _DEFAULT.offsets[shoulder])
            out[:, collar] = out[:, shoulder] - bone
        if np.isnan(out[0, foot, 0]):
            bone = rotations.rotate(q[:, ankle], scale * _DEFAULT.offsets[foot])
            out[:, foot] = out[:, ankle] + bone
    return out


def _on_floor(points: Array, source: Source) -> Array:
    """Move the body to stand on z = 0, unless the file's heights are already near there."""
    soles = _DEFAULT.rest_positions[:, 2]
    feet = [JOINT_INDEX[f"{side}_{joint}"] for side in SIDES for joint in ("ankle", "foot")]
    lowest = np.min(points[:, feet, 2] - soles[feet], axis=1)
    off = float(np.percentile(lowest, 5))
    if source.grounded and abs(off) < _OFF_FLOOR * Landmarks(points).leg:
        return points
    return np.asarray(points - np.array([0.0, 0.0, off]))


def _check(points: Array, fps: float, axes: Axes, path: Path, overrides: Overrides) -> None:
    """Reject a result that is not a person's motion.

    Raises:
        PallasError: it is upside down, always lies, is too large or small, has limbs of wrong
            proportions, or is too fast.
    """
    found = f"with {axes.up} up and the unit {axes.unit}"
    other_up = "give another --up, or omit it" if overrides.up else "give the file's up with --up"
    seen = Landmarks(points)
    stature = seen.stature
    if not STATURE_M[0] <= stature <= STATURE_M[1]:
        raise PallasError(
            f"{path}: {found} this body is {stature:.2f} m tall; give the unit with --unit"
        )
    _check_proportions(seen, path)
    upright = seen.trunk[:, 2]
    if np.mean(upright < -0.5) > 0.5 and np.mean(upright > 0.5) < 0.05:
        raise PallasError(f"{path}: {found} this body is upside down throughout; {other_up}")
    if np.max(upright) < 0.5 and not axes.lying_is_meant:
        raise PallasError(
            f"{path}: {found} this body lies throughout, which nothing else in the file indicates;"
            f" {other_up}"
        )
    if len(points) > 1:
        speed = np.linalg.norm(np.diff(points[:, 0], axis=0), axis=1) * fps
        if np.median(speed) > _FASTEST_M_S:
            raise PallasError(
                f"{path}: {found} at {fps:g} frames a second the pelvis moves at"
                f" {np.median(speed):.0f} m/s; its path is in another unit than its skeleton, or"
                " the rate is wrong (--fps)"
            )


def _check_proportions(seen: Landmarks, path: Path) -> None:
    low, high = _PROPORTIONS
    parts = seen.proportions()
    for name, ratio in parts.items():
        if not low <= ratio <= high:
            raise PallasError(
                f"{path}: the {name} is {ratio:.2f} times as long as a person's of the same"
                " height, so its joints are probably misidentified; name them with --map FILE"
            )
    for name, ratio in parts.items():
        other = parts.get(name.replace("left", "right"), ratio)
        if not 1 / _SIDES_RATIO < ratio / other < _SIDES_RATIO:
            raise PallasError(
                f"{path}: the {name} is {ratio / other:.2f} times as long as the right one, so one"
                " of its joints is misidentified; name them with --map FILE"
            )
