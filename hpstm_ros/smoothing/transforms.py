"""Poses of frames in each other, as received on `/tf`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError

F64 = NDArray[np.float64]
MOST_FRAMES = 10_000
"""Frames of a `TransformTree`, so that a publisher of ever new names does not fill the memory."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Pose of the sender's frame: ``p_world = R_world_source @ p_source + p_world_source``."""

    R_world_source: F64
    p_world_source: F64

    @classmethod
    def from_xyz_rpy(cls, values: list[float]) -> "Placement":
        """From x, y, z in m and roll, pitch, yaw in rad (fixed axes, as in URDF and tf2).

        Raises:
            PallasError: ``values`` are not six finite numbers.
        """
        if len(values) != 6 or not np.isfinite(values).all():
            raise PallasError(
                "the camera pose must be six numbers: x, y, z in m and roll, pitch, yaw in rad"
            )
        x, y, z, roll, pitch, yaw = (float(v) for v in values)
        turn = np.eye(3)
        for axis, angle in ((0, roll), (1, pitch), (2, yaw)):
            rotvec = np.zeros(3)
            rotvec[axis] = angle
            turn = rotations.to_matrix(rotations.from_rotvec(rotvec)) @ turn
        return cls(turn, np.array([x, y, z]))


class TransformTree:
    """The newest transform of every frame to its parent: a subset of TF that is sufficient for a
    camera that does not move fast.

    Unlike ``tf2``, lookups ignore the message's stamp, which makes no difference for a fixed
    camera.
    """

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Placement]] = {}

    def set(self, child: str, parent: str, placement: Placement) -> None:
        """Set the pose of ``child`` in ``parent``; beyond `MOST_FRAMES`, of known frames only."""
        name = child.lstrip("/")
        if name in self._parents or len(self._parents) < MOST_FRAMES:
            self._parents[name] = (parent.lstrip("/"), placement)

    def find(self, source: str, target: str) -> Placement:
        """The pose of ``source`` in ``target``.

        Raises:
            PallasError: no chain of transforms connects them.
        """
        up = self._chain(source.lstrip("/"))
        down = self._chain(target.lstrip("/"))
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise PallasError(
                f"there is no transform from '{source}' to '{target}': publish one"
                " (static_transform_publisher), or set 'camera'"
            )
        a = up[common]
        b = down[common]
        R_target_common = b.R_world_source.T
        return Placement(
            R_target_common @ a.R_world_source,
            R_target_common @ (a.p_world_source - b.p_world_source),
        )

    def _chain(self, frame: str) -> dict[str, Placement]:
        """The pose of ``frame`` in itself and each of its ancestors."""
        out = {frame: Placement(np.eye(3), np.zeros(3))}
        while frame in self._parents and self._parents[frame][0] not in out:
            parent, step = self._parents[frame]
            here = out[frame]
            out[parent] = Placement(
                step.R_world_source @ here.R_world_source,
                step.R_world_source @ here.p_world_source + step.p_world_source,
            )
            frame = parent
        return out
