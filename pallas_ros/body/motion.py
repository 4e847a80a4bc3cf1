"""Motion files: a body over time, as a ``.npz`` without pickles."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINTS, MODEL_RATE_HZ
from pallas_ros.body.rotations import Array
from pallas_ros.files.npz import load_npz

F64 = NDArray[np.float64]

FARTHEST_M = 1e5
"""Larger positions are not plausible for a body, and overflow when squared in float32."""
MAX_FRAMES = 2_000_000
"""More than four hours at 120 Hz; a longer file is damaged or has to be cut."""


@dataclass(eq=False)
class Motion:
    """A body over time.

    Attributes:
        fps: frames per second.
        positions: (T, 22, 3) m, world, z up.
        rotations: (T, 22, 4) global orientations, xyzw.
        position_covariance: (T, 22, 3, 3) m^2, or None.
        valid: (T,) bool, or None if all frames are valid.
        extra: additional arrays stored with the motion (``stamp``, ``contacts``,
            ``confidence``...), first axis T.
    """

    fps: float
    positions: F64
    rotations: F64
    position_covariance: F64 | None = None
    valid: NDArray[np.bool_] | None = None
    extra: dict[str, NDArray[Any]] | None = None

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.positions)

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return max(len(self) - 1, 0) / self.fps


def save_npz(path: str | Path, arrays: dict[str, Any]) -> None:
    """Write arrays to ``path`` atomically: to a temporary file next to it, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, **arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save_motion(path: str | Path, motion: Motion) -> None:
    """Write a motion file (docs/guide/conventions.md)."""
    arrays: dict[str, Any] = {
        "fps": np.float64(motion.fps),
        "joint_names": np.array(JOINTS),
        "positions": motion.positions.astype(np.float32),
        "rotations": motion.rotations.astype(np.float32),
        "valid": np.ones(len(motion), dtype=bool) if motion.valid is None else motion.valid,
    }
    if motion.position_covariance is not None:
        arrays["position_covariance"] = motion.position_covariance.astype(np.float32)
    save_npz(path, {**(motion.extra or {}), **arrays})


def load_motion(path: str | Path) -> Motion:
    """Read a motion file; joints may be in any order, and joints beyond the 22 are ignored.

    Frames with NaN are returned unchanged with ``valid`` False, for the smoother to interpolate.

    Raises:
        PallasError: the file is not a motion file of this body.
    """
    arrays = load_npz(path, "motion file")
    for key in ("fps", "joint_names", "positions", "rotations"):
        if key not in arrays:
            raise PallasError(
                f"{path}: not a motion file, because it contains no '{key}'; it contains"
                f" {', '.join(sorted(arrays)) or 'nothing'}"
            )
    names = [str(name) for name in arrays["joint_names"].reshape(-1)]
    missing = [joint for joint in JOINTS if joint not in names]
    if missing:
        raise PallasError(
            f"{path}: joint '{missing[0]}' is missing ({len(missing)} of 22 are); convert it to the"
            " 22-joint body first"
        )
    fps = arrays["fps"]
    frames = arrays["positions"].shape[:1]
    joints = len(names)
    if fps.size != 1 or fps.dtype.kind not in "fiu" or not 1 <= float(fps.reshape(())) <= 1000:
        raise PallasError(f"{path}: fps must be one number from 1 to 1000")
    shapes = {"positions": (*frames, joints, 3), "rotations": (*frames, joints, 4)}
    optional = {"position_covariance": (*frames, joints, 3, 3), "valid": frames}
    shapes.update({key: shape for key, shape in optional.items() if key in arrays})
    for key, shape in shapes.items():
        if arrays[key].shape != shape or arrays[key].dtype.kind not in "fiub":
            raise PallasError(
                f"{path}: '{key}' has shape {arrays[key].shape} and type {arrays[key].dtype},"
                f" expected numbers of shape {shape}"
            )
    if not frames or frames[0] == 0:
        raise PallasError(f"{path}: it contains no frames")
    if frames[0] > MAX_FRAMES:
        raise PallasError(f"{path}: {frames[0]} frames, but at most {MAX_FRAMES} are read; cut it")
    order = [names.index(joint) for joint in JOINTS]
    positions = arrays["positions"][:, order].astype(np.float64)
    quaternions = arrays["rotations"][:, order].astype(np.float64)
    positions[~((positions >= -FARTHEST_M) & (positions <= FARTHEST_M))] = np.nan
    finite = np.isfinite(positions).all((1, 2)) & np.isfinite(quaternions).all((1, 2))
    covariance = arrays.get("position_covariance")
    return Motion(
        fps=float(fps.reshape(())),
        positions=positions,
        rotations=quaternions,
        position_covariance=None if covariance is None else covariance[:, order].astype(np.float64),
        valid=finite & arrays.get("valid", finite).astype(bool),
        extra=_extra(arrays, {*shapes, "fps", "joint_names", "valid"}, order, frames[0]),
    )


def _extra(
    arrays: dict[str, NDArray[Any]], known: set[str], order: list[int], frames: int
) -> dict[str, NDArray[Any]]:
    """Return the additional arrays of a file.

    Columns known to this package are kept only if they match the frames, in the order of `JOINTS`.
    """
    extra = {key: value for key, value in arrays.items() if key not in known}
    fits = {
        "stamp": (frames,),
        "contacts": (frames, 2),
        "confidence": (frames, len(arrays["joint_names"].reshape(-1))),
    }
    for key, shape in fits.items():
        if key in extra and (extra[key].shape != shape or extra[key].dtype.kind not in "fiub"):
            del extra[key]
    if "confidence" in extra:
        extra["confidence"] = extra["confidence"][:, order]
    return extra


def resample_path(
    q: Array, p: Array, fps: float, rate: float = MODEL_RATE_HZ
) -> tuple[Array, Array]:
    """Resample rotations (T, J, 4) by slerp and coordinates (T, D) linearly, from ``fps`` to
    ``rate``.
    """
    times = np.arange(int(np.floor((len(q) - 1) * rate / fps + 1e-6)) + 1) * (fps / rate)
    before = np.minimum(times.astype(int), max(len(q) - 2, 0))
    after = np.minimum(before + 1, len(q) - 1)
    part = (times - before).astype(q.dtype)
    return (
        rotations.slerp(q[before], q[after], np.broadcast_to(part[:, None], q[before].shape[:-1])),
        p[before] * (1 - part[:, None]) + p[after] * part[:, None],
    )


def resample(motion: Motion, rate: float) -> Motion:
    """Resample a motion to another frame rate.

    A frame between a valid and an invalid one is invalid. Covariance and extra arrays are dropped.
    """
    q, p = resample_path(
        motion.rotations, motion.positions.reshape(len(motion), -1), motion.fps, rate
    )
    valid = None
    if motion.valid is not None:
        times = np.arange(len(q)) * (motion.fps / rate)
        before = np.minimum(times.astype(int), len(motion) - 1)
        after = np.minimum(np.ceil(times - 1e-6).astype(int), len(motion) - 1)
        valid = motion.valid[before] & motion.valid[after]
    positions = np.asarray(p.reshape(len(q), -1, 3), dtype=np.float64)
    return Motion(rate, positions, np.asarray(q, dtype=np.float64), valid=valid)
