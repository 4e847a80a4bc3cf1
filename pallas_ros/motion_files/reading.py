"""Read a motion file of any known format, recognised by its name or first bytes."""

import importlib
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import Motion, load_motion, resample
from pallas_ros.body.names import MODEL_RATE_HZ
from pallas_ros.files.npz import array_names, load_npz
from pallas_ros.files.opening import open_regular
from pallas_ros.motion_files import points, smpl
from pallas_ros.motion_files.body import Overrides, to_motion
from pallas_ros.motion_files.landmarks import Landmarks
from pallas_ros.motion_files.source import Source

GROUP = "pallas.motion_files"
_LARGEST = 4 << 30
_HEAD_BYTES = 1024
LEGS_M = (0.25, 2.0)
"""Range of human thigh and shank lengths, including measurement noise."""


class Format(Protocol):
    """Interface of a module in the group ``pallas.motion_files``."""

    KIND: str
    SUFFIXES: tuple[str, ...]

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with ``head`` is of this format."""
        ...

    def read(self, path: Path) -> Source:
        """Read a file; raise `PallasError` if it is not of this format."""
        ...


@dataclass(frozen=True)
class MotionFile:
    """Result of reading a file.

    Attributes:
        motion: at the file's frame rate.
        found: description of the file and of what was detected.
        foreign: whether it is from another tool.
    """

    motion: Motion
    found: str
    foreign: bool = True


def formats() -> dict[str, Format]:
    """Return the installed formats, besides ``.npz``, by name."""
    return {
        entry.name: cast(Format, importlib.import_module(entry.value))
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    }


def suffixes() -> tuple[str, ...]:
    """Return the file name extensions of motion files, in lower case."""
    return (".npz", *(suffix for known in formats().values() for suffix in known.SUFFIXES))


def read_motion(path: str | Path, overrides: Overrides | None = None) -> Motion:
    """Return the motion of a file of any known format; see `read`."""
    return read(path, overrides).motion


def read_for_streaming(path: str | Path, overrides: Overrides | None = None) -> MotionFile:
    """Read a motion to be played as if live; see `read`.

    Other tools' files slower than 60 Hz are interpolated to it.
    """
    file = read(path, overrides)
    if file.motion.fps < MODEL_RATE_HZ and file.foreign:
        return replace(file, motion=resample(file.motion, MODEL_RATE_HZ))
    return file


def read(path: str | Path, overrides: Overrides | None = None) -> MotionFile:
    """Read a motion file of any known format.

    Args:
        path: of the file.
        overrides: values that replace detection.

    Raises:
        PallasError: the format is unknown, or it is not a plausible motion of a body.
    """
    path = Path(path)
    overrides = overrides or Overrides()
    with open_regular(path, "motion file", _LARGEST) as file:
        head = file.read(_HEAD_BYTES)
    if head[:2] == b"PK" or path.suffix.lower() == ".npz":
        return _read_npz(path, overrides)
    known = formats().values()
    chosen = next((each for each in known if each.sniff(head)), None) or next(
        (each for each in known if path.suffix.lower() in each.SUFFIXES), None
    )
    if chosen is None:
        kinds = ", ".join(f"{each.KIND} ({', '.join(each.SUFFIXES)})" for each in known)
        raise PallasError(
            f"{path}: not a motion file of a known format, which are pallas and {smpl.KIND}s"
            f" (.npz), {kinds}"
        )
    return MotionFile(*to_motion(chosen.read(path), path, overrides))


def _read_npz(path: Path, overrides: Overrides) -> MotionFile:
    names = array_names(path, "motion file")
    if "joint_names" in names and "positions" in names:
        points_alone = "rotations" not in names or overrides.up or overrides.metres
        if points_alone or overrides.joints:
            return MotionFile(*to_motion(_points(path), path, overrides))
        motion = load_motion(path)
        _check_size(path, motion)
        if overrides.fps:
            motion = replace(motion, fps=overrides.fps)
        return MotionFile(motion, f"motion file, {len(motion)} frames at {motion.fps:g} Hz", False)
    if smpl.is_smpl(names):
        return MotionFile(*to_motion(smpl.read(path), path, overrides))
    if "linear_acceleration" in names:
        raise PallasError(
            f"{path}: an IMU recording, not a motion file; convert it with `pallas process`"
        )
    raise PallasError(
        f"{path}: neither a motion file ('joint_names', 'positions', 'rotations', 'fps') nor an"
        f" {smpl.KIND} ('poses', 'trans', 'mocap_framerate'); it contains"
        f" {', '.join(names) or 'nothing'}"
    )


def _points(path: Path) -> Source:
    """Return only the positions of a motion file, whatever its axes and unit."""
    arrays = load_npz(path, "motion file", ("joint_names", "positions", "fps"))
    names = [str(name) for name in arrays["joint_names"].reshape(-1)]
    positions = arrays["positions"]
    fps = arrays.get("fps", np.zeros(1))
    if positions.dtype.kind not in "fiu" or positions.shape[1:] != (len(names), 3):
        raise PallasError(
            f"{path}: 'positions' has shape {positions.shape} and type {positions.dtype}, expected"
            f" numbers of shape (T, {len(names)}, 3)"
        )
    rate = float(fps.reshape(-1)[0]) if fps.size and fps.dtype.kind in "fiu" else 0.0
    return points.source("motion file", path, names, positions.astype(np.float64), rate, None)


def _check_size(path: Path, motion: Motion) -> None:
    """Reject one of this package's files with a unit other than metres."""
    seen = motion.positions[np.isfinite(motion.positions).all((1, 2))]
    if not len(seen):
        return
    leg = Landmarks(seen[:: max(len(seen) // 400, 1)]).leg
    if not LEGS_M[0] < leg < LEGS_M[1]:
        raise PallasError(
            f"{path}: its legs are {leg:.3g} m long; give the file's unit with --unit m, cm, mm or"
            " inch"
        )
