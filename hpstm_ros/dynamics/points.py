"""Completes bodies given by joint positions, some of them missing, for inverse dynamics."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.dynamics.offline import whole_frames
from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import FARTHEST_M, Motion
from pallas_ros.body.names import JOINT_INDEX, JOINTS
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.npz import array_names, load_npz
from pallas_ros.motion_files import Overrides, read
from pallas_ros.motion_files.landmarks import SIDES, Landmarks, place, unit
from pallas_ros.motion_files.posing import from_points

F64 = NDArray[np.float64]

_DEFAULT = Skeleton.from_height()
_NEEDED = tuple(f"{side}_{joint}" for side in SIDES for joint in ("hip", "knee", "ankle"))
_SEEN_SHARE = 0.5
"""A joint that is missing in a larger share of the frames is treated as absent."""
_NECK_ABOVE = 0.029
"""Of stature, from between the shoulder joints up to C7 (`Skeleton`.

0.042; measured on the trials of known forces: 0.028).
"""
_FLAT_PERCENTILE = 20.0


def read_body(path: str | Path, overrides: Overrides | None = None) -> tuple[Motion, str]:
    """Read a motion file of any known format as a complete body.

    A file of positions with the joint names of this package is assumed to be z up and in metres.

    Returns:
        The motion, and a description of what was detected.

    Raises:
        PallasError: the file cannot be read, or the legs are missing.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz" and not _overridden(overrides):
        names = array_names(path, "motion file")
        if {"joint_names", "positions", "fps"} <= set(names) and "rotations" not in names:
            arrays = load_npz(path, "motion file", ("joint_names", "positions", "fps", "valid"))
            labels = [str(name) for name in arrays["joint_names"].reshape(-1)]
            if set(_NEEDED) & set(labels):
                return _from_arrays(arrays, labels, path)
    file = read(path, overrides)
    return file.motion, file.found


def _overridden(overrides: Overrides | None) -> bool:
    return overrides is not None and bool(
        overrides.up or overrides.metres or overrides.joints or overrides.fps
    )


def _from_arrays(
    arrays: dict[str, NDArray[np.generic]], labels: list[str], path: Path
) -> tuple[Motion, str]:
    positions = arrays["positions"]
    fps = arrays["fps"]
    if positions.dtype.kind not in "fiu" or positions.shape[1:] != (len(labels), 3):
        raise PallasError(
            f"{path}: 'positions' has shape {positions.shape}, "
            f"expected numbers of shape (T, {len(labels)}, 3)"
        )
    if fps.size != 1 or fps.dtype.kind not in "fiu" or not 1 <= float(fps.reshape(())) <= 1000:
        raise PallasError(f"{path}: fps must be one number from 1 to 1000")
    points = np.full((len(positions), len(JOINTS), 3), np.nan)
    for joint in JOINTS:
        if joint in labels:
            points[:, JOINT_INDEX[joint]] = positions[:, labels.index(joint)]
    points[~(np.abs(points) <= FARTHEST_M)] = np.nan
    valid = arrays.get("valid")
    try:
        motion = whole_body(points, float(fps.reshape(())))
    except PallasError as error:
        raise PallasError(f"{path}: {error}") from None
    if valid is not None and valid.shape == (len(points),) and motion.valid is not None:
        motion.valid &= valid.astype(bool)
    missing = [joint for joint in JOINTS if np.isnan(points[:, JOINT_INDEX[joint]]).all()]
    found = (
        f"positions of {len(JOINTS) - len(missing)} joints, "
        f"{len(points)} frames at {motion.fps:g} Hz"
    )
    return motion, found + (f"; inferred: {', '.join(missing)}" if missing else "")


def whole_body(points: F64, fps: float) -> Motion:
    """Convert joints (T, 22, 3) m, NaN where missing, to a motion with orientations.

    Absent joints are placed anatomically.

    Raises:
        PallasError: the legs or the trunk cannot be placed.
    """
    if not len(points):
        raise PallasError("it contains no frames")
    seen = np.asarray(np.isfinite(points).all(axis=2))
    there: dict[str, Array] = {
        joint: _filled(points[:, i], seen[:, i])
        for i, joint in enumerate(JOINTS)
        if seen[:, i].mean() > _SEEN_SHARE
    }
    for joint in _NEEDED:
        if joint not in there:
            raise PallasError(
                f"{joint} is missing: without both legs the ground reaction is unknown"
            )
    given = np.array([joint in there for joint in JOINTS])
    _complete(there)
    body = place(there)
    q = from_points(body)[0]
    q = _feet_flat(body, q)
    body = _hands_and_collars(body, q)
    valid = np.asarray(seen[:, given].all(axis=1))
    return Motion(fps, np.asarray(body, np.float64), np.asarray(q, np.float64), valid=valid)


