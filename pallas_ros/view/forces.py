"""Forces in the web viewer: ground reactions as arrows, joints coloured by their moments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import JOINTS
from pallas_ros.view.scene import ARROW_M_PER_N, FORCE, effort_looks

F64 = NDArray[np.float64]

_LEAST_N = 1.0


@dataclass(frozen=True)
class Forces:
    """The forces to draw at one instant.

    Attributes:
        efforts: (21,) Nm, moments of all joints except the pelvis; NaN if unknown.
        ground: (2, 6) left and right: force N and centre of pressure m, world; NaN without force.
    """

    efforts: F64
    ground: F64


def forces(efforts: Any, wrenches: Sequence[Any], transforms: Iterable[Any]) -> Forces | None:
    """Convert the newest messages to `Forces`; None if there are none.

    Args:
        efforts: ``JointState`` message, or None.
        wrenches: ``WrenchStamped`` messages of left and right foot, or None each.
        transforms: ``TransformStamped``, newest first, with the frames of the wrenches.
    """
    moments = np.full(len(JOINTS) - 1, np.nan)
    if efforts is not None and len(efforts.effort) == 3 * len(moments):
        given = np.asarray(efforts.effort, dtype=np.float64)
        moments = np.linalg.norm(given.reshape(-1, 3), axis=1)
    ground = np.full((2, 6), np.nan)
    wanted = {
        wrench.header.frame_id: foot
        for foot, wrench in enumerate(wrenches)
        if wrench is not None and wrench.wrench.force.z > _LEAST_N
    }
    for transform in transforms:
        foot = wanted.pop(transform.child_frame_id, None)
        if foot is not None:
            f = wrenches[foot].wrench.force
            t = transform.transform.translation
            ground[foot] = (f.x, f.y, f.z, t.x, t.y, t.z)
        if not wanted:
            break
    if np.isnan(moments).all() and np.isnan(ground).all():
        return None
    return Forces(moments, ground)


class ForceDrawing:
    """Two arrows and 21 spheres in a viser scene."""

    def __init__(self, scene: Any) -> None:
        """Add the shapes, hidden."""
        colour = tuple(round(255 * part) for part in FORCE[:3])
        self.arrows = [
            scene.add_arrows(f"/forces/{side}", np.zeros((1, 2, 3)), colour, visible=False)
            for side in ("left", "right")
        ]
        self.balls = [
            scene.add_icosphere(f"/efforts/{joint}", 1.0, subdivisions=2, visible=False)
            for joint in JOINTS[1:]
        ]

    def show(self, found: Forces | None, joints: F64 | None, at: F64) -> None:
        """Draw forces on a body with ``joints`` (22, 3) m, translated by ``at`` (3,) m; None hides
        them.
        """
        if found is None or joints is None:
            for handle in (*self.arrows, *self.balls):
                handle.visible = False
            return
        for arrow, row in zip(self.arrows, found.ground):
            arrow.visible = bool(np.isfinite(row).all())
            if arrow.visible:
                start = row[3:] + at
                arrow.points = np.stack((start, start + ARROW_M_PER_N * row[:3]))[None]
        colours, sizes = effort_looks(found.efforts)
        for k, ball in enumerate(self.balls):
            ball.visible = bool(np.isfinite(found.efforts[k]) and np.isfinite(joints[k + 1]).all())
            if ball.visible:
                ball.position = joints[k + 1] + at
                ball.scale = float(sizes[k]) / 2
                red, green, blue = np.round(255 * colours[k, :3]).astype(int).tolist()
                ball.color = (red, green, blue)
