"""Posture scores from their published tables: RULA and REBA.

RULA: L. McAtamney, E. N. Corlett, Applied Ergonomics 24 (1993) 91-99. REBA: S. Hignett,
L. McAtamney, Applied Ergonomics 31 (2000) 201-205. Both are screening tools for trained observers.
Items that a body model cannot observe (grip, arm support, repetition) have their neutral value.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body import rotations
from pallas_ros.body.errors import PallasError
from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

_RULA_A = np.array(
    [
        [[1, 2, 2, 2, 2, 3, 3, 3], [2, 2, 2, 2, 3, 3, 3, 3], [2, 3, 3, 3, 3, 3, 4, 4]],
        [[2, 3, 3, 3, 3, 4, 4, 4], [3, 3, 3, 3, 3, 4, 4, 4], [3, 4, 4, 4, 4, 4, 5, 5]],
        [[3, 3, 4, 4, 4, 4, 5, 5], [3, 4, 4, 4, 4, 4, 5, 5], [4, 4, 4, 4, 4, 5, 5, 5]],
        [[4, 4, 4, 4, 4, 5, 5, 5], [4, 4, 4, 4, 4, 5, 5, 5], [4, 4, 4, 5, 5, 5, 6, 6]],
        [[5, 5, 5, 5, 5, 6, 6, 7], [5, 6, 6, 6, 6, 7, 7, 7], [6, 6, 6, 7, 7, 7, 7, 8]],
        [[7, 7, 7, 7, 7, 8, 8, 9], [8, 8, 8, 8, 8, 9, 9, 9], [9, 9, 9, 9, 9, 9, 9, 9]],
    ]
)
"""[upper arm, lower arm, 2 wrist + twist]"""
_RULA_B = np.array(
    [
        [1, 3, 2, 3, 3, 4, 5, 5, 6, 6, 7, 7],
        [2, 3, 2, 3, 4, 5, 5, 5, 6, 7, 7, 7],
        [3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 7],
        [5, 5, 5, 6, 6, 7, 7, 7, 7, 7, 8, 8],
        [7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 8, 8],
        [8, 8, 8, 8, 8, 8, 8, 9, 9, 9, 9, 9],
    ]
)
"""[neck, 2 trunk + legs]"""
_RULA_C = np.array(
    [
        [1, 2, 3, 3, 4, 5, 5],
        [2, 2, 3, 4, 4, 5, 5],
        [3, 3, 3, 4, 4, 5, 6],
        [3, 3, 3, 4, 5, 6, 6],
        [4, 4, 4, 5, 6, 7, 7],
        [4, 4, 5, 6, 6, 7, 7],
        [5, 5, 6, 6, 7, 7, 7],
        [5, 5, 6, 7, 7, 7, 7],
    ]
)
_REBA_A = np.array(
    [
        [[1, 2, 3, 4], [2, 3, 4, 5], [2, 4, 5, 6], [3, 5, 6, 7], [4, 6, 7, 8]],
        [[1, 2, 3, 4], [3, 4, 5, 6], [4, 5, 6, 7], [5, 6, 7, 8], [6, 7, 8, 9]],
        [[3, 3, 5, 6], [4, 5, 6, 7], [5, 6, 7, 8], [6, 7, 8, 9], [7, 8, 9, 9]],
    ]
)
"""[neck, trunk, legs]"""
_REBA_B = np.array(
    [
        [[1, 2, 2], [1, 2, 3], [3, 4, 5], [4, 5, 5], [6, 7, 8], [7, 8, 8]],
        [[1, 2, 3], [2, 3, 4], [4, 5, 5], [5, 6, 7], [7, 8, 8], [8, 9, 9]],
    ]
)
"""[lower arm, upper arm, wrist]"""
_REBA_C = np.array(
    [
        [1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 7, 7],
        [1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 7, 8],
        [2, 3, 3, 3, 4, 5, 6, 7, 7, 8, 8, 8],
        [3, 4, 4, 4, 5, 6, 7, 8, 8, 9, 9, 9],
        [4, 4, 4, 5, 6, 7, 8, 8, 9, 9, 9, 9],
        [6, 6, 6, 7, 8, 8, 9, 9, 10, 10, 10, 10],
        [7, 7, 7, 8, 9, 9, 9, 10, 10, 11, 11, 11],
        [8, 8, 8, 9, 10, 10, 10, 10, 10, 11, 11, 11],
        [9, 9, 9, 10, 10, 10, 11, 11, 11, 12, 12, 12],
        [10, 10, 10, 11, 11, 11, 11, 12, 12, 12, 12, 12],
        [11, 11, 11, 11, 12, 12, 12, 12, 12, 12, 12, 12],
        [12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12],
    ]
)

_UPRIGHT = 5.0
"""Degrees of flexion or extension up to which neck and trunk count as upright."""


@dataclass(frozen=True)
class Posture:
    """Angles in degrees that are the inputs of the tables.

    Attributes:
        trunk, neck: forward flexion; negative backwards.
        trunk_bent, neck_bent: whether there is a sideways bend or twist of more than 10 degrees.
        upper_arm: elevation of the arm from the trunk's downward direction; negative backwards.
        abducted: whether the arm is more than 30 degrees to the side.
        elbow, wrist: flexion.
        knee: flexion of the more flexed knee.
        both_legs: whether the weight is on both legs.
    """

    trunk: float
    neck: float
    trunk_bent: bool
    neck_bent: bool
    upper_arm: float
    abducted: bool
    elbow: float
    wrist: float
    knee: float
    both_legs: bool


@dataclass(frozen=True)
class Scores:
    """RULA score (1 to 7) and REBA score (1 to 15) of the worse side."""

    rula: int
    reba: int


def postures(q_world_joint: F64, both_legs: bool) -> tuple[Posture, Posture]:
    """Postures of the left and the right side, from orientations (22, 4) xyzw."""
    R = np.asarray(rotations.to_matrix(q_world_joint))

    def of(joint: str) -> F64:
        return np.asarray(R[JOINT_INDEX[joint]])

    heading = np.asarray(
        rotations.to_matrix(rotations.about_z(rotations.turn_about_z(q_world_joint[0])))
    )
    chest = of("spine3")
    head = of("head")
    trunk, trunk_side, trunk_twist = _tilt(heading.T @ chest)
    neck, neck_side, neck_twist = _tilt(chest.T @ head)
    knees = []
    for side in ("left", "right"):
        thigh = of(f"{side}_hip")
        shank = of(f"{side}_knee")
        knees.append(_between(thigh[:, 2], shank[:, 2]))
    out = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        upper = chest.T @ of(f"{side}_shoulder")[:, 1] * sign  # along the upper arm
        fore = of(f"{side}_elbow")[:, 1] * sign
        hand = of(f"{side}_wrist")[:, 1] * sign
        raised = float(np.degrees(np.arctan2(np.hypot(upper[0], upper[1]), -upper[2])))
        out.append(
            Posture(
                trunk=trunk,
                neck=neck,
                trunk_bent=abs(trunk_side) > 10 or abs(trunk_twist) > 10,
                neck_bent=abs(neck_side) > 10 or abs(neck_twist) > 10,
                upper_arm=-raised if upper[0] < -0.1 and raised < 90 else raised,
                abducted=bool(np.degrees(np.arcsin(np.clip(upper[1] * sign, -1, 1))) > 30),
                elbow=_between(of(f"{side}_shoulder")[:, 1] * sign, fore),
                wrist=_between(fore, hand),
                knee=max(knees),
                both_legs=both_legs,
            )
        )
    return out[0], out[1]


def _tilt(R: F64) -> tuple[float, float, float]:
    """Forward flexion, sideways bend and twist in degrees of an orientation (3, 3) relative to
    upright."""
    forward = np.degrees(np.arctan2(R[0, 2], R[2, 2]))
    side = np.degrees(np.arcsin(np.clip(R[1, 2], -1, 1)))
    twist = np.degrees(np.arctan2(R[1, 0] - R[0, 1], R[0, 0] + R[1, 1]))
    return float(forward), float(side), float(twist)


def _between(a: F64, b: F64) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def _band(value: float, edges: tuple[float, ...]) -> int:
    """1 below the first edge, 2 below the second, and so on."""
    return 1 + int(np.searchsorted(edges, value, side="right"))


def _upper_arm(posture: Posture) -> int:
    angle = posture.upper_arm
    score = 2 if angle < -20 else _band(angle, (20, 45, 90))
    return score + int(posture.abducted)


def rula(posture: Posture, load: float) -> int:
    """RULA grand score, 1 to 7, with ``load`` kg in the hands, held intermittently."""
    lower = 1 if 60 <= posture.elbow <= 100 else 2
    wrist = _band(posture.wrist, (5, 15))
    arm = int(_RULA_A[min(_upper_arm(posture), 6) - 1, lower - 1, 2 * (wrist - 1)])
    neck = 4 if posture.neck < -_UPRIGHT else _band(posture.neck, (10, 20))
    trunk = _band(abs(posture.trunk), (_UPRIGHT, 20, 60))
    neck = neck + int(posture.neck_bent)
    trunk = trunk + int(posture.trunk_bent)
    legs = 1 if posture.both_legs else 2
    body = int(_RULA_B[min(neck, 6) - 1, 2 * (min(trunk, 6) - 1) + legs - 1])
    force = _band(load, (2, 10)) - 1  # 3 is for static or repeated loads
    return int(_RULA_C[min(arm + force, 8) - 1, min(body + force, 7) - 1])


def reba(posture: Posture, load: float) -> int:
    """REBA score, 1 to 15 (without the activity score), with ``load`` kg in the hands."""
    neck = (1 if -_UPRIGHT <= posture.neck <= 20 else 2) + int(posture.neck_bent)
    trunk = _band(abs(posture.trunk), (_UPRIGHT, 20, 60)) + int(posture.trunk_bent)
    legs = (1 if posture.both_legs else 2) + _band(posture.knee, (30, 60)) - 1
    force = int(load >= 5) + int(load > 10)
    a = int(_REBA_A[min(neck, 3) - 1, min(trunk, 5) - 1, min(legs, 4) - 1]) + force
    lower = 1 if 60 <= posture.elbow <= 100 else 2
    wrist = _band(posture.wrist, (15,))
    b = int(_REBA_B[lower - 1, min(_upper_arm(posture), 6) - 1, wrist - 1])
    return int(_REBA_C[min(a, 12) - 1, min(b, 12) - 1])


def score(q_world_joint: F64, loads: dict[str, float], both_legs: bool = True) -> Scores:
    """Scores of the worse side, from orientations (22, 4) xyzw and ``loads``, side -> kg.

    Raises:
        PallasError: an orientation is not finite.
    """
    if not np.isfinite(q_world_joint).all():
        raise PallasError("a posture with missing orientations has no score: leave out the frame")
    sides = list(zip(postures(q_world_joint, both_legs), (loads["left"], loads["right"])))
    total = sum(loads.values())
    return Scores(
        max(rula(posture, max(load, total / 2)) for posture, load in sides),
        max(reba(posture, total) for posture, _ in sides),
    )
