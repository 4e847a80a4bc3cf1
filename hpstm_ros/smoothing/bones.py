"""The operator's bone lengths: estimated over the first seconds, then fixed; saved, loaded, and
used to detect another person.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.motion import save_npz
from pallas_ros.body.names import JOINT_INDEX, JOINTS, MIRROR, PARENTS
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.files.npz import load_npz

F64 = NDArray[np.float64]

_LONG_BONES = np.array(
    [
        JOINT_INDEX[f"{side}_{joint}"]
        for side in ("left", "right")
        for joint in ("knee", "ankle", "elbow", "wrist")
    ]
)
"""Joints at the distal end of thighs, shanks, upper arms and forearms, which are long enough that
noise hardly biases their length.
"""
_PARENTS = np.array([max(parent, 0) for parent in PARENTS])
_MIRROR = np.array(MIRROR)
_PROPORTION = 0.05
"""Standard deviation of a person's bone lengths from the package's proportions, relative to their
size.
"""
_BLOCK_FRAMES = 20
"""Frames after which a pose estimator's noise is nearly uncorrelated."""


@dataclass(frozen=True)
class BoneLengths:
    """Bone lengths (22,) m, 0 for the pelvis, and the standard deviation of each (22,) m."""

    lengths: F64
    deviation: F64

    def save(self, path: str | Path) -> None:
        """Write the lengths as ``.npz``, atomically."""
        save_npz(
            path,
            {"joint_names": np.array(JOINTS), "lengths": self.lengths, "deviation": self.deviation},
        )

    @classmethod
    def load(cls, path: str | Path) -> "BoneLengths":
        """Read a file written by `save`.

        Raises:
            PallasError: the file is invalid, or its lengths are not human.
        """
        arrays = load_npz(path, "file of bone lengths")
        if sorted(arrays) != ["deviation", "joint_names", "lengths"] or list(
            arrays["joint_names"]
        ) != list(JOINTS):
            raise PallasError(
                f"{path}: not a file of bone lengths of the 22-joint body; omit it to estimate"
                " them again"
            )
        lengths = arrays["lengths"]
        deviation = arrays["deviation"]
        sound = (
            lengths.shape == deviation.shape == (len(JOINTS),)
            and lengths.dtype.kind == deviation.dtype.kind == "f"
        )
        if not (
            sound
            and np.isfinite(lengths).all()
            and np.isfinite(deviation).all()
            and ((lengths[1:] > 0.005) & (lengths[1:] < 1.0)).all()
        ):
            raise PallasError(
                f"{path}: its bone lengths are not those of a human; omit it to estimate them again"
            )
        return cls(lengths.astype(np.float64), deviation.astype(np.float64))


class BoneEstimator:
    """Estimates bone lengths from measured frames and the smoothed directions of the bones.

    Noise makes bones too long, and smoothing makes moving bones too short. The projection of a
    measured bone onto its smoothed direction is unbiased to first order, whatever the noise. Left
    and right are assumed equal (they differ by about 1 %, less than the noise), and poorly observed
    lengths are drawn towards the package's proportions at the person's size.

    Args:
        frames: number of frames before the lengths are fixed.
        start: known lengths, fixed from the first frame.
    """

    def __init__(self, frames: int, start: BoneLengths | None = None) -> None:
        self.held = start
        self._frames = frames
        self._along: list[F64] = []

    def push(self, points: F64, positions: F64) -> None:
        """Take a frame as measured (22, 3) m, NaN if not seen, and as smoothed (22, 3) m; ignored
        once the lengths are fixed.
        """
        if self.held is not None:
            return
        bone = positions - positions[_PARENTS]
        direction = bone / np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-6)
        self._along.append(((points - points[_PARENTS]) * direction).sum(-1))
        if len(self._along) >= self._frames:
            self.held = _lengths(np.array(self._along))
            self._along.clear()


