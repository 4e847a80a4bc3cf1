"""Raw content of a motion file: a skeleton with the file's own names, unit and axes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import MAX_FRAMES
from pallas_ros.body.rotations import Array

Pose = Callable[[list[int]], tuple[Array, Array | None]]
END_SUFFIX = "_end"
"""Suffix of a point that ends a chain, which can replace a joint that the rig lacks."""
MAX_JOINTS = 2000
"""Maximum number of joints; the largest rigs with face and fingers have about 500."""

MAX_NAME = 200
"""Maximum characters of a joint's name, of which prefixes and suffixes are compared."""


def check_names(path: Path, names: list[str]) -> None:
    """Check the length of the joints' names.

    Raises:
        PallasError: a name is too long.
    """
    longest = max(names, key=len, default="")
    if len(longest) > MAX_NAME:
        raise PallasError(
            f"{path}: the name of joint '{longest[:40]}...' has {len(longest)} characters, but at"
            f" most {MAX_NAME} are read: shorten it"
        )


def check_frames(path: Path, frames: int) -> None:
    """Check the number of frames.

    Raises:
        PallasError: there are none, or too many.
    """
    if frames < 1:
        raise PallasError(f"{path}: it contains no frames")
    if frames > MAX_FRAMES:
        raise PallasError(f"{path}: {frames} frames, but at most {MAX_FRAMES} are read; cut it")


def require_finite(path: Path, *arrays: Array) -> None:
    """Check that arrays (T, ...) contain no NaN or infinite values.

    Raises:
        PallasError: names the first invalid frame.
    """
    bad = np.zeros(len(arrays[0]), dtype=bool)
    for array in arrays:
        bad |= ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if bad.any():
        raise PallasError(
            f"{path}: {int(bad.sum())} of {len(bad)} frames contain NaN or infinite values, the"
            f" first is frame {int(np.argmax(bad))}; repair or cut them"
        )


@dataclass
class Source:
    """A moving skeleton as described by its file.

    Attributes:
        kind: file format for messages ("BVH").
        names: (J,) of the joints.
        parents: (J,) index of each joint's parent, which precedes it; -1 for roots.
        frames: number of frames.
        fps: frames per second.
        pose: positions (T, k, 3) in the file's unit and global orientations (T, k, 4) xyzw, or None
            if the file has points only, of the requested joints, in the file's axes.
        rest: (J, 3) positions with every orientation the identity, or None if not available.
        up: the up axis defined by the format ("z"), or None.
        metres: length of the unit stated by the file, or None.
        seen: (T, J) where a joint was measured, or None if always.
        grounded: False if the file's heights are not relative to the floor.
        remarks: problems that the reader worked around.
    """

    kind: str
    names: list[str]
    parents: NDArray[np.intp]
    frames: int
    fps: float
    pose: Pose
    rest: Array | None
    up: str | None = None
    metres: float | None = None
    seen: NDArray[np.bool_] | None = None
    grounded: bool = True
    remarks: list[str] = field(default_factory=list)

    def ancestors(self, joint: int) -> list[int]:
        """Yield the joint, its parent and so on up to the root."""
        out = []
        while joint >= 0:
            out.append(joint)
            joint = int(self.parents[joint])
        return out
