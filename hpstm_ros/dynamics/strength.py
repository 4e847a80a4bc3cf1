"""Moments that matter at work, as a share of a person's strength.

Shares are relative to the isometric strength of the median healthy adult, not of the operator:
they compare postures and loads. They do not describe a person's health.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pallas_ros.body.names import JOINT_INDEX

F64 = NDArray[np.float64]

WATCHED = {
    "lumbar": "spine1",
    "left_shoulder": "left_shoulder",
    "right_shoulder": "right_shoulder",
    "left_knee": "left_knee",
    "right_knee": "right_knee",
}
"""Name of a reported moment -> the joint at which it acts; ``spine1`` is at L4/L5."""
WATCHED_JOINTS = tuple(JOINT_INDEX[joint] for joint in WATCHED.values())


@dataclass(frozen=True)
class Strength:
    """Isometric strength of the median adult.

    Attributes:
        lumbar: Nm, trunk extension (Stobbe 1982, in Chaffin, Andersson and Martin, Occupational
            Biomechanics).
        shoulder: Nm, vertical abduction (the same table).
        knee: Nm/kg of body mass, extension at mid range (Sarabon et al. 2021, Frontiers in
            Physiology 12:767941, middle
            of the pooled 95 % interval).
    """

    lumbar: float
    shoulder: float
    knee: float

    def of(self, name: str, mass: float) -> float:
        """Return the strength in Nm for one of `WATCHED`, for a person of ``mass`` kg."""
        if name == "lumbar":
            return self.lumbar
        return self.knee * mass if name.endswith("knee") else self.shoulder


STRENGTH = {
    "male": Strength(234.0, 71.0, 3.18),
    "female": Strength(184.0, 37.0, 2.41),
    "mean": Strength(209.0, 54.0, 2.80),
}


@dataclass(frozen=True)
class Load:
    """A reported moment at one instant.

    Attributes:
        name: of `WATCHED`.
        moment: Nm, magnitude.
        share: of the median adult's strength.
    """

    name: str
    moment: float
    share: float


def loads(moment: F64, mass: float, sex: str = "mean") -> tuple[Load, ...]:
    """Return the reported moments, from those of all joints (22, 3) Nm."""
    out = []
    for name, joint in zip(WATCHED, WATCHED_JOINTS):
        size = float(np.linalg.norm(moment[joint]))
        out.append(Load(name, size, size / STRENGTH[sex].of(name, mass)))
    return tuple(out)