def stature(motion: Motion) -> float:
    """Height of a person in m, from the bone lengths.

    Raises:
        PallasError: no frame contains a complete body.
    """
    good = whole_frames(motion)
    if not good.any():
        raise PallasError("no frame contains a complete body")
    return float(Landmarks(motion.positions[good]).stature)


def _filled(path: F64, seen: NDArray[np.bool_]) -> F64:
    times = np.arange(len(path))
    return np.stack([np.interp(times, times[seen], path[seen, k]) for k in range(3)], axis=1)


def _complete(there: dict[str, Array]) -> None:
    """Place absent pelvis, shoulders, neck, arms and feet, using the joints that are present."""
    hips = (there["left_hip"] + there["right_hip"]) / 2
    across = unit(there["left_hip"] - there["right_hip"])
    leg = np.median(
        [
            np.linalg.norm(there[f"{side}_{a}"] - there[f"{side}_{b}"], axis=1)
            for side in SIDES
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ]
    )
    stature = float(leg / 0.2455)  # the mean of thigh and shank (`skeleton.SEGMENT_FRACTIONS`)
    base = there.get("spine1", there.get("pelvis", hips))
    if "left_shoulder" not in there or "right_shoulder" not in there:
        top = there.get("neck", there.get("head", there.get("spine3")))
        if top is None:
            raise PallasError(
                "shoulders, neck and head are all missing, so the position of the trunk is unknown"
            )
        for side, sign in (("left", 1.0), ("right", -1.0)):
            there.setdefault(f"{side}_shoulder", top + sign * 0.112 * stature * across)
    middle = (there["left_shoulder"] + there["right_shoulder"]) / 2
    up = unit(middle - base)
    there.setdefault("neck", middle + _NECK_ABOVE * stature * up)
    there.setdefault("head", there["neck"] + 0.05 * stature * up)
    there.setdefault("pelvis", hips + 0.045 * stature * up)
    for side in SIDES:
        there.setdefault(f"{side}_elbow", there[f"{side}_shoulder"] - 0.186 * stature * up)
        upper = unit(there[f"{side}_elbow"] - there[f"{side}_shoulder"])
        there.setdefault(f"{side}_wrist", there[f"{side}_elbow"] + 0.146 * stature * upper)


def _feet_flat(points: Array, q: Array) -> Array:
    """Orientations with level feet when the soles are flat on the ground, instead of pitched
    towards the toe joint.
    """
    out = q.copy()
    for side in SIDES:
        ankle = JOINT_INDEX[f"{side}_ankle"]
        foot = JOINT_INDEX[f"{side}_foot"]
        if np.isnan(points[:, foot]).any():
            continue
        bone = points[:, foot] - points[:, ankle]
        height = points[:, ankle, 2] + points[:, foot, 2]
        low = height <= np.percentile(height, _FLAT_PERCENTILE)
        drop = float(np.median(bone[low, 2]))
        length = float(np.median(np.linalg.norm(bone, axis=1)))
        own = np.arcsin(np.clip(-drop / max(length, 1e-6), -1, 1))
        offset = _DEFAULT.offsets[foot]
        assumed = np.arctan2(-offset[2], offset[0])
        turn = rotations.from_rotvec(np.array([0.0, assumed - own, 0.0]))
        out[:, ankle] = rotations.multiply(q[:, ankle], turn)
        out[:, foot] = out[:, ankle]
    return np.asarray(out)


def _hands_and_collars(points: Array, q: Array) -> Array:
    """Place missing collars and feet anatomically."""
    out = points.copy()
    scale = Landmarks(points).stature / _DEFAULT.height
    for side in SIDES:
        collar = JOINT_INDEX[f"{side}_collar"]
        shoulder = JOINT_INDEX[f"{side}_shoulder"]
        ankle = JOINT_INDEX[f"{side}_ankle"]
        foot = JOINT_INDEX[f"{side}_foot"]
        if np.isnan(out[:, collar]).any():
            bone = rotations.rotate(q[:, collar], scale * _DEFAULT.offsets[shoulder])
            out[:, collar] = out[:, shoulder] - bone
        if np.isnan(out[:, foot]).any():
            out[:, foot] = out[:, ankle] + rotations.rotate(
                q[:, ankle], scale * _DEFAULT.offsets[foot]
            )
    return out
