"""Metrics of generated motion: guarantees, smoothness, Fréchet distance and diversity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import sqrtm

from hpstm_ros.generation import representation as rep
from hpstm_ros.generation.corrections import floor_heights, range_violations
from hpstm_ros.generation.representation import CONTACTS, FPS
from pallas_ros.body.names import JOINT_INDEX, PARENTS

F64 = NDArray[np.float64]
_FEET = [JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]
_SOLE_M = 0.02
"""m, height of the parts of a sole below the heights returned by `floor_heights`."""


def unit_of(metric: str) -> str:
    """Unit of a metric of this module, from the end of its name; "" if it has none."""
    units = {"_cm": "cm", "_cm_s": "cm/s", "_mm": "mm", "_percent": "%"}
    return next((unit for end, unit in units.items() if metric.endswith(end)), "")


def bone_variation_mm(positions: F64) -> float:
    """Largest standard deviation of a bone length over time in mm, for positions (..., T, 22,
    3) m.
    """
    bones = positions[..., 1:, :] - positions[..., list(PARENTS[1:]), :]
    return 1e3 * float(np.linalg.norm(bones, axis=-1).std(axis=-2).max())


def limit_violations(features: NDArray[np.float32]) -> int:
    """Number of joints outside their range, over all frames of features (..., T, 137)."""
    return int(range_violations(rep.decode(features)[0]).sum())


def floor_penetration_cm(positions: F64) -> float:
    """Largest depth in cm of an ankle or toe base below its height on the floor.

    ``positions`` (..., 22, 3) m.
    """
    joints, least = floor_heights()
    return 100 * float(np.maximum(least + _SOLE_M - positions[..., joints, 2], 0.0).max())


def hover_cm(positions: F64) -> float:
    """Mean height in cm of the lowest ankle or toe base above its height on the floor.

    It does not depend on the contacts that a generator declares. Frames in which that joint is
    below its height count as 0; jumps count, also in real motion. ``positions`` (..., 22, 3) m.
    """
    return 100 * float(np.maximum(_lowest_foot(positions), 0.0).mean())


def mean_penetration_cm(positions: F64) -> float:
    """Like `hover_cm`, but the mean depth in cm below the height on the floor."""
    return 100 * float(np.maximum(-_lowest_foot(positions), 0.0).mean())


def _lowest_foot(positions: F64) -> F64:
    """Height (...) in m of the lowest ankle or toe base relative to its height on the floor."""
    joints, least = floor_heights()
    return np.asarray((positions[..., joints, 2] - least - _SOLE_M).min(axis=-1))


def contact_percent(features: NDArray[np.float32]) -> float:
    """Share in % of the feet in contact, as declared in features (..., T, 137): without contacts,
    `slide_cm_s` is 0.
    """
    return 100 * float((features[..., CONTACTS] > 0.5).mean())


def slide_cm_s(features: NDArray[np.float32], positions: F64) -> float:
    """Mean horizontal speed in cm/s of the toe bases during contact.

    Args:
        features: (..., T, size), whose contacts are used.
        positions: (..., T, 22, 3) m.
    """
    standing = features[..., CONTACTS] > 0.5
    both = standing[..., 1:, :] & standing[..., :-1, :]
    step = np.diff(positions[..., _FEET, :2], axis=-3)
    speed = np.linalg.norm(step, axis=-1) * FPS
    return 100 * float(speed[both].mean()) if both.any() else 0.0


def jerk(positions: F64) -> float:
    """Mean norm of the third derivative of the joints, m/s^3, for positions (..., T, 22, 3) m."""
    third = np.diff(positions, n=3, axis=-3) * FPS**3
    return float(np.linalg.norm(third, axis=-1).mean())


@dataclass(frozen=True)
class Encoder:
    """A linear encoder of windows, fitted to the training split, for evaluation only.

    Attributes:
        mean: (D,) of the inputs.
        axes: (D, 32) principal axes, whitened.
    """

    mean: F64
    axes: F64

    @classmethod
    def fit(cls, features: NDArray[np.float32], width: int = 32) -> "Encoder":
        """Fit to windows (N, 120, 137), with N well above ``width``."""
        x = cls._inputs(features)
        mean = x.mean(axis=0)
        _, s, axes = np.linalg.svd(x - mean, full_matrices=False)
        width = min(width, len(s))
        return cls(mean, axes[:width].T / (s[:width] / np.sqrt(len(x))))

    @staticmethod
    def _inputs(features: NDArray[np.float32]) -> F64:
        """Positions relative to the floor point of the pelvis every 0.2 s, and their changes."""
        p = rep.positions(features[:, ::6])
        path = p[:, :, :1] * [1.0, 1.0, 0.0]
        about = p - path
        moved = np.diff(p, axis=1)
        return np.concatenate((about.reshape(len(p), -1), 2.0 * moved.reshape(len(p), -1)), axis=1)

    def __call__(self, features: NDArray[np.float32]) -> F64:
        """Encode windows (N, 120, 137) as (N, 32)."""
        return np.asarray((self._inputs(features) - self.mean) @ self.axes)


def frechet(a: F64, b: F64) -> float:
    """Fréchet distance of two sets of codes (N, D), as normal distributions (Heusel 2017)."""
    ca = np.cov(a, rowvar=False)
    cb = np.cov(b, rowvar=False)
    root = sqrtm(ca @ cb)
    between = np.sum((a.mean(0) - b.mean(0)) ** 2)
    return float(between + np.trace(ca + cb - 2 * np.real(root)))


def diversity(codes: F64) -> float:
    """Mean distance between two codes (N, D)."""
    apart = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    return float(apart.sum() / (len(codes) * (len(codes) - 1)))