def _lengths(along: F64) -> BoneLengths:
    """Lengths from measured ones (frames, 22) m, NaN if not seen."""
    own = np.array([_robust_mean(samples[np.isfinite(samples)]) for samples in along.T])
    mean, variance, of_blocks = own.T
    seen = np.isfinite(of_blocks)
    # errors of adjacent frames are correlated, about equally for all bones, so there are fewer
    # independent samples than frames
    variance = (
        variance * max(of_blocks[seen].sum() / variance[seen].sum(), 1.0)
        if seen.any()
        else variance
    )
    weight = 1 / variance
    both = weight + weight[_MIRROR]
    mean = (weight * mean + (weight * mean)[_MIRROR]) / both
    variance = 1 / np.where(np.arange(len(JOINTS)) == _MIRROR, weight, both)
    usual = Skeleton.from_height().lengths
    ratio = np.clip(mean[1:] / usual[1:], 0.5, 2.0)
    size = np.average(ratio, weights=1 / (_PROPORTION**2 + variance[1:] / usual[1:] ** 2))
    believed = 1 / (1 + variance / np.maximum(_PROPORTION * size * usual, 1e-6) ** 2)
    lengths = size * usual + believed * (mean - size * usual)
    lengths[0] = 0.0
    return BoneLengths(lengths, np.where(usual > 0, np.sqrt(believed * variance), 0.0))


def _robust_mean(samples: F64) -> tuple[float, float, float]:
    """A robust mean (Huber weights about the median), its variance for independent frames, and its
    variance from blocks of frames.

    For too few samples, the former variance is very large, and the latter NaN.
    """
    if len(samples) < 3 * _BLOCK_FRAMES:
        return (float(np.median(samples)), 0.1, np.nan) if len(samples) else (0.0, 1e6, np.nan)
    off = np.abs(samples - np.median(samples))
    weight = np.minimum(1.0, np.maximum(2.0 * np.median(off), 1e-6) / np.maximum(off, 1e-9))
    mean = float(np.average(samples, weights=weight))
    variance = float(np.average((samples - mean) ** 2, weights=weight**2)) / len(samples)
    blocks = [
        np.average(s, weights=w)
        for s, w in zip(
            *(np.array_split(x, len(x) // _BLOCK_FRAMES) for x in (samples, weight)), strict=True
        )
    ]
    return mean, max(variance, 1e-9), float(np.var(blocks, ddof=1)) / len(blocks)


class PersonCheck:
    """Detects another person, by comparing the long bones of the last seconds with the fixed
    lengths.

    Args:
        frames: over which distances are averaged.
        tolerance: mean relative difference of the long bones from which it is another person.
    """

    def __init__(self, frames: int = 120, tolerance: float = 0.06) -> None:
        self._keep = 1 - 1 / frames
        self._tolerance = tolerance
        self._frames = frames
        self._count = 0
        self._mean = np.zeros(len(_LONG_BONES))

    def push(self, positions: F64, held: BoneLengths) -> str | None:
        """Take positions (22, 3) m, smoothed but not projected onto the manifold, NaN if not seen;
        returns a remark if this is another person.
        """
        distance = np.linalg.norm(
            positions[_LONG_BONES] - positions[_PARENTS[_LONG_BONES]], axis=-1
        )
        ratio = np.log(np.maximum(distance, 1e-3) / held.lengths[_LONG_BONES])
        seen = np.isfinite(ratio)
        weight = max(1 - self._keep, 1 / (self._count + 1))
        self._mean = np.where(
            seen, self._mean + weight * (np.where(seen, ratio, 0.0) - self._mean), self._mean
        )
        self._count += 1
        off = float(np.median(self._mean))
        if self._count < self._frames or abs(off) < self._tolerance:
            return None
        return (
            f"limbs {abs(off):.0%} {'longer' if off > 0 else 'shorter'} than the operator's:"
            " another person?"
        )
