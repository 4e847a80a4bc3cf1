"""Steps of the guided calibration: what the wearer is asked to do, and the pose in between."""

from dataclasses import dataclass

import numpy as np

from pallas_ros.body import rotations
from pallas_ros.body.rotations import Array

WRISTS = ("left_wrist", "right_wrist")
TRUNK = ("pelvis", "neck")
LEGS = ("left_thigh", "right_thigh", "left_shin", "right_shin")
UPPER_ARMS = ("left_upper_arm", "right_upper_arm")
N_POSE: dict[str, Array] = {
    "pelvis": rotations.IDENTITY,
    "neck": rotations.IDENTITY,
    "left_wrist": rotations.from_rotvec(np.array([-np.pi / 2, 0.0, 0.0])),
    "right_wrist": rotations.from_rotvec(np.array([np.pi / 2, 0.0, 0.0])),
    "left_upper_arm": rotations.from_rotvec(np.array([-np.pi / 2, 0.0, 0.0])),
    "right_upper_arm": rotations.from_rotvec(np.array([np.pi / 2, 0.0, 0.0])),
    **dict.fromkeys(
        ("left_shin", "right_shin", "left_thigh", "right_thigh", "head"), rotations.IDENTITY
    ),
}
"""Bone orientations, (4,) xyzw, with hanging arms and palms facing the thighs."""
DEGREE = float(np.radians(1.0))


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the wearer's instruction, and the preceding movement (at least this angle, rad)."""

    name: str
    instruction: str
    moves: tuple[str, ...] = ()
    least: float = 0.0


STEPS = (
    Step(
        "npose", "stand upright, feet parallel, arms hanging, palms to the thighs, and hold still"
    ),
    Step(
        "tpose",
        "raise both arms sideways to the T-pose, level, palms down, and hold still",
        WRISTS,
        50 * DEGREE,
    ),
    Step("lower", "let the arms hang again and hold still", WRISTS, 50 * DEGREE),
    Step(
        "elbows",
        "keep the upper arms at your sides, bend both elbows forward and straighten them, twice,"
        " then hold still",
        WRISTS,
        40 * DEGREE,
    ),
    Step(
        "bow",
        "bow: roll the upper body forward and come up again, twice, then hold still",
        ("neck",),
        20 * DEGREE,
    ),
    Step(
        "turn",
        "turn the whole body to one side on the spot and back, then hold still",
        TRUNK,
        30 * DEGREE,
    ),
)
