"""The operator's bone lengths: estimated over the first seconds, then held; saved, reloaded, and used to notice another person."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import load_npz, save_npz
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS

F64 = NDArray[np.float64]

_LONG_BONES = np.array([JOINT_INDEX[f"{side}_{joint}"] for side in ("left", "right") for joint in ("knee", "ankle", "elbow", "wrist")])
"""Joints at the far end of thighs, shanks, upper arms and forearms: long enough that noise hardly lengthens them."""
_PARENTS = np.array([max(parent, 0) for parent in PARENTS])


@dataclass(frozen=True)
class BoneLengths:
    """Bone lengths (22,) m, 0 for the pelvis, and the standard deviation of each (22,) m."""

    lengths: F64
    deviation: F64

    def save(self, path: str | Path) -> None:
        """Write them as ``.npz``, whole or not at all."""
        save_npz(path, {"joint_names": np.array(JOINTS), "lengths": self.lengths, "deviation": self.deviation})

    @classmethod
    def load(cls, path: str | Path) -> "BoneLengths":
        """Read what `save` wrote.

        Raises:
            PallasError: the file is not that, or its lengths are not those of a human.
        """
        arrays = load_npz(path, "file of bone lengths")
        if sorted(arrays) != ["deviation", "joint_names", "lengths"] or list(arrays["joint_names"]) != list(JOINTS):
            raise PallasError(f"{path}: not a file of bone lengths of the 22-joint body; have them estimated anew by leaving it out")
        lengths, deviation = arrays["lengths"], arrays["deviation"]
        sound = lengths.shape == deviation.shape == (len(JOINTS),) and lengths.dtype.kind == deviation.dtype.kind == "f"
        if not (
            sound and np.isfinite(lengths).all() and np.isfinite(deviation).all() and ((lengths[1:] > 0.005) & (lengths[1:] < 1.0)).all()
        ):
            raise PallasError(f"{path}: its bone lengths are not those of a human; have them estimated anew by leaving it out")
        return cls(lengths.astype(np.float64), deviation.astype(np.float64))


class BoneEstimator:
    """A running mean of what each window says of the bones, until enough windows have spoken.

    Args:
        frames: to average before the lengths are held.
        start: lengths known beforehand; held from the first frame.
    """

    def __init__(self, frames: int, start: BoneLengths | None = None) -> None:
        self.held = start
        self._frames = frames
        self._count = 0
        self._sum = np.zeros(len(JOINTS))
        self._squares = np.zeros(len(JOINTS))

    def push(self, lengths: F64) -> None:
        """Take one window's estimate (22,) m; nothing once the lengths are held."""
        if self.held is not None:
            return
        self._count += 1
        self._sum += lengths
        self._squares += lengths**2
        if self._count >= self._frames:
            mean = self._sum / self._count
            spread = np.sqrt(np.maximum(self._squares / self._count - mean**2, 0.0))
            # neighbouring windows share their frames: about one in thirty is news
            self.held = BoneLengths(mean, spread / np.sqrt(max(self._count / 30, 1.0)))


class PersonCheck:
    """Notices another person: the long bones of the last seconds against those held.

    Args:
        frames: over which distances are averaged.
        tolerance: mean relative difference of the long bones from which on it is not the same person.
    """

    def __init__(self, frames: int = 120, tolerance: float = 0.06) -> None:
        self._keep, self._tolerance = 1 - 1 / frames, tolerance
        self._frames, self._count = frames, 0
        self._mean = np.zeros(len(_LONG_BONES))

    def push(self, positions: F64, held: BoneLengths) -> str | None:
        """Take positions (22, 3) m, smoothed but free of the manifold, NaN where not seen; a remark if this is another person."""
        distance = np.linalg.norm(positions[_LONG_BONES] - positions[_PARENTS[_LONG_BONES]], axis=-1)
        ratio = np.log(np.maximum(distance, 1e-3) / held.lengths[_LONG_BONES])
        seen = np.isfinite(ratio)
        weight = max(1 - self._keep, 1 / (self._count + 1))
        self._mean = np.where(seen, self._mean + weight * (np.where(seen, ratio, 0.0) - self._mean), self._mean)
        self._count += 1
        off = float(np.median(self._mean))
        if self._count < self._frames or abs(off) < self._tolerance:
            return None
        return f"limbs {abs(off):.0%} {'longer' if off > 0 else 'shorter'} than the operator's: another person?"
