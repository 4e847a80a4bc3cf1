"""A custom smoothing method: the mean of the last five frames.

    python examples/own_smoother.py

`own_plugins` shows how a package registers a method under the entry-point group
`pallas.smoothers`; then `pallas smooth --method` and the node accept its name.
"""

from collections import deque

import numpy as np

from hpstm_ros import Estimate, Smoother, SmootherSettings, smooth_motion
from hpstm_ros.smoothing.posing import on_manifold, with_lengths
from pallas_ros import Skeleton, demo_motion


class MeanOfFive:
    """See `hpstm_ros.smoothing.smoother.Method`."""

    lookahead = 0

    def __init__(self) -> None:
        self._frames = deque(maxlen=5)

    def reset(self) -> None:
        self._frames.clear()

    def push(self, points: np.ndarray, bones: np.ndarray | None) -> Estimate:
        self._frames.append(points)
        lengths = Skeleton.from_height().lengths if bones is None else bones
        positions, q = on_manifold(np.nanmean(self._frames, axis=0), with_lengths(lengths))
        covariance = np.tile(1e-4 * np.eye(3), (len(positions), 1, 1))
        return Estimate(positions, q, covariance, lengths)


smoother = Smoother(SmootherSettings("bypass"), method=lambda settings: MeanOfFive())
motion = smooth_motion(demo_motion(4.0), smoother)
print(f"{len(motion)} frames")
