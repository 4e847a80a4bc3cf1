"""Objects in the viewer's scene whose poses are sent only if they changed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


# what is less than this from what the browser has is not sent; of a quaternion's parts
SENT_M = 5e-4
SENT_TURN = 1e-3


class Placed:
    """Objects in the scene whose poses are sent only if they changed, since a message costs more
    than the comparison.
    """

    def __init__(self, handles: Sequence[Any]) -> None:
        """``handles`` of viser, each with position, wxyz and visible."""
        self.handles = list(handles)
        self._sent = np.full((len(self.handles), 7), np.inf)
        self._visible = np.zeros(len(self.handles), dtype=bool)

    def show(self, poses: F64 | None) -> None:
        """Show objects at ``poses`` (n, 7), position m and orientation xyzw.

        Objects with poses that are not finite are hidden; None hides all.
        """
        poses = np.full_like(self._sent, np.nan) if poses is None else poses
        visible = np.asarray(np.isfinite(poses).all(axis=1))
        for k in np.flatnonzero(visible != self._visible).tolist():
            self.handles[k].visible = bool(visible[k])
        self._visible = visible
        off = np.abs(poses - self._sent)
        for k in np.flatnonzero(visible & (off[:, :3] > SENT_M).any(axis=1)).tolist():
            self.handles[k].position = poses[k, :3]
            self._sent[k, :3] = poses[k, :3]
        for k in np.flatnonzero(visible & (off[:, 3:] > SENT_TURN).any(axis=1)).tolist():
            self.handles[k].wxyz = poses[k, [6, 3, 4, 5]]
            self._sent[k, 3:] = poses[k, 3:]
