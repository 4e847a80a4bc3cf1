"""Points without orientations (C3D, TRC), with gaps, as a source without a hierarchy.

The points are joint centres or key points.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import Array
from pallas_ros.body.skeleton import SEGMENT_FRACTIONS
from pallas_ros.motion_files.joints import PELVIS, plain
from pallas_ros.motion_files.source import Source, check_frames

_SEEN_SHARE = 0.5
"""A point that is missing in a larger share of the frames is ignored."""
_HIP_DROP = SEGMENT_FRACTIONS["hip_drop"] / (
    SEGMENT_FRACTIONS["hip_drop"] + SEGMENT_FRACTIONS["trunk"]
)
"""Position of the pelvis on the way from mid-hip to neck."""
_DERIVED: Mapping[str, tuple[tuple[tuple[str, str], ...], ...]] = {
    "head": (
        (("left", "ear"), ("right", "ear")),
        (("left", "fhd"), ("right", "fhd"), ("left", "bhd"), ("right", "bhd")),
        (("", "nose"),),
        (("", "headtop"),),
    ),
    "neck": ((("left", "shoulder"), ("right", "shoulder")),),
}
"""Joint -> sets of points whose mean approximates it, best first."""


def source(
    kind: str,
    path: Path,
    names: list[str],
    points: NDArray[np.float64],
    fps: float,
    metres: float | None,
    up: str | None = None,
) -> Source:
    """Create a source from points (T, N, 3), NaN where missing.

    Gaps are interpolated linearly and marked invalid.

    Raises:
        PallasError: there is no frame, or every point is missing too often.
    """
    check_frames(path, len(points))
    seen = np.asarray(np.isfinite(points).all(axis=2))
    kept = np.flatnonzero(seen.mean(axis=0) > _SEEN_SHARE)
    if not len(kept):
        raise PallasError(
            f"{path}: none of its {len(names)} points is visible in half of the frames"
        )
    names = [names[i] for i in kept]
    points = points[:, kept].copy()
    seen = seen[:, kept]
    for index in range(len(names)):
        _bridge(points[:, index], seen[:, index])
    names, points = _with_derived(names, points)
    seen = np.concatenate((seen, np.ones((len(seen), len(names) - seen.shape[1]), bool)), axis=1)

    def pose(wanted: list[int]) -> tuple[Array, None]:
        return points[:, wanted], None

    return Source(
        kind=kind,
        names=names,
        parents=np.full(len(names), -1, dtype=np.intp),
        frames=len(points),
        fps=fps,
        pose=pose,
        rest=None,
        up=up,
        metres=metres,
        seen=seen,
        remarks=[] if seen.all() else [f"{int((~seen.all(axis=1)).sum())} frames have gaps"],
    )


def _bridge(path: Array, seen: NDArray[np.bool_]) -> None:
    """Fill a trajectory's gaps (T, 3) in place."""
    if seen.all():
        return
    times = np.arange(len(path))
    for axis in range(3):
        path[:, axis] = np.interp(times, times[seen], path[seen, axis])


def _with_derived(
    names: list[str], points: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.float64]]:
    """Add points derived from others: a head from ears, a neck between the shoulders, a pelvis
    above the hips.
    """
    labels = [plain(name) for name in names]
    columns = {label: points[:, index] for index, label in reversed(list(enumerate(labels)))}
    for joint, sets in _DERIVED.items():
        there = next((group for group in sets if all(label in columns for label in group)), None)
        if ("", joint) not in columns and there is not None:
            columns["", joint] = np.mean([columns[label] for label in there], axis=0)
            names, points = _append(names, points, joint, columns["", joint])
    hips = [columns.get((side, "hip")) for side in ("left", "right")]
    neck = columns.get(("", "neck"))
    has_pelvis = any(("", name) in columns for name in PELVIS)
    if not has_pelvis and all(hip is not None for hip in hips) and neck is not None:
        middle = np.mean([hip for hip in hips if hip is not None], axis=0)
        names, points = _append(names, points, "pelvis", middle + _HIP_DROP * (neck - middle))
    return names, points


def _append(
    names: list[str], points: NDArray[np.float64], name: str, path: Array
) -> tuple[list[str], NDArray[np.float64]]:
    return [*names, name], np.concatenate((points, path[:, None]), axis=1)
