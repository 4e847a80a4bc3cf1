"""The estimate of one frame, and the classical method with the same interface as the network."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpstm_ros.smoothing import tuned
from hpstm_ros.smoothing.filters import Kalman
from hpstm_ros.smoothing.posing import on_manifold, with_lengths
from pallas_ros.body.names import JOINTS, PARENTS
from pallas_ros.body.skeleton import Skeleton

F64 = NDArray[np.float64]

J = len(JOINTS)
_PARENTS = np.array([max(parent, 0) for parent in PARENTS])


@dataclass(frozen=True)
class Estimate:
    """A body at one frame.

    Attributes:
        positions: (22, 3) m, world.
        rotations: (22, 4) xyzw, joint to world; consistent with the positions.
        covariance: (22, 3, 3) m^2 of the positions, world.
        bones: (22,) m, lengths used.
    """

    positions: F64
    rotations: F64
    covariance: F64
    bones: F64


class KalmanMethod:
    """A tuned constant-acceleration Kalman filter with fixed-lag smoothing per joint, followed by
    projection onto the manifold of bone lengths.

    Args:
        lookahead: frames.

    Raises:
        PallasError: the tuned settings are not readable.
    """

    def __init__(self, lookahead: int) -> None:
        self.lookahead = lookahead
        self._settings = tuned.nearest("kalman", lookahead)
        self.reset()

    def reset(self) -> None:
        """Discard the history."""
        self._filter = Kalman(lookahead=self.lookahead, **self._settings)
        self._ever_seen = np.zeros(J, dtype=bool)

    def push(self, points: F64, bones: F64 | None) -> Estimate | None:
        """See `HpstmNetwork.push`."""
        self._ever_seen |= np.isfinite(points).all(-1)
        smooth = self._filter.push(points)
        if smooth is None or not self._ever_seen[0]:
            return None
        smooth = np.where(self._ever_seen[:, None], smooth, np.nan)
        default = Skeleton.from_height().lengths
        seen = np.linalg.norm(smooth - smooth[_PARENTS], axis=-1)
        seen = np.where(
            np.isfinite(seen),
            seen,
            default * np.nanmedian(seen[1:] / default[1:])
            if np.isfinite(seen[1:]).any()
            else default,
        )
        lengths = seen if bones is None else bones
        positions, q_world_joint = on_manifold(smooth, with_lengths(lengths))
        covariance = self._filter.variance[:, None, None] * np.eye(3)
        return Estimate(positions, q_world_joint, covariance, lengths)
