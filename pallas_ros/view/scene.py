"""Shapes for RViz and Foxglove besides the figure: skeletons, uncertainty, contacts, goals,
sensors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.frames import BodyFrame, ImuFrame
from pallas_ros.body.names import JOINT_INDEX, PARENTS, SITE_JOINTS
from pallas_ros.body.sites import SITE

F64 = NDArray[np.float64]
Kind = Literal["lines", "sphere", "cylinder", "text", "arrow"]
Rgba = tuple[float, float, float, float]

ELLIPSOID_90 = 2.5003
"""Radius, in standard deviations, of the ellipsoid that contains 90 % of a 3-dimensional Gaussian:
chi-square, 3 degrees of freedom.
"""
GREY = "#8a9099"
STATE_COLOURS = {
    "disengaged": GREY,
    "aligning": "#d9a02b",
    "tracking": "#3d9a50",
    "holding": "#2f6fb0",
    "stopped": "#c0392b",
}
"""Colours of the supervisor's states in reports."""
RAW: Rgba = (0.90, 0.55, 0.25, 0.9)
BYSTANDER: Rgba = (0.6, 0.6, 0.65, 0.6)
GHOST: Rgba = (0.47, 0.43, 0.78, 0.6)
"""Colour of the predicted body."""
_OPERATOR: Rgba = (0.25, 0.6, 0.95, 0.5)
PLACE: Rgba = (0.35, 0.55, 0.85, 0.12)
_FEET = (JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"])
_AXES: tuple[Rgba, ...] = ((0.9, 0.2, 0.2, 1.0), (0.2, 0.75, 0.2, 1.0), (0.25, 0.4, 0.95, 1.0))
_BONES = [(joint, parent) for joint, parent in enumerate(PARENTS) if parent >= 0]

_HANDS = [JOINT_INDEX[f"{side}_wrist"] for side in ("left", "right")]


@dataclass
class Shape:
    """A shape to draw in the world.

    Attributes:
        namespace, number: identity; a shape with the same identity replaces it.
        kind: of shape.
        position: (3,) m, and ``orientation`` (4,) xyzw.
        scale: (3,) m: diameters; for lines, first the width; for text, first the height.
        colour: red, green, blue, alpha, 0 to 1.
        points: (2 n, 3) m, ends of n lines, or start and tip of an arrow; ``colours`` (2 n, 4) of
            each end, empty for ``colour``.
        text: contents of a text shape.
    """

    namespace: str
    number: int
    kind: Kind
    position: F64 = field(default_factory=lambda: np.zeros(3))
    orientation: F64 = field(default_factory=lambda: np.array([0.0, 0.0, 0.0, 1.0]))
    scale: F64 = field(default_factory=lambda: np.ones(3))
    colour: Rgba = (1.0, 1.0, 1.0, 1.0)
    points: F64 = field(default_factory=lambda: np.zeros((0, 3)))
    colours: F64 = field(default_factory=lambda: np.zeros((0, 4)))
    text: str = ""


def confidence_colour(confidence: F64) -> F64:
    """Colours (n, 4) of confidences (n,): red (0, a guess) through yellow to green (1,
    measured).
    """
    c = np.clip(np.nan_to_num(confidence), 0.0, 1.0)
    return np.stack(
        (
            np.clip(2 - 2 * c, 0, 1),
            np.clip(2 * c, 0, 1) * 0.85,
            np.full_like(c, 0.15),
            np.ones_like(c),
        ),
        axis=-1,
    )


def skeleton(namespace: str, body: BodyFrame, colour: Rgba | None = None) -> Shape:
    """Bones of a body as lines, coloured by the confidence of their joints unless ``colour`` is
    given.

    Invalid joints are omitted.
    """
    usable = body.valid & np.isfinite(body.positions).all(axis=1)
    ends = [joint for bone in _BONES if usable[bone[0]] and usable[bone[1]] for joint in bone]
    colours = np.zeros((0, 4)) if colour else confidence_colour(body.confidence)[ends]
    return Shape(
        namespace,
        0,
        "lines",
        scale=np.array([0.02, 0, 0]),
        colour=colour or (1, 1, 1, 1),
        points=body.positions[ends],
        colours=colours,
    )


def ghost(bodies: Sequence[BodyFrame]) -> list[Shape]:
    """Predicted bodies (`/hpstm/prediction`): halfway and, more transparent, at the end, with the
    90 % ellipsoids of the hands at the end.
    """
    shapes = []
    for number, body in enumerate((bodies[(len(bodies) - 1) // 2], bodies[-1]) if bodies else ()):
        shape = skeleton("prediction", body, (*GHOST[:3], GHOST[3] / (number + 1)))
        shape.number = number
        shapes.append(shape)
    if not bodies or bodies[-1].covariance is None:
        return shapes
    end = bodies[-1]
    for joint in _HANDS:
        covariance = bodies[-1].covariance[joint]
        if np.isfinite(covariance).all() and np.isfinite(end.positions[joint]).all():
            q_world_ellipsoid, radii = ellipsoid(covariance)
            shapes.append(
                Shape(
                    "prediction_uncertainty",
                    joint,
                    "sphere",
                    end.positions[joint],
                    q_world_ellipsoid,
                    2 * radii,
                    (*GHOST[:3], 0.2),
                )
            )
    return shapes


def ellipsoid(covariance: F64) -> tuple[F64, F64]:
    """Orientation (..., 4) xyzw and radii (..., 3) m of the ellipsoid that contains 90 % of a
    Gaussian with ``covariance`` (..., 3, 3) m^2.
    """
    values, axes = np.linalg.eigh((covariance + np.swapaxes(covariance, -1, -2)) / 2)
    axes[..., 0] *= np.where(np.linalg.det(axes) < 0, -1.0, 1.0)[..., None]
    return np.asarray(rotations.from_matrix(axes)), ELLIPSOID_90 * np.sqrt(np.maximum(values, 1e-8))


def ellipsoids(body: BodyFrame) -> list[Shape]:
    """The 90 % ellipsoids of all joints with a known covariance, coloured by confidence.

    Those of the joints are relative to the pelvis. That of the pelvis is the uncertainty of
    odometry, and is drawn flat on the floor as ``place``.
    """
    if body.covariance is None:
        return []
    colours = confidence_colour(body.confidence)
    shapes = []
    for joint, covariance in enumerate(body.covariance):
        if (
            body.valid[joint]
            and np.isfinite(covariance).all()
            and np.isfinite(body.positions[joint]).all()
        ):
            q_world_ellipsoid, radii = ellipsoid(covariance)
            red, green, blue, _ = colours[joint].tolist()
            if joint:
                shape = Shape(
                    "uncertainty",
                    joint,
                    "sphere",
                    body.positions[joint],
                    q_world_ellipsoid,
                    2 * radii,
                    (red, green, blue, 0.35),
                )
            else:
                on_floor = 2 * ELLIPSOID_90 * np.sqrt(np.maximum(np.diag(covariance), 1e-8)) * [
                    1,
                    1,
                    0,
                ] + [0, 0, 0.004]
                shape = Shape(
                    "place",
                    0,
                    "cylinder",
                    body.positions[0] * [1, 1, 0],
                    scale=on_floor,
                    colour=PLACE,
                )
            shapes.append(shape)
    return shapes


def contacts(body: BodyFrame) -> list[Shape]:
    """A disc below each foot whose opacity is the contact probability."""
    shapes = []
    for number, joint in enumerate(_FEET):
        p = body.positions[joint] * [1, 1, 0] + [0, 0, 0.005]
        alpha = float(np.clip(np.nan_to_num(body.contacts[number]), 0, 1))
        if np.isfinite(p).all():
            shapes.append(
                Shape(
                    "contacts",
                    number,
                    "cylinder",
                    p,
                    scale=np.array([0.18, 0.18, 0.01]),
                    colour=(0.2, 0.6, 0.9, alpha),
                )
            )
    return shapes


def imu_axes(frame: ImuFrame, body: BodyFrame) -> Shape:
    """Axes of the bone orientation that each sensor measures, at the position of the bone,
    including optional sensors; missing sites are omitted.
    """
    points = []
    colours = []
    worn = list(zip(SITE_JOINTS, frame.orientation, frame.valid, strict=True))
    if frame.extra is not None:
        joints = [SITE[site].index for site in frame.extra.sites]
        worn += zip(joints, frame.extra.orientation, frame.extra.valid, strict=True)
    for joint, orientation, valid in worn:
        origin = body.positions[joint]
        if valid and np.isfinite(origin).all() and np.isfinite(orientation).all():
            matrix = rotations.to_matrix(orientation)
            for axis in range(3):
                points += [origin, origin + 0.15 * matrix[:, axis]]
                colours += [_AXES[axis]] * 2
    return Shape(
        "imus",
        0,
        "lines",
        scale=np.array([0.008, 0, 0]),
        points=np.array(points).reshape(-1, 3),
        colours=np.array(colours).reshape(-1, 4),
    )


def remarks(body: BodyFrame) -> Shape:
    """The remarks of the body, above its head."""
    p = body.positions[JOINT_INDEX["head"]] + [0, 0, 0.35]
    ok = np.isfinite(p).all()
    return Shape(
        "remarks",
        0,
        "text",
        p if ok else np.zeros(3),
        scale=np.array([0, 0, 0.07]),
        text="\n".join(body.remarks[:3]) if ok else "",
    )


def operator(body: BodyFrame, operator_id: str, state: str) -> Shape:
    """A label beside the feet of the operator; empty while no operator is locked."""
    p = body.positions[0] * [1, 1, 0] + [0, 0, -0.1]
    ok = bool(operator_id) and np.isfinite(p).all()
    lost = "" if body.body_id == operator_id else ", not in view"
    return Shape(
        "operator",
        0,
        "text",
        p if ok else np.zeros(3),
        scale=np.array([0, 0, 0.09]),
        colour=_OPERATOR,
        text=f"operator '{operator_id}'{lost}: {state}" if ok else "",
    )


def people(bodies: Iterable[BodyFrame]) -> list[Shape]:
    """People other than the operator, in grey."""
    return [
        replace(skeleton("people", body, BYSTANDER), number=number)
        for number, body in enumerate(bodies)
    ]


_EFFORT_FULL_NM = 110.0
"""Nm, moment at which a joint is red: about the knee moment in a deep squat at 75 kg."""
ARROW_M_PER_N = 0.001
FORCE: Rgba = (0.20, 0.75, 0.35, 0.95)


def force_arrow(number: int, force: F64) -> Shape:
    """A force (3,) N as an arrow from the origin of its frame, 1 m for 1 kN."""
    return Shape(
        "ground_reaction",
        number,
        "arrow",
        scale=np.array([0.02, 0.04, 0.06]),
        colour=FORCE,
        points=np.stack((np.zeros(3), ARROW_M_PER_N * force)),
    )


def _rgba(colour: F64) -> Rgba:
    red, green, blue, alpha = colour.tolist()
    return red, green, blue, alpha


def effort_looks(efforts: F64) -> tuple[F64, F64]:
    """Colours (n, 4), green to red, and diameters (n,) m of joints with moments (n,) Nm."""
    level = np.clip(efforts / _EFFORT_FULL_NM, 0.0, 1.0)
    colours = confidence_colour(1.0 - level)
    colours[:, 3] = 0.9
    return colours, 0.05 + 0.06 * level


def effort_balls(body: BodyFrame, efforts: F64) -> list[Shape]:
    """A sphere at every joint except the pelvis; colour (green to red) and size show its moment
    (21,) Nm.
    """
    colours, sizes = effort_looks(efforts)
    return [
        Shape(
            "effort",
            joint,
            "sphere",
            body.positions[joint],
            scale=np.full(3, sizes[joint - 1]),
            colour=_rgba(colours[joint - 1]),
        )
        for joint in range(1, len(efforts) + 1)
        if np.isfinite(efforts[joint - 1]) and np.isfinite(body.positions[joint]).all()
    ]
