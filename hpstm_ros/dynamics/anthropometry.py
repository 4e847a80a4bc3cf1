"""Masses and inertias of the body's segments.

Source: P. de Leva, "Adjustments to Zatsiorsky-Seluyanov's segment inertia parameters", Journal of
Biomechanics 29 (1996) 1223-1230, table 4. The segment lengths are those of the operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX, JOINTS, PARENTS
from pallas_ros.files.parameters import described

F64 = NDArray[np.float64]

_PARAMETERS = described("dynamics")
MASS_RANGE_KG = _PARAMETERS["mass_kg"].bounds
LOAD_RANGE_KG = _PARAMETERS["load_right_kg"].bounds
GRAVITY = 9.81
SEXES = _PARAMETERS["sex"].choices or ()
SIDES = ("left", "right")


@dataclass(frozen=True)
class _Row:
    """Mass of a segment as a share of body mass; its centre and its radii of gyration as shares of
    its length.

    The radii are about the body's forward, left and upward axes in anatomical posture.
    """

    mass: float
    centre: float
    radii: tuple[float, float, float]


_FEMALE: Mapping[str, _Row] = {
    "head": _Row(0.0668, 0.5159, (0.271, 0.295, 0.263)),
    "upper_trunk": _Row(0.1545, 0.813, (0.0613, 0.0412, 0.0590)),
    "middle_trunk": _Row(0.1465, 0.478, (0.0512, 0.0419, 0.0491)),
    "lower_trunk": _Row(0.1247, 0.150, (0.0453, 0.0421, 0.0464)),
    "upper_arm": _Row(0.0255, 0.5754, (0.278, 0.260, 0.148)),
    "forearm": _Row(0.0138, 0.4559, (0.261, 0.257, 0.094)),
    "hand": _Row(0.0056, 0.3427, (0.244, 0.208, 0.154)),
    "thigh": _Row(0.1478, 0.3612, (0.369, 0.364, 0.162)),
    "shank": _Row(0.0481, 0.4352, (0.267, 0.263, 0.092)),
    "foot": _Row(0.0129, 0.4014, (0.299, 0.279, 0.139)),
}
_MALE: Mapping[str, _Row] = {
    "head": _Row(0.0694, 0.4998, (0.303, 0.315, 0.261)),
    "upper_trunk": _Row(0.1596, 0.797, (0.0702, 0.0445, 0.0646)),
    "middle_trunk": _Row(0.1633, 0.438, (0.0597, 0.0474, 0.0579)),
    "lower_trunk": _Row(0.1117, 0.094, (0.0515, 0.0461, 0.0491)),
    "upper_arm": _Row(0.0271, 0.5772, (0.285, 0.269, 0.158)),
    "forearm": _Row(0.0162, 0.4574, (0.276, 0.265, 0.121)),
    "hand": _Row(0.0061, 0.3624, (0.288, 0.235, 0.184)),
    "thigh": _Row(0.1416, 0.4095, (0.329, 0.329, 0.149)),
    "shank": _Row(0.0433, 0.4395, (0.251, 0.246, 0.102)),
    "foot": _Row(0.0137, 0.4415, (0.257, 0.245, 0.124)),
}
"""Alternative endpoints where the joints of the body differ from those of the table: head from C7
to the vertex, hand to the tip of the middle finger, shank from joint centre to joint centre. Parts
of the trunk: centres as shares of the distance from the midpoint of the hips to C7, radii as shares
of stature, both computed with the segment lengths of the table."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A rigid part of the body.

    Attributes:
        joint: index of the joint whose orientation the segment has.
        mass: kg.
        centre: (3,) m, centre of mass in the frame of the joint.
        inertia: (3, 3) kg m^2, about the centre of mass, in the axes of the joint.
    """

    joint: int
    mass: float
    centre: F64
    inertia: F64


def check_mass(mass: float) -> float:
    """Validate a body mass in kg, and return it.

    Raises:
        PallasError: the mass is out of range for a person.
    """
    low, high = MASS_RANGE_KG
    if not low <= mass <= high:
        raise PallasError(f"mass {mass:g} kg: give a body mass of {low:g} to {high:g} kg")
    return float(mass)


def check_load(load: float) -> float:
    """Validate a carried mass in kg, and return it.

    Raises:
        PallasError: the mass is out of range for one hand.
    """
    low, high = LOAD_RANGE_KG
    if not low <= load <= high:
        raise PallasError(f"load {load:g} kg: give a carried mass of {low:g} to {high:g} kg")
    return float(load)


def table(sex: str = "mean") -> dict[str, _Row]:
    """Return the rows for one sex, or the mean of both.

    Raises:
        PallasError: ``sex`` is not one of `SEXES`.
    """
    if sex not in SEXES:
        raise PallasError(f"sex '{sex[:40]}': give {', '.join(SEXES)}")
    if sex != "mean":
        return dict(_FEMALE if sex == "female" else _MALE)
    rows: dict[str, _Row] = {}
    for name, f in _FEMALE.items():
        m = _MALE[name]
        radii = np.add(f.radii, m.radii) / 2
        rows[name] = _Row(
            (f.mass + m.mass) / 2,
            (f.centre + m.centre) / 2,
            (float(radii[0]), float(radii[1]), float(radii[2])),
        )
    return rows


def segments(offsets: F64, mass: float, stature: float, sex: str = "mean") -> tuple[Segment, ...]:
    """The body's 16 segments.

    Args:
        offsets: (22, 3) m of every joint from its parent in the T-pose.
        mass: kg.
        stature: m, for dimensions that the joints do not determine: girth of the trunk, size of
            head, hands and feet.
        sex: one of `SEXES`.
    """
    rows = table(sex)
    rest = rest_positions(offsets)
    hips = (rest[JOINT_INDEX["left_hip"]] + rest[JOINT_INDEX["right_hip"]]) / 2
    trunk = rest[JOINT_INDEX["neck"]] - hips
    out = []
    for part, joint in (
        ("lower_trunk", "pelvis"),
        ("middle_trunk", "spine1"),
        ("upper_trunk", "spine3"),
    ):
        centre = hips + rows[part].centre * trunk - rest[JOINT_INDEX[joint]]
        out.append(_segment(rows[part], joint, mass, centre, stature, "z"))
    head = 0.14 * stature  # C7 to the vertex, as in `Skeleton`
    centre = np.array([0.0, 0.0, rows["head"].centre * head]) - offsets[JOINT_INDEX["head"]]
    out.append(_segment(rows["head"], "head", mass, centre, head, "z"))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for part, joint, end, along in (
            ("upper_arm", "shoulder", "elbow", "y"),
            ("forearm", "elbow", "wrist", "y"),
            ("thigh", "hip", "knee", "z"),
            ("shank", "knee", "ankle", "z"),
        ):
            bone = offsets[JOINT_INDEX[f"{side}_{end}"]]
            row = rows[part]
            length = float(np.linalg.norm(bone))
            out.append(_segment(row, f"{side}_{joint}", mass, row.centre * bone, length, along))
        hand = 0.108 * stature
        centre = np.array([0.0, sign * rows["hand"].centre * hand, 0.0])
        out.append(_segment(rows["hand"], f"{side}_wrist", mass, centre, hand, "y"))
        foot = Foot.of(offsets, side, stature)
        centre = np.array([foot.heel + rows["foot"].centre * foot.length, 0.0, -foot.sole / 2])
        out.append(_segment(rows["foot"], f"{side}_ankle", mass, centre, foot.length, "x"))
    return tuple(out)


@dataclass(frozen=True)
class Foot:
    """A foot in its ankle's frame, flat on the ground in the T-pose.

    Attributes:
        heel: m, x of the rearmost contact point.
        ball: m, x of the toe joint.
        tip: m, x of the foremost contact point.
        half_width: m, half the width of the sole.
        sole: m, height of the ankle above the ground.
    """

    heel: float
    ball: float
    tip: float
    half_width: float
    sole: float

    @property
    def length(self) -> float:
        """Heel to toe tip, m."""
        return self.tip - self.heel

    @classmethod
    def of(cls, offsets: F64, side: str, stature: float) -> "Foot":
        """Return the foot of a skeleton.

        Dimensions are scaled with the distance of the ball, for a foot length of 0.152 of stature
        (Winter 2009).

        Args:
            offsets: (22, 3) m, of the joints from their parents in the T-pose.
            side: ``left`` or ``right``.
            stature: m.
        """
        ball = float(offsets[JOINT_INDEX[f"{side}_foot"]][0])
        return cls(-0.35 * ball, ball, 1.35 * ball, 0.022 * stature, 0.039 * stature)

    def corners(self) -> F64:
        """The sole's contact points (4, 3) m in the ankle's frame: heel and tip, right and left."""
        ends = (self.heel, self.tip)
        sides = (-self.half_width, self.half_width)
        return np.array([[x, y, -self.sole] for x in ends for y in sides])


def rest_positions(offsets: F64) -> F64:
    """Joints (22, 3) m in the T-pose, the pelvis at the origin."""
    rest = np.zeros_like(offsets)
    for joint in range(1, len(JOINTS)):
        rest[joint] = rest[PARENTS[joint]] + offsets[joint]
    return rest


def _segment(row: _Row, joint: str, mass: float, centre: F64, length: float, along: str) -> Segment:
    """Make a segment; its radii are rotated from anatomical posture so that its long axis is
    ``along`` in the T-pose.
    """
    forward, left, up = (length * radius for radius in row.radii)
    radii = {"z": (forward, left, up), "y": (forward, up, left), "x": (up, left, forward)}[along]
    inertia = np.diag(np.square(radii)) * row.mass * mass
    return Segment(JOINT_INDEX[joint], row.mass * mass, np.asarray(centre), inertia)
