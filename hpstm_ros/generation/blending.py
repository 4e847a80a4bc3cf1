"""Blending from one moving pose to another without a jump."""

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations

F64 = NDArray[np.float64]


def smooth_step(x: float) -> float:
    """Cubic step from 0 to 1 for ``x`` from 0 to 1, with zero slope at both ends."""
    return x * x * (3 - 2 * x)


class Turning:
    """Interpolates between two moving orientations without switching the direction of rotation.

    The shorter rotation between two orientations switches its direction when they are half a turn
    apart: an arm that comes down from overhead would jump from one side to the other.
    """

    def __init__(self) -> None:
        self._way: F64 | None = None

    def between(self, a: F64, b: F64, part: float) -> F64:
        """Unit quaternions (N, 4) at the fraction ``part`` (0 to 1) of the way from a to b (N, 4).

        Successive calls must be small steps in time.
        """
        way = np.asarray(rotations.multiply(rotations.inverse(a), b), dtype=np.float64)
        before = self._way if self._way is not None else np.array([0.0, 0.0, 0.0, 1.0])
        way = np.where(np.sum(way * before, axis=-1, keepdims=True) < 0, -way, way)
        self._way = way
        size = np.linalg.norm(way[:, :3], axis=-1, keepdims=True)
        angle = 2 * np.arctan2(size, way[:, 3:])
        axis = way[:, :3] / np.maximum(size, 1e-12)
        return np.asarray(
            rotations.normalise(rotations.multiply(a, rotations.from_rotvec(part * angle * axis)))
        )
