"""The human figure as smooth meshes for the browser, with tapered limbs and a closed trunk."""

from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from pallas_ros.body.names import JOINT_INDEX
from pallas_ros.body.skeleton import Skeleton
from pallas_ros.view.human import Capsule, figure

F64 = NDArray[np.float64]

JOINED = {
    "pelvis": ("left_hip", "right_hip"),
    "spine1": ("spine2",),
    "spine2": ("spine3",),
    "spine3": ("left_collar", "right_collar"),
    **{
        f"{side}_{joint}": (f"{side}_{child}",)
        for side in ("left", "right")
        for joint, child in (("hip", "knee"), ("elbow", "wrist"))
    },
}
"""Joints whose solid extends to the beginning of the solids of other joints in the T-pose."""


@dataclass(frozen=True, eq=False)
class Solid:
    """A convex part of the figure: ``vertices`` (V, 3) m in the frame of ``joint``, ``faces`` (F,
    3), ``part`` a key of `human.COLOURS`.
    """

    joint: int
    part: str
    vertices: F64
    faces: NDArray[np.int64]


def solids(skeleton: Skeleton) -> list[Solid]:
    """The figure of an operator: the convex hull of each capsule and the parts joined to it."""
    capsules = figure(skeleton)
    first: dict[int, Capsule] = {}
    for capsule in capsules:
        first.setdefault(capsule.joint, capsule)
    joined = {
        JOINT_INDEX[joint]: [JOINT_INDEX[other] for other in others]
        for joint, others in JOINED.items()
    }
    found = []
    for capsule in capsules:
        points = [_ball(capsule.start, capsule.radius), _ball(capsule.end, capsule.radius)]
        for other in joined.get(capsule.joint, ()):
            points += _beginning(
                first[other], skeleton.offsets[other], trunk=capsule.part == "shirt"
            )
        hull = trimesh.convex.convex_hull(np.concatenate(points))
        found.append(
            Solid(capsule.joint, capsule.part, np.asarray(hull.vertices), np.asarray(hull.faces))
        )
    return found


def _beginning(capsule: Capsule, offset: F64, trunk: bool) -> list[F64]:
    """The first sphere of a limb's capsule; the whole capsule for a part of the trunk.

    ``offset`` (3,) m is the position of its joint in the other joint's frame.
    """
    ends = (
        (capsule.start, capsule.end)
        if trunk and np.isclose(capsule.start[0], capsule.end[0])
        else (capsule.start,)
    )
    return [_ball(end + offset, capsule.radius) for end in ends]


def _ball(centre: F64, radius: float) -> F64:
    return np.asarray(trimesh.creation.icosphere(subdivisions=2, radius=radius).vertices) + centre
