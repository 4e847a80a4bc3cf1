"""What a motion file holds before anything is assumed of it: a skeleton in the file's own names,
unit and axes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.rotations import Array

Pose = Callable[[list[int]], tuple[Array, Array | None]]
END_SUFFIX = "_end"
"""Ends the name of a point that closes a chain, which can stand for a joint that the rig lacks."""
MAX_JOINTS = 2000
"""More joints than the largest rigs with face and fingers have (about 500)."""
MAX_FRAMES = 2_000_000
"""More than four hours at 120 Hz; a file beyond it is damaged or has to be cut."""


def check_frames(path: Path, frames: int) -> None:
    """Refuse a file without frames, or with more than are read.

    Raises:
        PallasError: it is one.
    """
    if frames < 1:
        raise PallasError(f"{path}: it holds no frames")
    if frames > MAX_FRAMES:
        raise PallasError(f"{path}: {frames} frames, at most {MAX_FRAMES} are read; cut it")


def require_finite(path: Path, *arrays: Array) -> None:
    """Refuse arrays (T, ...) with frames that hold NaN or infinite values.

    Raises:
        PallasError: there are such frames; names the first.
    """
    bad = np.zeros(len(arrays[0]), dtype=bool)
    for array in arrays:
        bad |= ~np.asarray(np.isfinite(array)).reshape(len(array), -1).all(axis=1)
    if bad.any():
        raise PallasError(
            f"{path}: {int(bad.sum())} of {len(bad)} frames hold NaN or infinite values, the first"
            f" is frame {int(np.argmax(bad))}; repair or cut them"
        )


@dataclass
class Source:
    """A moving skeleton as its file describes it.

    Attributes:
        kind: of the file, as messages call it ("BVH").
        names: (J,) of the joints.
        parents: (J,) index of each joint's parent, which stands before it; -1 for roots.
        frames: number of frames.
        fps: frames a second.
        pose: positions (T, k, 3) in the file's unit and global orientations (T, k, 4) xyzw, or None
            where the file has points only, of the joints asked for, in the file's axes.
        rest: (J, 3) positions with every orientation the identity, or None where there are none.
        up: what the format defines as up ("z"), or None.
        metres: length of the unit that the file states, or None.
        seen: (T, J) where a joint was measured, or None where all were.
        grounded: False where the file's heights say nothing of the floor.
        remarks: what the reader worked around.
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
        """The joint, its parent and so on up to the root."""
        out = []
        while joint >= 0:
            out.append(joint)
            joint = int(self.parents[joint])
        return out
